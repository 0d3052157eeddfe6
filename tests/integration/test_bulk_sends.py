"""Many sockets written in one system call: what clients hear is what they hear without.

Spec: docs/configuration.md, `server.io_uring`; docs/decisions/one-call-for-many-sends.md.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import pytest

from gateway.transports.server.send_ring import SendRing
from tests.patience import HANG_SECONDS
from tests.ports import free_port

from .conftest import RunningGateway
from .raw_client import RawClient, command, raw_client, subscribe
from .served_here import served_here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from .conftest import StartGateway

ROOT = Path(__file__).parents[2]
RESET = struct.pack("ii", 1, 0)
SETTINGS = {
    "server": {"io_uring": "required"},
    "limits": {"commands_per_second": 0, "write_timeout": "10m", "ping_interval": "10m"},
}
TOML = """
server.io_uring = "required"
limits.commands_per_second = 0
limits.write_timeout = "10m"
limits.ping_interval = "10m"
"""


@pytest.fixture(scope="module")
def allowed() -> None:
    """Io_uring is; where the system refuses it nothing that can be installed would change that."""
    try:
        SendRing().close()
    except OSError as error:
        pytest.skip(f"io_uring can't be had: {error}")


class Served(Protocol):
    """A gateway, wherever it runs."""

    port: int


@asynccontextmanager
async def serving(loop: str, start: StartGateway) -> AsyncIterator[tuple[Any, Callable[[str], float]]]:
    """A gateway under uvloop or asyncio's own loop, and how many sends were taken in whole or in part."""
    if loop == "uvloop":
        running = start(TOML)
        yield running, lambda taken: running.metric(f'gateway_bulk_sends_total{{taken="{taken}"}}')
        return
    async with served_here(**SETTINGS) as here:
        assert type(asyncio.get_running_loop()).__module__.startswith("asyncio")
        yield here, lambda taken: here.gateway._sending.statistics()[taken]


async def events_until(client: RawClient, last: int) -> list[dict[str, Any]]:
    events = [await client.event()]
    while events[-1].get("data", {}).get("n") != last:
        events.append(await client.event())
    return events


def check_account(events: list[dict[str, Any]], count: int) -> None:
    """All of ``count`` came in order, or were told to be lost."""
    numbers = [event["data"]["n"] for event in events if event["op"] == "message"]
    lost = sum(event["dropped"] for event in events if event["op"] == "gap")
    assert numbers == sorted(set(numbers))
    assert len(numbers) + lost == count


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_quick_and_slow_ones_hear_all_in_order_or_what_they_lost(gateway_process, loop: str) -> None:
    count, quick, stuck = 2500, 24, 6
    async with serving(loop, gateway_process) as (gateway, sends), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(raw_client(gateway, receive_buffer=0 if n < quick else 4096))
            for n in range(quick + stuck)
        ]
        for client in clients:
            await subscribe(client, "all", overflow="drop_oldest")
        heard: list[list[dict[str, Any]]] = []

        async def hear(client: RawClient) -> None:
            heard.append(await events_until(client, count - 1))

        publisher = await stack.enter_async_context(raw_client(gateway))
        async with anyio.create_task_group() as tasks:
            for client in clients[:quick]:
                tasks.start_soon(hear, client)
            number = 0
            while number < count:
                burst = range(number, min(count, number + 1 + number % 20))
                await publisher.send(b"".join(filled(n) for n in burst))
                # One at a time: a turn that brings very much goes to each connection by itself.
                assert [(await publisher.event())["ref"] for _ in burst] == list(burst)
                number = burst.stop
        async with anyio.create_task_group() as tasks:
            for client in clients[quick:]:
                tasks.start_soon(hear, client)
        for events in heard:
            check_account(events, count)
        assert len(heard) == quick + stuck
        assert sends("all") > quick
        assert sends("part") > 0


def filled(number: int) -> bytes:
    data = {"n": number, "filler": "x" * (number * 37 % 700)}
    return command(op="publish", topic="all", ref=number, data=data)


async def hear_own_alone(client: RawClient, topic: str, *, count: int | None = None) -> None:
    """Hear ``topic`` and no other, in order: ``count`` messages, or to the last one."""
    heard, last = 0, -1
    while heard != count:
        event = await client.event()
        assert event["topic"] == event["data"]["topic"] == topic
        if event["data"]["n"] == -1:
            return
        assert event["data"]["n"] > last
        heard, last = heard + 1, event["data"]["n"]


async def come_and_go(gateway: RunningGateway, place: int, topics: set[str], *, lives: int) -> None:
    """Connect again and again, each time for a topic of its own, and go in the middle of what it is sent."""
    for life in range(lives):
        topic = f"own/{place}/{life}"
        async with raw_client(gateway) as client:
            await subscribe(client, topic)
            topics.add(topic)
            await hear_own_alone(client, topic, count=1 + (place + life) % 3)
            if life % 2:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        topics.discard(topic)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_who_comes_where_another_has_gone_hears_nothing_of_his(gateway_process, loop: str) -> None:
    """Connections are cut in the middle of turns, and their descriptors are others' at once."""
    steady, coming = 16, 16
    async with serving(loop, gateway_process) as (gateway, sends), AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(raw_client(gateway))
        staying = [f"steady/{place}" for place in range(steady)]
        topics: set[str] = set()

        async def publish_until_cancelled() -> None:
            number = 0
            try:
                while True:
                    await publisher.send(b"".join(published(topic, number) for topic in [*staying, *topics]))
                    number += 1
                    await anyio.sleep(0.002)
            finally:
                with anyio.CancelScope(shield=True):
                    await publisher.send(b"".join(published(topic, -1) for topic in staying))

        async with anyio.create_task_group() as tasks:
            for topic in staying:
                client = await stack.enter_async_context(raw_client(gateway))
                await subscribe(client, topic)
                tasks.start_soon(hear_own_alone, client, topic)
            with anyio.fail_after(3 * HANG_SECONDS):
                async with anyio.create_task_group() as publishing:
                    publishing.start_soon(publish_until_cancelled)
                    async with anyio.create_task_group() as goers:
                        for place in range(coming):
                            goers.start_soon(partial(come_and_go, gateway, place, topics, lives=12))
                    publishing.cancel_scope.cancel()
        assert sends("all") > steady


def published(topic: str, number: int) -> bytes:
    return command(op="publish", topic=topic, data={"topic": topic, "n": number})


@pytest.mark.usefixtures("allowed")
async def test_workers_have_a_ring_each(gateway_process) -> None:
    gateway = gateway_process(f"{TOML}\nserver.workers = 2\n")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(gateway)) for _ in range(60)]
        for client in clients:
            await subscribe(client, "all")
        for number in range(20):
            await clients[0].send(command(op="publish", topic="all", data={"n": number}))
        for client in clients:
            check_account(await events_until(client, 19), 20)


class RefusedGateway(RunningGateway):
    """One that its system refuses io_uring."""

    def command(self) -> list[str]:
        return ["tests.refused_calls", *super().command()]


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[RefusedGateway]:
    (tmp_path / "gateway.toml").write_text("", "utf-8")
    environment = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), "PYTHONPATH": str(ROOT)}
    gateway = RefusedGateway(free_port(), tmp_path, environment)
    gateway.start()
    yield gateway
    gateway.check()


async def test_where_it_is_refused_all_is_written_one_by_one_and_said_once(refused: RefusedGateway) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(refused)) for _ in range(30)]
        for client in clients:
            await subscribe(client, "all")
        await clients[0].send(command(op="publish", topic="all", data={"n": 0}))
        for client in clients:
            check_account(await events_until(client, 0), 1)
    assert refused.metric('gateway_bulk_sends_total{taken="all"}') == 0
    records = [line for line in refused.output().splitlines() if "io_uring" in line]
    assert len(records) == 1
    assert json.loads(records[0])["reason"] == "server.io_uring: Operation not permitted"


def test_a_gateway_that_must_have_it_does_not_start_without() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.refused_calls", "gateway", "serve", "--port", str(free_port())],
        cwd=ROOT,
        env={"GATEWAY_SERVER__IO_URING": "required"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "gateway: settings: server.io_uring: Operation not permitted\n"
