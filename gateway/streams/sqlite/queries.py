"""The event loop's side of reading a SQLite store: what the reading thread is asked, from snapshots.

A snapshot may show what the writing thread has yet to tell the event loop. Nobody is shown it then, and less
of it later by what needs no snapshot: so a snapshot that doesn't fit what is known here is taken again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import PURGED, TRIMMED, Hole, Page, page_through, told_apart
from gateway.errors import StreamUnavailable
from gateway.streams.base import SelectedPage
from gateway.streams.sqlite.segments import DamagedSegment
from gateway.streams.sqlite.selecting import LogView, NotIndexed
from gateway.streams.sqlite.tail import OldSnapshot, Tail
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.codecs.topic_segment import Range
    from gateway.core.messages.publication import Publication
    from gateway.streams.base import TopicPage
    from gateway.streams.limits import StoreLimits
    from gateway.streams.local_log import LocalLog
    from gateway.streams.sqlite.group_commit import GroupCommit
    from gateway.streams.sqlite.reading import Snapshot, SqliteReader, Viewed
    from gateway.streams.sqlite.selecting import Selected
    from gateway.streams.sqlite.worker import Worker

T = TypeVar("T")
_WAIT_SECONDS = 0.001
_SCANNED = 8192
_SNAPSHOTS = 100


class SnapshotQueries:
    """Looks at logs through a reader, while somebody writes them."""

    def __init__(
        self,
        reader: SqliteReader,
        writing: GroupCommit,
        logs: Mapping[str, LocalLog],
        tails: Mapping[str, Tail],
        limits: StoreLimits,
    ) -> None:
        """Take the parts; nothing can be asked before there is a reading thread."""
        self._reader = reader
        self._writing = writing
        self._logs = logs
        self._tails = tails
        self._limits = limits
        self._reading: Worker | None = None
        self._read = 0

    async def select(
        self, stream: str, filters: Sequence[str], after: int, *, messages: int, size: int = 1024 * 1024
    ) -> SelectedPage | None:
        """Read what matches, by the index."""

        def find(log: LogView) -> Selected | None:
            return log.select(filters, after, messages, size)

        viewed = await self._view(stream, find)
        if viewed is None or viewed.found is None:
            return None
        return self._selected(stream, viewed, viewed.found)

    async def at(self, stream: str, offsets: Sequence[int]) -> Sequence[Publication]:
        """Those of ``offsets`` that are kept, without a thread where they are the newest ones."""
        self._require()
        recent = self._logs[stream].recent
        found = [each for each in map(recent.find, offsets) if each is not None]
        if len(found) < len(offsets):
            known = {each.offset for each in found}
            older = [each for each in offsets if each not in known and each < recent.first]
            number = self._number(stream)
            if older:
                found = [*await self._ask(partial(self._reader.at, stream, number, older)), *found]
        self._read += len(found)
        return found

    async def count(self, stream: str, topic_filter: str, after: int, through: int) -> int:
        """How many match behind ``after``, up to ``through``."""
        log = self._logs[stream]
        if after >= through:
            return 0
        for _ in range(_SNAPSHOTS):
            viewed = await self._view(stream, lambda view: view.count(topic_filter, after), through)
            if viewed is None:
                found, first = await self._scan(stream, topic_filter, after, through)
            else:
                found, first = viewed.found, viewed.first
            # Of what retention has taken the event loop must have been told: it counts that too.
            if first == log.first:
                return found
            await asyncio.sleep(_WAIT_SECONDS)
        raise StreamUnavailable("the store of streams changes faster than it can be read")

    async def measure(self, stream: str, topic_filter: str, before: int | None = None) -> Extent:
        """What a purge would remove: a segment at a time, then what last values alone have."""
        log, size = self._logs[stream], self._tails[stream].size
        end = log.recent.last if before is None else min(before - 1, log.recent.last)
        found = Extent()
        for segment in range((log.first - 1) // size, (end - 1) // size + 1):
            find = partial(LogView.extent, topic_filter=topic_filter, segment=segment)
            found += _indexed(stream, await self._view(stream, find, end)).found
        number = self._number(stream)
        key: bytes | None = b""
        while key is not None:
            read = partial(self._reader.measure_values, number, topic_filter, before=end + 1, begin=key)
            told: tuple[Extent, bytes | None] = await self._ask(read)
            found, key = found + told[0], told[1]
        return found

    async def before_newest(self, stream: str, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` that match."""
        viewed = await self._view(stream, lambda log: log.before_newest(topic_filter, count))
        return None if viewed is None else viewed.found

    async def newest_by_topic(
        self,
        stream: str,
        topic_filter: str,
        count: int,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1024 * 1024,
    ) -> SelectedPage:
        """Read each matching topic's newest ``count``."""

        def find(log: LogView) -> Selected:
            return log.newest_by_topic(topic_filter, count, after, messages, size)

        viewed = _indexed(stream, await self._view(stream, find, through))
        return self._selected(stream, viewed, viewed.found)

    async def snapshot(
        self,
        stream: str,
        topic_filter: str,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1024 * 1024,
    ) -> SelectedPage:
        """Read last values, page by page."""
        self._require()
        log, number = self._logs[stream], self._number(stream)
        for _ in range(_SNAPSHOTS):
            viewed = await self._ask(
                partial(
                    self._reader.values,
                    stream,
                    number,
                    topic_filter,
                    after,
                    through,
                    messages=messages,
                    size=size,
                )
            )
            if viewed.epoch == log.epoch:
                # Values of what was kept just now: nobody may be told of it before its publisher could be.
                await log.reached(viewed.last, self._limits.timeout)
                values = viewed.found
                bounds = Bounds(viewed.epoch, viewed.first, viewed.last)
                self._read += len(values.publications)
                return SelectedPage(bounds, values.publications, values.through, _holes(values.holes))
        raise StreamUnavailable("the store of streams changes faster than it can be read")

    async def last_value(self, stream: str, topic: str) -> tuple[Bounds, Publication | None]:
        """The last value of one topic."""
        page = await self.snapshot(stream, topic, 0, None, messages=1)
        return page.bounds, page.publications[0] if page.publications else None

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        """The topics of which the log holds something."""

        def find(log: LogView) -> TopicPage:
            return self._reader.topics(log, topic_filter, after, limit)

        return _indexed(stream, await self._view(stream, find)).found

    async def _page(self, stream: str, after: int, messages: int, size: int) -> Page:
        log, number = self._logs[stream], self._number(stream)
        for _ in range(_SNAPSHOTS):
            end = log.recent.last
            read = partial(self._reader.page, stream, number, after, end, messages=messages, size=size)
            found: Snapshot = await self._ask(read)
            # A snapshot may show what the writing thread has yet to tell the event loop. A reader must not
            # be shown it now, and less of it by the next page, which may need no snapshot.
            if found.epoch == log.epoch and found.first <= log.recent.last + 1:
                bounds = Bounds(found.epoch, found.first, log.recent.last)
                publications, through, purged, _ = found.found
                page = page_through(bounds, publications, after=after, through=through)
                return replace(page, holes=told_apart(page.holes, purged)) if purged else page
        raise StreamUnavailable("the store of streams changes faster than it can be read")

    async def _view(
        self, stream: str, find: Callable[[LogView], T], through: int | None = None
    ) -> Viewed[T] | None:
        """What is found by the index, up to ``through`` or the log's end; None where it can't tell."""
        self._require()
        log, number, tail = self._logs[stream], self._number(stream), self._tails[stream]
        for _ in range(_SNAPSHOTS):
            end = log.recent.last if through is None else min(through, log.recent.last)
            job = partial(self._reader.view, stream, number, tail, end, self._limits.topics_per_read, find)
            try:
                viewed = await self._ask(job)
            except OldSnapshot:
                continue
            except NotIndexed:
                return None
            except DamagedSegment as damaged:
                self._writing.repair(stream, damaged.segment)
                return None
            if viewed.epoch == log.epoch and viewed.first <= log.recent.last + 1:
                return viewed
        raise StreamUnavailable("the store of streams changes faster than it can be read")

    def _selected(self, stream: str, viewed: Viewed[Any], found: Selected) -> SelectedPage:
        self._read += len(found.publications)
        bounds = Bounds(viewed.epoch, viewed.first, self._logs[stream].recent.last)
        return SelectedPage(bounds, found.publications, found.through, _holes(found.holes))

    async def _scan(self, stream: str, topic_filter: str, after: int, through: int) -> tuple[int, int]:
        number, log = self._number(stream), self._logs[stream]
        count, oldest = 0, log.first
        for at in range(max(after + 1, oldest), through + 1, _SCANNED):
            offsets = range(at, min(at + _SCANNED, through + 1))
            found, oldest = await self._ask(partial(self._reader.scan, number, topic_filter, offsets))
            count += found
        return count, oldest

    def _number(self, stream: str) -> int:
        number = self._writing.numbers.get(stream)
        if number is None:
            raise StreamUnavailable(f"stream {stream!r} can't be made while nothing can be stored")
        return number

    def _require(self) -> Worker:
        if self._reading is None:
            raise StreamUnavailable("the store of streams is closed")
        return self._reading

    async def _ask(self, job: Callable[[], T]) -> T:
        """Let the reading thread do something.

        Raises:
            StreamUnavailable: it fails or takes too long.
        """
        reading = self._require()
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await reading.run(job)
        except TimeoutError as exc:
            raise StreamUnavailable("the store of streams does not answer") from exc


def _indexed(stream: str, viewed: Viewed[T] | None) -> Viewed[T]:
    if viewed is None:
        raise StreamUnavailable(f"the index of stream {stream!r} isn't complete")
    return viewed


def _holes(ranges: Sequence[Range]) -> list[Hole]:
    return [Hole(first, last, PURGED if purged else TRIMMED) for first, last, purged in ranges]
