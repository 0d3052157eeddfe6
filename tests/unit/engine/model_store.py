"""A log per stream as plain lists, for models: it can be trimmed, lose its end, begin again, and be away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.streams import Bounds, Page
from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    from gateway.core.commands import Position
    from gateway.core.publication import Publication


class ModelLog:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lives = 1
        self.first = 1
        self.kept: list[Publication] = []
        self.ever: dict[str, dict[int, Publication]] = {self.epoch: {}}

    @property
    def epoch(self) -> str:
        return f"{self.name}{self.lives}"

    @property
    def last(self) -> int:
        return self.first + len(self.kept) - 1

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.epoch, self.first, self.last)

    def append(self, publication: Publication) -> None:
        publication.stream, publication.offset = self.name, self.last + 1
        self.kept.append(publication)
        self.ever[self.epoch][publication.offset] = publication

    def trim(self, count: int) -> None:
        count = min(count, len(self.kept))
        del self.kept[:count]
        self.first += count

    def lose_end(self, count: int) -> None:
        """A replica that was behind is promoted: nothing says so but the end."""
        count = min(count, len(self.kept))
        if count:
            for publication in self.kept[-count:]:
                del self.ever[self.epoch][publication.offset or 0]
            del self.kept[-count:]

    def begin_again(self) -> None:
        """A new epoch; what is kept stays, under the offsets it has."""
        self.lives += 1
        self.ever[self.epoch] = {each.offset or 0: each for each in self.kept}


class ModelStore:
    """The reading half of a store."""

    def __init__(self, *names: str) -> None:
        self.logs = {name: ModelLog(name) for name in names}
        self.away = False
        self.latency = 0.0
        self.changed = asyncio.Event()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1 << 20, wait: float = 0.0
    ) -> Page:
        await self._reach()
        log = self.logs[stream]
        before = log.bounds
        if wait and after == log.last:
            try:
                async with asyncio.timeout(wait):
                    while log.bounds == before and not self.away:
                        await self.changed.wait()
            except TimeoutError:
                pass
            if self.away:
                raise StreamUnavailable("away")
        begin = max(after + 1 - log.first, 0)
        page = Page(log.bounds, log.kept[begin : begin + min(messages, 7)])
        # The answer takes its time, and tells what was true when it began.
        await asyncio.sleep(self.latency)
        return page

    async def bounds(self, stream: str) -> Bounds:
        await self._reach()
        return self.logs[stream].bounds

    async def before(self, stream: str, time: int) -> int:
        await self._reach()
        log = self.logs[stream]
        return next(((each.offset or 0) - 1 for each in log.kept if each.time >= time), log.last)

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        await self._reach()
        log = self.logs[stream]
        if log.epoch == seen.epoch and log.last < seen.offset:
            log.begin_again()
            self.notify()
        return log.bounds

    async def _reach(self) -> None:
        await asyncio.sleep(self.latency)
        if self.away:
            raise StreamUnavailable("away")
