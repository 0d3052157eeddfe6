"""A log per stream as plain lists, for models: trimmed, holed, short of its end, begun again, away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import page_through
from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.pages import Page


class ModelLog:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lives = 1
        self.first = 1
        self.kept: list[Publication | None] = []
        self.ever: dict[str, dict[int, Publication]] = {self.epoch: {}}
        # By life: the end of what it holds of the one before.
        self.parts = [0]

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

    def shared(self, one: str, later: str) -> int:
        """The last offset at which two lives hold the same."""
        first, last = (int(each.removeprefix(self.name)) for each in (one, later))
        return min(self.parts[first:last])

    def trim(self, count: int) -> None:
        count = min(count, len(self.kept))
        del self.kept[:count]
        self.first += count

    def lose_end(self, count: int) -> None:
        """A replica that was behind is promoted: nothing says so but the end."""
        count = min(count, len(self.kept))
        if count:
            for offset in range(self.last - count + 1, self.last + 1):
                self.ever[self.epoch].pop(offset, None)
            del self.kept[-count:]

    def remove(self, offset: int) -> None:
        """A hole: the offset stays given, what it bore has gone."""
        if self.first <= offset <= self.last:
            self.kept[offset - self.first] = None

    def begin_again(self) -> None:
        """A new epoch; what is kept stays, under the offsets it has."""
        self.lives += 1
        self.parts.append(self.last)
        self.ever[self.epoch] = {each.offset or 0: each for each in self.kept if each is not None}


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
        looked_at = log.kept[begin : begin + min(messages, 7)]
        found = [each for each in looked_at if each is not None]
        page = page_through(log.bounds, found, after=after, through=log.first - 1 + begin + len(looked_at))
        # The answer takes its time, and tells what was true when it began.
        await asyncio.sleep(self.latency)
        return page

    async def bounds(self, stream: str) -> Bounds:
        await self._reach()
        return self.logs[stream].bounds

    async def before(self, stream: str, time: int) -> int:
        await self._reach()
        log = self.logs[stream]
        found = (each for each in log.kept if each is not None and each.time >= time)
        return next(((each.offset or 0) - 1 for each in found), log.last)

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
