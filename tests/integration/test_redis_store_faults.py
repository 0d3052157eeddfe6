"""What becomes of streams while their Redis is away, comes back empty or with an old copy, or is another one.

Real processes throughout. What was answered is checked against what is kept.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Connection

from gateway.core.messages.commands import Position
from gateway.errors import RateLimited, StreamUnavailable
from gateway.streams.base import Dedupe
from tests.integration.store_in_redis import (
    TIMEOUT,
    fill,
    labels,
    message,
    page_of,
    running,
    until,
)
from tests.patience import HANG_SECONDS, PATIENCE
from tests.redis_process import RunningRedis, redis_cluster, redis_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from gateway.core.streams.configuration import Page
    from gateway.streams.base import Appended
    from gateway.streams.redis.store import RedisStore

pytestmark = pytest.mark.usefixtures("no_task_left")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As in production: asyncio's own loop hides what a reset does to who writes next."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def server(module_redis_server: RunningRedis) -> RunningRedis:
    return module_redis_server


async def persistently(
    store: RedisStore, label: str, dedupe: Dedupe | None = None, *, seconds: float = HANG_SECONDS
) -> Appended:
    """Append, and again for as long as the store says so."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await store.append("s", message(label), dedupe or Dedupe(label, b""))
            except (StreamUnavailable, RateLimited):
                await asyncio.sleep(0.01)


async def read_persistently(store: RedisStore, after: int = 0) -> Page:
    """All that there is; as above."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                return await store.read("s", after, messages=10**6, size=10**9)
            except StreamUnavailable:
                await asyncio.sleep(0.01)


async def test_redis_killed_and_restarted_empty(
    server: RunningRedis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running(server.url, prefix, backoff=0.5, timeout=TIMEOUT) as one,
        running(server.url, prefix, backoff=0.5) as other,
    ):
        await asyncio.gather(*(persistently(one, str(number)) for number in range(20)))
        await page_of(other)
        old = await other.bounds("s")
        reading = asyncio.create_task(one.read("s", 20, messages=10, wait=60))
        server.kill()
        with pytest.raises(StreamUnavailable):
            await asyncio.wait_for(reading, PATIENCE * 2 * TIMEOUT)
        await assert_away(one, monkeypatch)
        server.start()
        await until(lambda: one.available and other.available)
        bounds = await other.raise_epoch("s", Position(old.epoch, 20))
        assert bounds.last == 0
        assert bounds.epoch != old.epoch
        assert (await fill(other, "new"))[0].offset == 1
        assert (await read_persistently(one)).bounds.epoch == (await other.bounds("s")).epoch == bounds.epoch
        assert one.statistics().epochs_raised + other.statistics().epochs_raised == 1


async def assert_away(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is refused, in time; what waits is bounded; nothing spins meanwhile."""
    began = time.monotonic()
    for call in (store.read("s", 0, messages=1), store.bounds("s"), persistently_refused(store)):
        with pytest.raises(StreamUnavailable):
            await call
        assert time.monotonic() - began < PATIENCE * 2 * TIMEOUT
        began = time.monotonic()
    await until(lambda: store.statistics().waiting == 0)
    assert not store.statistics().connected
    attempts, connect = 0, Connection.connect

    def counting(connection: Connection) -> Awaitable[None]:
        nonlocal attempts
        attempts += 1
        return connect(connection)

    monkeypatch.setattr(Connection, "connect", counting)
    used = time.process_time()
    await until(lambda: attempts >= 3)
    await asyncio.sleep(0.5)
    # Six connections are wanted, each again after up to half a second.
    assert attempts < 100, "busy while nothing can be done"
    # Of this process alone: whatever else the machine does is not in it.
    assert time.process_time() - used < 0.25, "busy while nothing can be done"


async def persistently_refused(store: RedisStore) -> None:
    while True:
        await store.append("s", message("never"))


async def test_a_frozen_redis_takes_no_more_than_may_wait(server: RunningRedis, prefix: str) -> None:
    async with (
        running(server.url, prefix, waiting_messages=100, timeout=TIMEOUT) as store,
        running(server.url, prefix) as witness,
    ):
        await persistently(store, "before")
        server.freeze()
        try:
            waiting = [store.append("s", message(number), Dedupe(f"{number}", b"")) for number in range(100)]
            with pytest.raises(RateLimited):
                store.append("s", message("too many"))
            began = time.monotonic()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert time.monotonic() - began < PATIENCE * 2 * TIMEOUT
            assert {type(each) for each in answers} == {StreamUnavailable}
            assert "may have been kept" in str(answers[0])
        finally:
            server.thaw()
        # It was kept all the same, once: the repeats get the first answers.
        repeats = await asyncio.gather(*(persistently(store, str(number)) for number in range(100)))
        assert sorted(each.offset for each in repeats) == list(range(2, 102))
        page = await page_of(witness)
        assert len(set(labels(page))) == len(page.publications) == 101


async def test_an_old_copy_restored(tmp_path: Path, prefix: str) -> None:
    with redis_servers(tmp_path, ()) as (server,):
        async with running(server.url, prefix) as aware, running(server.url, prefix) as unaware:
            await fill(aware, *range(10))
            server.call("SAVE")
            before = await unaware.bounds("s")
            await fill(aware, *range(10, 20))
            server.restart()
            await until(lambda: unaware.available)
            # A node that has seen no more than the copy holds has nothing to say against it.
            assert (await persistently(unaware, "x")).offset == 11
            assert (await unaware.bounds("s")).epoch == before.epoch
            await until(lambda: aware.available)
            assert (await persistently(aware, "y")).offset == 12
            page = await read_persistently(unaware)
            assert page.bounds.epoch != before.epoch
            assert labels(page) == [*(str(number) for number in range(10)), "x", "y"]
            assert aware.statistics().epochs_raised == 1


async def test_an_old_copy_that_was_overtaken(tmp_path: Path, prefix: str) -> None:
    """As many were appended since as were lost: the ends alone would not tell."""
    with redis_servers(tmp_path, ()) as (server,):
        async with running(server.url, prefix) as aware, running(server.url, prefix) as unaware:
            await fill(aware, *range(10))
            server.call("SAVE")
            before = await unaware.bounds("s")
            await fill(aware, "a", "b")
            server.restart()
            await until(lambda: unaware.available)
            for label in ("x", "y", "z"):
                await persistently(unaware, label)
            await until(lambda: aware.available)
            page = await read_persistently(aware, 12)
            assert page.bounds.epoch != before.epoch
            assert labels(page) == ["z"]


async def test_a_replica_that_is_behind_is_promoted(tmp_path: Path, prefix: str) -> None:
    with redis_servers(tmp_path, ("--repl-diskless-sync-delay", "0"), ()) as (master, replica):
        replica.call("REPLICAOF", "127.0.0.1", str(master.port))
        configuration = tmp_path / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        )
        sentinel = RunningRedis(tmp_path, options=(str(configuration), "--sentinel"))
        try:
            sentinel.start()
            async with running(f"redis+sentinel://{sentinel.address}/main", prefix, backoff=0.5) as store:
                await until(lambda: "'online'" in str(master.call("INFO", "replication")))
                await until(lambda: bool(sentinel.call("SENTINEL", "REPLICAS", "main")))
                await fill(store, *range(10))
                await until(lambda: replica.call("XLEN", f"{{{prefix}:stream:s}}:log") == 10)
                old = await store.bounds("s")
                replica.freeze()
                assert master.call("CLIENT", "KILL", "TYPE", "replica") == 1
                await fill(store, *range(10, 20))
                master.kill()
                replica.thaw()
                # A sentinel that itself stood still trusts nobody for half a minute.
                answer = await persistently(store, "new", seconds=4 * HANG_SECONDS)
                assert answer.offset == 11
                page = await read_persistently(store)
                assert page.bounds.epoch != old.epoch
                assert labels(page) == [*(str(number) for number in range(10)), "new"]
        finally:
            sentinel.kill()


class Publisher:
    """Appends one after another, without keys, and notes what it is answered."""

    def __init__(self, store: RedisStore, name: str) -> None:
        self.store = store
        self.name = name
        self.sent = 0
        self.answered: dict[str, int] = {}
        self.refused: set[str] = set()
        self.going = True

    async def run(self) -> None:
        while self.going:
            label = f"{self.name}-{self.sent}"
            self.sent += 1
            try:
                self.answered[label] = (await self.store.append("s", message(label))).offset
            except (StreamUnavailable, RateLimited):
                self.refused.add(label)
                await asyncio.sleep(0.001)


async def check_history(store: RedisStore, publishers: list[Publisher]) -> None:
    """Answered: there, once, at its offset, in its publisher's order. Refused: at most once."""
    kept = (await read_persistently(store)).publications
    found = {each.id: each.offset for each in kept}
    assert len(found) == len(kept)
    assert [each.offset for each in kept] == list(range(1, len(kept) + 1))
    for publisher in publishers:
        assert publisher.answered.items() <= found.items()
        order = [each.id for each in kept if each.id in publisher.answered]
        assert order == list(publisher.answered)
    assert set(found) <= set().union(*(each.answered.keys() | each.refused for each in publishers))


class PersistentPublisher(Publisher):
    """Appends one after another, each with a key and until it is answered."""

    async def run(self) -> None:
        while self.going:
            label = f"{self.name}-{self.sent}"
            self.sent += 1
            self.answered[label] = (await persistently(self.store, label)).offset


@asynccontextmanager
async def publishing(
    *stores: RedisStore, kind: type[Publisher] = Publisher
) -> AsyncIterator[list[Publisher]]:
    """Publishers at work, one for each of ``stores``; at the end each has its last answer."""
    publishers = [kind(store, f"{number}") for number, store in enumerate(stores)]
    async with asyncio.TaskGroup() as tasks:
        for each in publishers:
            tasks.create_task(each.run())
        yield publishers
        for each in publishers:
            each.going = False


async def test_connections_cut_again_and_again(server: RunningRedis, prefix: str) -> None:
    async with (
        running(server.url, prefix, backoff=0.1) as one,
        running(server.url, prefix, backoff=0.1) as two,
    ):
        async with publishing(*[one, two] * 5) as publishers:
            for _ in range(10):
                answered = [len(each.answered) for each in publishers]
                await until(
                    lambda a=answered: all(len(p.answered) > n for p, n in zip(publishers, a, strict=True))
                )
                await asyncio.sleep(random.random() * 0.02)
                server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: one.available)
        await check_history(one, publishers)
        assert (await one.bounds("s")).epoch.startswith("1-")


async def test_a_log_moves_to_another_server_of_a_cluster(tmp_path: Path, prefix: str) -> None:
    """Whoever is refused meanwhile repeats, and all is kept once: nothing is missing, nothing twice."""
    with redis_cluster(tmp_path) as servers:
        url = f"redis+cluster://{servers[0].address}"
        async with running(url, prefix, timeout=1.5) as store, running(url, prefix) as witness:
            async with publishing(*[store] * 5, kind=PersistentPublisher) as publishers:
                reading = asyncio.create_task(follow(store))
                for _ in range(3):
                    await more(store)
                    await asyncio.to_thread(move_log, servers, f"{{{prefix}:stream:s}}")
                await more(store)
            await check_history(witness, publishers)
            bounds = await witness.bounds("s")
            assert bounds.epoch.startswith("1-")
            assert bounds.last == sum(each.sent for each in publishers)
            await persistently(store, "last")
            assert await asyncio.wait_for(reading, HANG_SECONDS) == bounds.last + 1


async def more(store: RedisStore) -> None:
    before = store.statistics().appended
    await until(lambda: store.statistics().appended > before + 100)


async def follow(store: RedisStore) -> int:
    """Read on and on as a node does, until the publication named ``last``; without a hole."""
    after = 0
    while True:
        try:
            page = await store.read("s", after, messages=1000, wait=10)
        except StreamUnavailable:
            await asyncio.sleep(0.01)
            continue
        for publication in page.publications:
            assert publication.offset == after + 1
            after += 1
            if publication.id == "last":
                return after


def move_log(servers: list[RunningRedis], tag: str) -> None:
    """Give the slot of ``tag`` to the next server, and its keys one after another."""
    slot = str(servers[0].call("CLUSTER", "KEYSLOT", tag))
    names = [str(server.call("CLUSTER", "MYID")) for server in servers]
    owner = next(
        index
        for index, server in enumerate(servers)
        if any(
            row[0] <= int(slot) <= row[1] and row[2][2] == names[index]
            for row in server.call("CLUSTER", "SLOTS")  # type: ignore[attr-defined]
        )
    )
    target = (owner + 1) % len(servers)
    servers[target].call("CLUSTER", "SETSLOT", slot, "IMPORTING", names[owner])
    servers[owner].call("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    there = ("MIGRATE", "127.0.0.1", str(servers[target].port))
    for key in ("meta", "log"):
        servers[owner].call(*there, f"{tag}:{key}", "0", "5000")
    # And those of idempotency keys: without them a repeat is one more publication.
    while keys_left := servers[owner].call("CLUSTER", "GETKEYSINSLOT", slot, "100"):
        servers[owner].call(*there, "", "0", "5000", "KEYS", *keys_left)  # type: ignore[misc]
    for index in (target, owner, (owner + 2) % len(servers)):
        servers[index].call("CLUSTER", "SETSLOT", slot, "NODE", names[target])
