"""A log per stream as plain lists, for models: trimmed, holed, short of its end, begun again, away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import SelectedPage, page_through
from gateway.core.topics.grammar import matches
from gateway.errors import StreamUnavailable, TooMany
from gateway.streams.base import TopicPage, TopicSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self.topics: list[tuple[int, str]] = []
        # By life: the end of what it holds of the one before.
        self.parts = [0]
        self.history: dict[str, list[Publication]] = {self.epoch: []}
        """Of each life everything that it had, what retention has taken too."""

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
        self.topics.append((publication.offset, publication.topic))
        self.history[self.epoch].append(publication)

    def had_after(self, offset: int, topic: str, count: int | None) -> bool:
        """Whether so many have been on ``topic`` behind ``offset``, also if they are lost by now."""
        later = {at for at, on in self.topics if at > offset and on == topic}
        return count is not None and len(later) >= count

    def shared(self, one: str, later: str) -> int:
        """The last offset at which two lives hold the same."""
        first, last = (int(each.removeprefix(self.name)) for each in (one, later))
        return min(self.parts[first:last])

    def values(self, epoch: str, last: int, topic_filter: str = "#") -> dict[str, Publication]:
        """What a life's topics had as their last values as of offset ``last``."""
        found: dict[str, Publication] = {}
        for each in self.history[epoch]:
            if (each.offset or 0) <= last and matches(topic_filter, each.topic):
                found.pop(each.topic, None)
                if not each.deleted:
                    found[each.topic] = each
        return found

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
            had = self.history[self.epoch]
            self.history[self.epoch] = [each for each in had if (each.offset or 0) <= self.last]

    def remove(self, offset: int) -> None:
        """A hole: the offset stays given, what it bore has gone."""
        if self.first <= offset <= self.last:
            self.kept[offset - self.first] = None

    def wanted(self, *filters: str, last: int | None = None) -> list[Publication]:
        """What matches, up to offset ``last``."""
        kept = self.kept if last is None else self.kept[: max(0, last + 1 - self.first)]
        return [
            each for each in kept if each is not None and any(matches(one, each.topic) for one in filters)
        ]

    def selected(self, found: list[Publication], after: int, last: int, messages: int) -> SelectedPage:
        """The page of what was ``found``, in which everything that has gone is told."""
        after = max(after, self.first - 1)
        found = [each for each in found if after < (each.offset or 0) <= last]
        through = max(after, last) if len(found) <= messages else (found[messages - 1].offset or 0)
        there = self.kept[after + 1 - self.first : through + 1 - self.first]
        everything = page_through(
            self.bounds, [each for each in there if each is not None], after=after, through=through
        )
        return SelectedPage(self.bounds, found[:messages], through, everything.holes)

    def begin_again(self) -> None:
        """A new epoch; what is kept stays, under the offsets it has."""
        had = self.history[self.epoch]
        self.lives += 1
        self.parts.append(self.last)
        self.history[self.epoch] = list(had)
        self.ever[self.epoch] = {each.offset or 0: each for each in self.kept if each is not None}


class ModelStore:
    """The reading half of a store."""

    def __init__(self, *names: str) -> None:
        self.logs = {name: ModelLog(name) for name in names}
        self.indexed = True
        self.topics_per_read = 100
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

    async def select(
        self, stream: str, filters: Sequence[str], after: int, *, messages: int, size: int = 1 << 20
    ) -> SelectedPage | None:
        await self._reach()
        log = self.logs[stream]
        page = log.selected(log.wanted(*filters), after, log.last, min(messages, 3)) if self.indexed else None
        await asyncio.sleep(self.latency)
        return page

    async def before_newest(self, stream: str, topic_filter: str, count: int) -> int | None:
        await self._reach()
        log = self.logs[stream]
        found = [log.first, *(each.offset or 0 for each in log.wanted(topic_filter))]
        before = max(found[-count], log.first) - 1 if count < len(found) else log.first - 1
        await asyncio.sleep(self.latency)
        return before if self.indexed else None

    async def newest_by_topic(
        self,
        stream: str,
        topic_filter: str,
        count: int,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1 << 20,
    ) -> SelectedPage:
        await self._reach()
        log = self.logs[stream]
        last = log.last if through is None else through
        by_topic: dict[str, list[Publication]] = {}
        for each in log.wanted(topic_filter, last=last):
            by_topic.setdefault(each.topic, []).append(each)
        if len(by_topic) > self.topics_per_read:
            raise TooMany("more topics than may be")
        found = sorted(
            (each for all_of in by_topic.values() for each in all_of[-count:]), key=lambda each: each.offset
        )
        page = log.selected(found, after, min(last, log.last), min(messages, 3))
        await asyncio.sleep(self.latency)
        return page

    async def snapshot(
        self,
        stream: str,
        topic_filter: str,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1 << 20,
    ) -> SelectedPage:
        await self._reach()
        log = self.logs[stream]
        last = log.last if through is None else through
        values = log.values(log.epoch, log.last, topic_filter).values()
        found = [each for each in values if after < (each.offset or 0) <= last]
        most = min(messages, 2)
        through = max(after, last) if len(found) <= most else (found[most - 1].offset or 0)
        page = SelectedPage(log.bounds, found[:most], through)
        await asyncio.sleep(self.latency)
        return page

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        await self._reach()
        found: dict[str, TopicSummary] = {}
        for each in self.logs[stream].wanted(topic_filter):
            offset = each.offset or 0
            first = found[each.topic].first if each.topic in found else offset
            found[each.topic] = TopicSummary(each.topic, first, offset, each.time)
        # Good enough an order where no level begins with another one's name.
        names = [each for each in sorted(found) if after is None or each > after]
        return TopicPage(
            [found[each] for each in names[:limit]], names[limit - 1] if len(names) > limit else None
        )

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
