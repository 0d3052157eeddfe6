"""Streams in memory: everything a store promises, except that it outlives the process."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.codecs.record import encode_record
from gateway.errors import Conflict, StoreFull, StreamUnavailable
from gateway.streams.groups.journal import Trimmed
from gateway.streams.groups.local import LocalGroups
from gateway.streams.groups.memory import MemoryJournal
from gateway.streams.limits import StoreLimits
from gateway.streams.memory_log import MemoryLog
from gateway.streams.statistics import Extent, StoreStatistics, StreamStatistics
from gateway.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds, StreamConfiguration
    from gateway.core.streams.pages import Page
    from gateway.streams.base import Appended, Dedupe, SelectedPage, TopicPage


class MemoryStore:
    """Keeps streams for as long as the process lives; each start begins new epochs."""

    def __init__(
        self,
        configurations: Iterable[StreamConfiguration],
        *,
        limits: StoreLimits | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        supervision: Supervision | None = None,
    ) -> None:
        """Make the logs; ``clock`` tells milliseconds since 1970."""
        self._limits = limits or StoreLimits()
        self._supervision = supervision or Supervision()
        self._clock = clock
        self._logs = {each.name: MemoryLog(each, self._limits) for each in configurations}
        journal = MemoryJournal(lambda stream, offset: self._logs[stream].log.recent.find(offset))
        self._groups = LocalGroups(self._logs, self, journal, clock=clock, seconds=self._limits.timeout)
        self._sweeping: asyncio.Task[None] | None = None
        self._appended = self._repeated = self._read = self._raised = self._purged = 0

    async def start(self) -> None:
        """Begin to let go of what is too old."""
        self._sweeping = asyncio.create_task(
            self._supervision.keep("store_upkeep", self._sweep), name="store"
        )

    async def stop(self) -> None:
        """Forget everything; readers that wait are told."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
            self._sweeping = None
        for each in self._logs.values():
            each.log.close()

    @property
    def groups(self) -> LocalGroups:
        """Its groups."""
        return self._groups

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        """Keep ``publication``, at once."""
        if self._sweeping is None:
            raise StreamUnavailable("the store of streams is closed")
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(self._append(self._logs[stream], publication, dedupe))
        except (Conflict, StoreFull) as conflict:
            answer.set_exception(conflict)
        return answer

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1024 * 1024, wait: float = 0.0
    ) -> Page:
        """Read on behind ``after``."""
        log = self._logs[stream].log

        def read() -> Page:
            page = log.page(after, messages, size)
            assert page is not None, "everything kept is at hand"
            return page

        page = await log.read(read, after, wait)
        self._read += len(page.publications)
        return page

    async def bounds(self, stream: str) -> Bounds:
        """The log's bounds."""
        return self._open(stream).log.bounds

    async def before(self, stream: str, time: int) -> int:
        """The offset before the first publication of ``time`` or later."""
        return self._open(stream).log.recent.before(time)

    async def select(
        self, stream: str, filters: Sequence[str], after: int, *, messages: int, size: int = 1024 * 1024
    ) -> SelectedPage | None:
        """Read what matches one of ``filters`` behind ``after``."""
        page = self._open(stream).select(filters, after, messages=messages, size=size)
        return page and self._counted(page)

    async def at(self, stream: str, offsets: Sequence[int]) -> Sequence[Publication]:
        """Those of ``offsets`` that are kept."""
        found = self._open(stream).at(offsets)
        self._read += len(found)
        return found

    async def count(self, stream: str, topic_filter: str, after: int, through: int) -> int:
        """How many match behind ``after``, up to ``through``."""
        return self._open(stream).count(topic_filter, after, through)

    async def before_newest(self, stream: str, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` that match."""
        return self._open(stream).before_newest(topic_filter, count)

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
        log = self._open(stream)
        return self._counted(
            log.newest_by_topic(topic_filter, count, after, through, messages=messages, size=size)
        )

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
        """Read the last values that match."""
        log = self._open(stream)
        return self._counted(log.snapshot(topic_filter, after, through, messages=messages, size=size))

    async def last_value(self, stream: str, topic: str) -> tuple[Bounds, Publication | None]:
        """The last value of one topic."""
        log = self._open(stream)
        return log.log.bounds, log.last_value(topic)

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        """The topics that match, behind topic ``after``."""
        return self._open(stream).topics(topic_filter, after, limit)

    async def purge(
        self, stream: str, topic_filter: str, before: int | None = None
    ) -> AsyncGenerator[int, None]:
        """Remove what matches, with a turn of the event loop for others after each step."""
        log = self._open(stream)
        end = log.log.recent.last + 1
        for count in log.purge(
            topic_filter, before, lambda gone: self._groups.purged(stream, _told_of(gone))
        ):
            self._purged += count
            yield count
            await asyncio.sleep(0)
            self._open(stream)
        await self._groups.purge(stream, topic_filter, end if before is None else min(before, end))

    async def measure(self, stream: str, topic_filter: str, before: int | None = None) -> Extent:
        """What a purge would remove."""
        found = Extent()
        for part in self._open(stream).measure(topic_filter, before):
            found += part
            await asyncio.sleep(0)
            self._open(stream)
        return found

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if this one ended before ``seen``; nothing here can have lost it."""
        log = self._open(stream).log
        if log.epoch == seen.epoch and log.recent.last < seen.offset:
            log.begin_epoch(secrets.token_hex(8))
            self._raised += 1
            await self._groups.renewed(stream)
        return log.bounds

    async def describe(self, stream: str) -> StreamStatistics:
        """What the log holds."""
        kept = self._open(stream)
        log = kept.log
        first_time, last_time = log.recent.times() or (None, None)
        return StreamStatistics(
            log.bounds, log.recent.bytes, first_time, last_time, len(kept.index), len(kept.values)
        )

    def statistics(self) -> StoreStatistics:
        """A snapshot."""
        return StoreStatistics(
            connected=self._sweeping is not None,
            appended=self._appended,
            repeated=self._repeated,
            commits=self._appended,
            read=self._read,
            epochs_raised=self._raised,
            purged=self._purged,
            last_values_evicted=sum(each.evicted for each in self._logs.values()),
        )

    async def sweep(self) -> None:
        """Let go of what is too old by now, as happens every few seconds."""
        for stream, each in self._logs.items():
            each.advance(self._clock())
            each.trim(self._groups.kept_from(stream))
            self._groups.trimmed(stream, _told_of(each.left))
        await self._groups.sweep()

    def _counted(self, page: SelectedPage) -> SelectedPage:
        self._read += len(page.publications)
        return page

    def _open(self, stream: str) -> MemoryLog:
        if self._sweeping is None:
            raise StreamUnavailable("the store of streams is closed")
        return self._logs[stream]

    def _append(self, log: MemoryLog, publication: Publication, dedupe: Dedupe | None) -> Appended:
        log.advance(self._clock())
        if dedupe is not None:
            first = log.first(dedupe)
            if first is not None:
                self._repeated += 1
                return first
        # The record's size, although no record is kept: retention counts alike in every store.
        size = len(encode_record(publication))
        groups, stream = self._groups, log.configuration.name
        keep_from = groups.kept_from(stream) if groups.has_any(stream) else None
        if keep_from is not None:
            log.refuse(size, keep_from, dedupe)
        answer = log.append(publication, size, dedupe, keep_from)
        self._appended += 1
        groups.appended(stream, (publication,))
        if log.left and groups.has_any(stream):
            groups.trimmed(stream, _told_of(log.left))
        return answer

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._limits.sweep_seconds)
            await self.sweep()


def _told_of(publications: Sequence[Publication]) -> list[Trimmed]:
    return [Trimmed(each.offset or 0, each.topic, each.key) for each in publications]
