"""Streams in a SQLite database: one file, one process, nothing to install.

The newest publications stay at hand on the event loop, so that whoever follows a log costs no query; older
ones are read by a thread of their own from snapshots, which the writing thread doesn't wait for.

The way in: ``group_commit`` on the event loop, ``writing`` and ``logs`` in the writing
thread. The way out: ``reading``. The file: ``file``; whether it is the right one: ``opening`` and ``seen``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.codecs.record import encode_record
from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import PURGED, TRIMMED, Hole, Page, page_through, told_apart
from gateway.errors import GatewayError, StreamUnavailable
from gateway.streams.base import SelectedPage, StreamStatistics
from gateway.streams.groups.local import LocalGroups
from gateway.streams.limits import StoreLimits
from gateway.streams.local_log import LocalLog
from gateway.streams.sqlite.group_commit import GroupCommit
from gateway.streams.sqlite.groups import SqliteJournal
from gateway.streams.sqlite.reading import SqliteReader
from gateway.streams.sqlite.seen import SeenFile
from gateway.streams.sqlite.segments import SEGMENT_OFFSETS, DamagedSegment
from gateway.streams.sqlite.selecting import NotIndexed
from gateway.streams.sqlite.tail import OldSnapshot, Tail
from gateway.streams.sqlite.worker import Worker
from gateway.streams.sqlite.writing import Writer
from gateway.supervision import Supervision

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.codecs.topic_segment import Range
    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.streams.base import Appended, Dedupe, StoreStatistics, TopicPage
    from gateway.streams.sqlite.file import Synchronous
    from gateway.streams.sqlite.reading import Snapshot, Viewed
    from gateway.streams.sqlite.selecting import LogView, Selected

T = TypeVar("T")
_NOTE_SECONDS = 5.0
_WAIT_SECONDS = 0.001
_SCANNED = 8192
_SNAPSHOTS = 100

_log = logging.getLogger("gateway.streams")


class SqliteStore:
    """Keeps streams in a file that is this process' alone."""

    def __init__(
        self,
        path: Path | str,
        configurations: Iterable[StreamConfiguration],
        *,
        synchronous: Synchronous = "full",
        limits: StoreLimits | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        supervision: Supervision | None = None,
        segment_offsets: int = SEGMENT_OFFSETS,
    ) -> None:
        """Make the store; nothing is opened yet.

        Args:
            path: of the database; directories that aren't there are made.
            configurations: the streams; others that the database holds stay in it untouched.
            synchronous: whether an answer outlives a power cut, or just the process.
            limits: of what waits and of what is at hand.
            clock: milliseconds since 1970.
            supervision: keeps the tasks running.
            segment_offsets: how long a segment of the index is in a file that is made.
        """
        self._supervision = supervision or Supervision()
        path = Path(path)
        streams = tuple(configurations)
        self._limits = limits or StoreLimits()
        self._seen = SeenFile(path.with_name(path.name + "-seen"))
        self._reader = SqliteReader(path)
        self._logs = {each.name: LocalLog() for each in streams}
        self._tails = {each.name: Tail(segment_offsets) for each in streams}
        writer = Writer(
            path,
            streams,
            synchronous=synchronous,
            most_keys=self._limits.dedupe_keys,
            clock=clock,
            seen=self._seen,
            reading=self._reader,
            tails=self._tails,
            offsets=segment_offsets,
        )
        self._writing = GroupCommit(
            writer,
            self._logs,
            limits=self._limits,
            reopened=self._close_reader,
            supervision=self._supervision,
        )
        self._groups = LocalGroups(
            self._logs,
            self,
            SqliteJournal(self._number, self._write, self._look),
            clock=clock,
            seconds=self._limits.timeout,
        )
        self._writing.tell(self._groups)
        self._renewing = False
        self._reading: Worker | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._read = 0

    async def start(self) -> None:
        """Open the database, made if it isn't there.

        Raises:
            StoreUnusable: it can't be opened, isn't a store, or is another process'.
        """
        await self._writing.open()
        self._reading = Worker("store-reading")
        # Whoever asks for groups finds them as they were kept.
        self._upkeep = asyncio.create_task(
            self._supervision.keep("store_upkeep", self._keep_up), name="store"
        )
        try:
            await self._groups.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finish what was accepted, in bounded time, and close; readers that wait are told."""
        if self._upkeep is None or self._reading is None:
            return
        self._upkeep.cancel()
        with suppress(asyncio.CancelledError):
            await self._upkeep
        self._upkeep = None
        for log in self._logs.values():
            log.close()
        # The reading thread notes too how far the logs have come, so it has to be done first.
        done = self._reading.run(self._reader.close)
        self._reading.stop()
        await asyncio.wait([done], timeout=self._limits.timeout)
        await self._writing.close(note=done.done())

    @property
    def groups(self) -> LocalGroups:
        """Its groups."""
        return self._groups

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        """Keep ``publication``: it joins the next transaction."""
        self._require()
        return self._writing.append(stream, publication, encode_record(publication), dedupe)

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1024 * 1024, wait: float = 0.0
    ) -> Page:
        """Read on behind ``after``, without a thread where the newest publications are asked for."""
        log = self._logs[stream]

        def read() -> Page | Awaitable[Page]:
            return log.page(after, messages, size) or self._page(stream, after, messages, size)

        page = await log.read(read, after, wait)
        self._read += len(page.publications)
        return page

    async def bounds(self, stream: str) -> Bounds:
        """The log's bounds."""
        self._require()
        return self._logs[stream].bounds

    async def before(self, stream: str, time: int) -> int:
        """The offset before the first publication of ``time`` or later."""
        self._require()
        number, end = self._number(stream), self._logs[stream].recent.last
        return await self._ask(partial(self._reader.before, number, time, end))

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if this one ended before ``seen``."""
        self._require()
        before = self._logs[stream].epoch
        bounds = await self._writing.raise_epoch(stream, seen)
        if bounds.epoch != before:
            await self._groups.renewed(stream)
        return bounds

    async def describe(self, stream: str) -> StreamStatistics:
        """What the log holds."""
        self._require()
        told = await self._ask(partial(self._reader.describe, self._number(stream)))
        return StreamStatistics(
            self._logs[stream].bounds,
            told.bytes,
            told.first_time,
            told.last_time,
            last_values=told.last_values,
        )

    def statistics(self) -> StoreStatistics:
        """A snapshot."""
        return self._writing.statistics(read=self._read)

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

    async def _scan(self, stream: str, topic_filter: str, after: int, through: int) -> tuple[int, int]:
        number, log = self._number(stream), self._logs[stream]
        count, oldest = 0, log.first
        for at in range(max(after + 1, oldest), through + 1, _SCANNED):
            offsets = range(at, min(at + _SCANNED, through + 1))
            found, oldest = await self._ask(partial(self._reader.scan, number, topic_filter, offsets))
            count += found
        return count, oldest

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

    async def purge(self, stream: str, topic_filter: str, before: int | None = None) -> int:
        """Remove what matches, for good."""
        self._require()
        end = self._logs[stream].recent.last + 1
        before = end if before is None else min(before, end)
        # Copies first: what is dead already isn't in the log's own steps, and is overwritten with it.
        await self._groups.purge(stream, topic_filter, before)
        removed = await self._writing.purge(stream, topic_filter, before)
        await self._groups.purge(stream, topic_filter, before)
        return removed

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

    def _require(self) -> Worker:
        if self._upkeep is None or self._reading is None:
            raise StreamUnavailable("the store of streams is closed")
        return self._reading

    def _number(self, stream: str) -> int:
        number = self._writing.numbers.get(stream)
        if number is None:
            raise StreamUnavailable(f"stream {stream!r} can't be made while nothing can be stored")
        return number

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

    def _write(self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return self._writing.write(job)

    async def _look(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self._ask(partial(self._reader.look, job))

    def _close_reader(self) -> None:
        self._renewing = True
        if self._reading is not None:
            self._reading.run(self._reader.close)

    async def _keep_up(self) -> None:
        """Sweep, and note now and then how far the logs have come."""
        loop = asyncio.get_running_loop()
        noted, next_note = self._writing.ends(), loop.time() + _NOTE_SECONDS
        while True:
            await asyncio.sleep(self._limits.sweep_seconds)
            self._writing.sweep()
            await self._sweep_groups()
            ends = self._writing.ends()
            if ends != noted and loop.time() >= next_note:
                noted, next_note = ends, loop.time() + _NOTE_SECONDS
                self._note(ends)

    async def _sweep_groups(self) -> None:
        # Whatever it is, it is tried again at the next sweep, and whoever asks for a group is told of it.
        with suppress(GatewayError):
            if self._renewing:
                # The file was opened again: it may not have all that it was given, or be another one.
                self._renewing = False
                try:
                    for stream in self._logs:
                        await self._groups.renewed(stream)
                except BaseException:
                    self._renewing = True
                    raise
            await self._groups.sweep()

    def _note(self, ends: dict[str, tuple[str, int]]) -> None:
        noting = self._require().run(partial(self._seen.update, self._writing.token, ends))
        noting.add_done_callback(_log_failure)


def _indexed(stream: str, viewed: Viewed[T] | None) -> Viewed[T]:
    if viewed is None:
        raise StreamUnavailable(f"the index of stream {stream!r} isn't complete")
    return viewed


def _holes(ranges: Sequence[Range]) -> list[Hole]:
    return [Hole(first, last, PURGED if purged else TRIMMED) for first, last, purged in ranges]


def _log_failure(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.warning("how far the streams have come can't be noted: %s", error)
