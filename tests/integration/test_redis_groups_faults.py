"""Nodes and Redis are killed and paused while a group is worked off: nothing is lost, stuck or done twice."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.core.messages.publication import Publication
from gateway.errors import StreamUnavailable
from tests.integration.group_process import GROUP, REJECTED, STREAM
from tests.integration.store_in_redis import running
from tests.patience import HANG_SECONDS
from tests.redis_process import redis_servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.streams.redis.store import RedisStore
    from tests.redis_process import RunningRedis

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
PUBLICATIONS = 400


@dataclass
class Workers:
    """Nodes with a member each."""

    url: str
    prefix: str
    directory: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def start(self) -> None:
        self.started += 1
        command = [sys.executable, "-m", "tests.integration.group_process", self.url, self.prefix]
        with (self.directory / f"member-{self.started}").open("wb") as said:
            self.processes.append(subprocess.Popen([*command, f"m{self.started}"], stdout=said))

    def kill(self, place: int) -> None:
        process = self.processes.pop(place)
        process.kill()
        process.wait()

    def said(self) -> list[tuple[str, int, int, int]]:
        """What all of them said: what, offset, fence, attempt."""
        found = []
        for path in self.directory.glob("member-*"):
            for line in path.read_text().splitlines():
                what, *numbers = line.split()
                if len(numbers) == 3:
                    found.append((what, *map(int, numbers)))
        return found  # type: ignore[return-value]


@pytest.fixture
def workers(tmp_path: Path, durable: RunningRedis, prefix: str) -> Iterator[Workers]:
    workers = Workers(durable.url, prefix, tmp_path)
    yield workers
    while workers.processes:
        workers.kill(0)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[RunningRedis]:
    with redis_servers(tmp_path, DURABLE) as (server,):
        yield server


async def disturb(workers: Workers, server: RunningRedis, choice: random.Random) -> None:
    """One fault."""
    place = choice.randrange(len(workers.processes))
    match choice.choice(["kill", "pause", "pause redis", "kill redis"]):
        case "kill":
            workers.kill(place)
            workers.start()
        case "pause":
            workers.processes[place].send_signal(signal.SIGSTOP)
            await asyncio.sleep(choice.choice([0.1, 0.6]))
            workers.processes[place].send_signal(signal.SIGCONT)
        case "pause redis":
            server.freeze()
            await asyncio.sleep(choice.choice([0.1, 0.7]))
            server.thaw()
        case _:
            await asyncio.to_thread(server.restart)


async def publish(store: RedisStore, workers: Workers, server: RunningRedis) -> None:
    """Publish, disturbing what goes on."""
    choice = random.Random(7)
    published = 0
    while published < PUBLICATIONS:
        for _ in range(20):
            # One that is not answered may be there all the same: the offsets tell how many there are.
            with suppress(StreamUnavailable):
                await store.append("s", Publication("s/a", "a", 0, b"1"))
            published += 1
        if published % 40 == 0:
            await asyncio.sleep(choice.random() / 10)
            await disturb(workers, server, choice)


async def settled(store: RedisStore) -> bool:
    try:
        return (await store.groups.figures("s", "g")).depth == 0
    except StreamUnavailable:
        return False


async def test_all_is_acknowledged_once_or_dead_whoever_dies(
    workers: Workers, durable: RunningRedis, prefix: str
) -> None:
    async with running(durable.url, prefix, STREAM, timeout=0.5, backoff=0.05) as store:
        assert await store.groups.put("s", GROUP)
        for _ in range(3):
            workers.start()
        await publish(store, workers, durable)
        async with asyncio.timeout(3 * HANG_SECONDS):
            while not await settled(store):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        last = (await store.bounds("s")).last
        letters = [
            (each.publication.offset or 0, each.attempts)
            for each in (await store.groups.dead_letters("s", "g", after=None, limit=10_000))[0]
        ]
        figures = await store.groups.figures("s", "g")
    said = workers.said()
    acked = Counter(offset for what, offset, _, _ in said if what == "acked")
    unknown = {offset for what, offset, _, _ in said if what == "unknown"}
    assert last >= PUBLICATIONS / 2
    assert max(acked.values()) == 1
    # Nobody got what was done already.
    done = {offset: fence for what, offset, fence, _ in said if what == "acked"}
    assert all(fence <= done.get(offset, fence) for what, offset, fence, _ in said if what == "took")
    leases = Counter((offset, fence) for what, offset, fence, _ in said if what == "took")
    assert max(leases.values()) == 1
    dead = dict(letters)
    assert len(dead) == len(letters) == figures.dead
    assert set(dead.values()) <= {GROUP.max_deliver}
    assert not dead.keys() & acked.keys()
    assert {offset for offset in range(1, last + 1) if offset % REJECTED == 0} <= dead.keys()
    # Every failure counts, once; one that was killed may not have come to say what it took.
    attempts: dict[int, list[int]] = {}
    for _, offset, _, attempt in sorted(said, key=lambda each: each[2]):
        if offset % REJECTED == 0 and attempt not in attempts.setdefault(offset, []):
            attempts[offset].append(attempt)
    assert all(each == sorted(each) for each in attempts.values())
    whole = [each for each in attempts.values() if each == [1, 2, 3, GROUP.max_deliver]]
    assert len(whole) > len(attempts) / 2
    # One whose acknowledgement was answered to a node that was killed, or got no answer, is done as well.
    killed = {offset for what, offset, _, _ in said if what == "took"} - {
        offset for what, offset, _, _ in said if what in {"acked", "unknown"}
    }
    missing = set(range(1, last + 1)) - acked.keys() - dead.keys()
    assert missing <= unknown | killed
    assert (figures.lost, figures.in_flight, figures.delayed) == (0, 0, 0)
