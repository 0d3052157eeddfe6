"""What becomes of live messages while something between the nodes is broken; real processes throughout.

In every test the history is checked: who got what, against what was published and answered. Clients stay
connected through all of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.integration.history import TOPICS, history, no_gaps
from tests.integration.outage import (
    RECOVERY_SECONDS,
    assert_unavailable,
    partition_channel,
    settings_for,
    until_status,
)
from tests.patience import HANG_SECONDS
from tests.redis_process import RunningRedis, owns, redis_cluster, redis_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import RunningGateway, StartGateway


@pytest.fixture(scope="module")
def nodes(module_gateway_process: StartGateway, module_redis_server: RunningRedis) -> list[RunningGateway]:
    return [module_gateway_process(settings_for(module_redis_server.url)) for _ in range(2)]


@pytest.fixture
def server(module_redis_server: RunningRedis) -> RunningRedis:
    return module_redis_server


async def test_redis_killed_and_restarted(nodes: list[RunningGateway], server: RunningRedis) -> None:
    async with history(nodes) as record:
        await record.steady()
        server.kill()
        await until_status(nodes[0], "degraded")
        await assert_unavailable(nodes[0])
        server.start()
        await record.steady(seconds=RECOVERY_SECONDS)
        assert record.refused
    assert all(len(each.gaps) == 1 for each in record.subscribers)
    record.check()
    await until_status(nodes[0], "ready")


async def test_redis_frozen_for_a_moment_loses_nothing(
    nodes: list[RunningGateway], server: RunningRedis
) -> None:
    async with history(nodes) as record:
        await record.steady()
        server.freeze()
        try:
            await asyncio.sleep(0.7)
        finally:
            server.thaw()
        await record.steady()
    assert not record.refused_early
    record.check(gaps=no_gaps)


async def test_listening_connections_cut(nodes: list[RunningGateway], server: RunningRedis) -> None:
    async with history(nodes) as record:
        for _ in range(3):
            await record.steady()
            assert server.call("CLIENT", "KILL", "TYPE", "pubsub") == 2
        await record.steady()
    assert all(each.gaps for each in record.subscribers)
    assert not record.refused_early
    record.check()


async def test_publishing_connections_cut_lose_nothing_that_was_answered(
    nodes: list[RunningGateway], server: RunningRedis
) -> None:
    async with history(nodes) as record:
        for _ in range(3):
            await record.steady()
            server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await record.steady()
    for each in record.subscribers:
        assert record.missing(each) == []
    record.check()
    async with asyncio.timeout(HANG_SECONDS):
        while connections(server) != 2 * len(nodes) + 1:  # noqa: ASYNC110 - the test's own one goes late
            await asyncio.sleep(0.05)


async def test_output_buffer_limit(nodes: list[RunningGateway], server: RunningRedis) -> None:
    """A node that doesn't read for a while is cut off by Redis; its subscribers hear of it, others don't."""
    server.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 256kb 0 0")
    slow, quick = nodes[1], nodes[0]
    async with history([quick]) as others, history([slow]) as record:
        await record.steady()
        os.kill(slow.pid, signal.SIGSTOP)
        try:
            async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
                publish = partial(
                    http.post,
                    f"{quick.url}/v1/topics/red/big",
                    content=b'"' + b"x" * 60_000 + b'"',
                    headers={"content-type": "application/json"},
                )
                # Besides the limit it takes what the system keeps for the connection: some megabytes.
                async with asyncio.timeout(3 * HANG_SECONDS):
                    while "sub=1" in (listening := pubsub_clients(server)) or len(listening.splitlines()) > 1:
                        await asyncio.gather(*(publish() for _ in range(10)))
        finally:
            os.kill(slow.pid, signal.SIGCONT)
        await record.steady()
        await others.steady()
    assert all(each.gaps for each in record.subscribers)
    record.slowest = 0.0  # it was stopped
    record.check()
    others.check(gaps=no_gaps)


async def test_a_node_killed_and_restarted(nodes: list[RunningGateway], server: RunningRedis) -> None:
    async with history(nodes[:1]) as record:
        async with history(nodes[1:]) as doomed:
            await doomed.steady()
            nodes[1].kill()
            await doomed.until(lambda: all(each.closed for each in doomed.subscribers))
        await record.steady()
        await asyncio.to_thread(nodes[1].start)
        async with history(nodes[1:]) as again:
            await again.steady()
        record.answered |= doomed.answered | again.answered
        await record.all_settled()
    record.check(gaps=no_gaps)
    again.check(gaps=no_gaps)


@contextmanager
def watched_by_a_sentinel(tmp_path: Path) -> Iterator[tuple[RunningRedis, RunningRedis, RunningRedis]]:
    """A master, its replica, and who watches them."""
    with redis_servers(tmp_path, (), ()) as (master, replica):
        replica.call("REPLICAOF", "127.0.0.1", str(master.port))
        configuration = tmp_path / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        )
        sentinel = RunningRedis(tmp_path, options=(str(configuration), "--sentinel"))
        try:
            sentinel.start()
            wait_for_replica(sentinel)
            yield master, replica, sentinel
        finally:
            sentinel.kill()


async def test_failover_by_sentinel(gateway_process: StartGateway, tmp_path: Path) -> None:
    with watched_by_a_sentinel(tmp_path) as (master, _, sentinel):
        url = f"redis+sentinel://{sentinel.address}/main"
        nodes = [gateway_process(settings_for(url)) for _ in range(2)]
        async with history(nodes) as record:
            await record.steady()
            master.kill()
            await until_status(nodes[0], "degraded")
            # The sentinel takes several of its rounds.
            await record.steady(seconds=3 * HANG_SECONDS)
        assert all(each.gaps for each in record.subscribers)
        record.check()


async def test_planned_failover_by_sentinel(gateway_process: StartGateway, tmp_path: Path) -> None:
    """Both servers are there, and nodes go over one after the other."""
    with watched_by_a_sentinel(tmp_path) as (master, replica, sentinel):
        url = f"redis+sentinel://{sentinel.address}/main"
        nodes = [gateway_process(settings_for(url)) for _ in range(2)]
        async with history(nodes) as record:
            await record.steady()
            sentinel.call("SENTINEL", "FAILOVER", "main")
            # The sentinel takes several of its rounds, and nodes go over in turn.
            await record.until(lambda: listening(replica) == len(nodes), 3 * HANG_SECONDS)
            await record.steady()
        assert all(each.gaps for each in record.subscribers)
        record.check()
        assert str(master.port) not in str(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"))


async def test_a_slot_moves_in_a_cluster(gateway_process: StartGateway, tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as servers:
        url = "redis+cluster://" + servers[0].address
        nodes = [gateway_process(settings_for(url)) for _ in range(2)]
        async with history(nodes) as record:
            await record.steady()
            for topic in TOPICS[:2]:
                move_slot(servers, partition_channel(topic))
                await record.steady()
        record.check()
        assert not record.refused_early
        for node in nodes:
            await until_status(node, "ready")


def move_slot(servers: list[RunningRedis], channel: str) -> None:
    """Give the slot of ``channel`` to the next server; there are no keys to go with it."""
    slot = str(servers[0].call("CLUSTER", "KEYSLOT", channel))
    names = [str(server.call("CLUSTER", "MYID")) for server in servers]
    owner = next(index for index, server in enumerate(servers) if owns(server, channel))
    target = (owner + 1) % len(servers)
    servers[target].call("CLUSTER", "SETSLOT", slot, "IMPORTING", names[owner])
    servers[owner].call("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    for index in (target, owner, (owner + 2) % len(servers)):
        servers[index].call("CLUSTER", "SETSLOT", slot, "NODE", names[target])


def wait_for_replica(sentinel: RunningRedis) -> None:
    deadline = time.monotonic() + 15
    while not sentinel.call("SENTINEL", "REPLICAS", "main"):
        assert time.monotonic() < deadline, sentinel.log()
        time.sleep(0.05)


def pubsub_clients(server: RunningRedis) -> str:
    return str(server.call("CLIENT", "LIST", "TYPE", "pubsub"))


def listening(server: RunningRedis) -> int:
    """How many nodes listen there; a sentinel does too, to one channel."""
    return sum(" sub=1 " not in each for each in pubsub_clients(server).splitlines())


def connections(server: RunningRedis) -> int:
    clients: dict[str, int] = server.call("INFO", "clients")  # type: ignore[assignment]
    return int(clients["connected_clients"])
