"""The stores that the suites run over, each made with an empty place of its own."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import RedisStoreLimits, StoreLimits
from gateway.streams.memory import MemoryStore
from gateway.streams.redis import groups
from gateway.streams.redis.store import RedisStore
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    import pytest

    from gateway.core.streams.pages import Page
    from gateway.streams.base import Store

# Few publications at hand, so that pages come from wherever a store keeps them as well. Disks and servers
# have the time that they take on a busy machine.
LIMITS = StoreLimits(timeout=HANG_SECONDS, sweep_seconds=0.01, recent_messages=8, topics_per_read=100)
REDIS_LIMITS = RedisStoreLimits(timeout=HANG_SECONDS, silence=HANG_SECONDS, tidy=0.05, topics_per_read=100)


@dataclass
class Clock:
    """Milliseconds since 1970, as a test wants them."""

    now: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@dataclass
class Contender:
    """One store.

    Attributes:
        make: a store that isn't started yet; with ``durable``, each one finds what the last one kept.
        pass_time: let seconds pass, by moving the store's clock or by waiting.
        durable: the store outlives its stop.
        began: the time (ms since 1970) that stands still unless it is passed; None: time goes on by itself.
        kill: end a store as if its process were killed at that moment, where that can be done.
    """

    make: Callable[[Iterable[StreamConfiguration]], Store]
    pass_time: Callable[[float], Awaitable[None]] = asyncio.sleep
    durable: bool = True
    began: int | None = None
    kill: Callable[[Store], Awaitable[None]] | None = None

    @asynccontextmanager
    async def running(self, *configurations: StreamConfiguration) -> AsyncIterator[Store]:
        """A started store of ``configurations``, or of one stream ``s``."""
        store = self.make(configurations or [StreamConfiguration("s", "s/#")])
        await store.start()
        try:
            yield store
        finally:
            await store.stop()


def memory(request: pytest.FixtureRequest) -> Contender:
    clock = Clock()
    return Contender(
        lambda configurations: MemoryStore(configurations, limits=LIMITS, clock=clock),
        clock.advance,
        durable=False,
        began=clock.now,
    )


def sqlite(request: pytest.FixtureRequest) -> Contender:
    clock = Clock()
    path = request.getfixturevalue("tmp_path") / secrets.token_hex(4) / "streams.db"
    # Few offsets to a segment of the index, so that what is found comes from several.
    return Contender(
        lambda configurations: SqliteStore(
            path, configurations, limits=LIMITS, clock=clock, segment_offsets=16
        ),
        clock.advance,
        began=clock.now,
        kill=lambda store: stop_as_killed(store, path),
    )


async def stop_as_killed(store: Store, path: Path) -> None:
    """Leave what a store in the file at ``path`` has written so far, and nothing of its end."""
    left = {each: each.read_bytes() for each in path.parent.iterdir() if not each.name.endswith("-shm")}
    await store.stop()
    for each in path.parent.iterdir():
        if each not in left:
            each.unlink()
    for each, content in left.items():
        # In place: the store knows its file by its number.
        with each.open("r+b" if each.exists() else "wb") as file:
            file.truncate(0)
            file.write(content)


def redis(kind: str) -> Callable[[pytest.FixtureRequest], Contender]:
    """One of the kinds that the fixture ``servers`` knows; every contender has a prefix of its own."""

    def contender(request: pytest.FixtureRequest) -> Contender:
        url = request.getfixturevalue("servers")(kind)
        # In one of them all leases of a call are kept together, however few they are.
        if kind == "valkey":
            request.getfixturevalue("monkeypatch").setattr(groups, "_RUN", 1)
        prefix = secrets.token_hex(4)
        return Contender(
            lambda configurations: RedisStore(url, configurations, prefix=prefix, limits=REDIS_LIMITS)
        )

    return contender


CONTENDERS: dict[str, Callable[[pytest.FixtureRequest], Contender]] = {
    "memory": memory,
    "sqlite": sqlite,
    **{kind: redis(kind) for kind in ("redis", "valkey", "redis-cluster")},
}
"""Each makes a contender whose place is empty, at every call; the request gives it fixtures."""


@dataclass
class Elapsed:
    """How long ago something was begun, at least: what a store must not have let go of by then.

    A store whose time stands still has to keep it; one that goes by a clock of its own may let it go once the
    time is over, however soon the test looks.
    """

    contender: Contender
    began: float = field(default_factory=time.monotonic)

    def below(self, seconds: float) -> bool:
        """Whether less than ``seconds`` have passed, to be asked behind what was looked at."""
        # Redis has milliseconds, and not of the same clock.
        return self.contender.began is not None or time.monotonic() - self.began < seconds - 0.005


WITH_CLOCKS = ["memory", "sqlite"]
"""Those whose time passes at once; Redis goes by its own clock."""


def message(number: int, body: bytes | None = None) -> Publication:
    return Publication("s/t", f"m{number}", 0, b"%d" % number if body is None else body)


def ids(page: Page) -> list[str]:
    return [each.id for each in page.publications]


def offsets(page: Page) -> list[int | None]:
    return [each.offset for each in page.publications]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what a store does by itself, and fail after a while."""
    async with asyncio.timeout(HANG_SECONDS):
        while not await condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.002)
