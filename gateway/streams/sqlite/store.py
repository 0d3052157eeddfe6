"""Streams in a SQLite database: one file, one process, nothing to install.

The newest publications stay at hand on the event loop, so that whoever follows a log costs no query; older
ones are read by a thread of their own from snapshots, which the writing thread doesn't wait for.

The way in: ``group_commit`` on the event loop, ``writing`` and ``logs`` in the writing thread. The way out:
``queries`` on the event loop, ``reading`` in the reading thread. The file: ``file``; whether it is the right
one: ``opening`` and ``seen``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gateway.codecs.record import encode_record
from gateway.errors import GatewayError, StreamUnavailable
from gateway.streams.groups.local import LocalGroups
from gateway.streams.limits import StoreLimits
from gateway.streams.local_log import LocalLog
from gateway.streams.sqlite.group_commit import GroupCommit
from gateway.streams.sqlite.groups import SqliteJournal
from gateway.streams.sqlite.purging import Cursor
from gateway.streams.sqlite.queries import SnapshotQueries
from gateway.streams.sqlite.reading import SqliteReader
from gateway.streams.sqlite.seen import SeenFile
from gateway.streams.sqlite.segments import SEGMENT_OFFSETS
from gateway.streams.sqlite.tail import Tail
from gateway.streams.sqlite.worker import Worker
from gateway.streams.sqlite.writing import Writer
from gateway.streams.statistics import StreamStatistics
from gateway.supervision import Supervision

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds, StreamConfiguration
    from gateway.core.streams.pages import Page
    from gateway.streams.base import Appended, Dedupe
    from gateway.streams.sqlite.file import Synchronous
    from gateway.streams.statistics import StoreStatistics

T = TypeVar("T")
_NOTE_SECONDS = 5.0
_WAIT_SECONDS = 0.001
_SCANNED = 8192
_SNAPSHOTS = 100

_log = logging.getLogger("gateway.streams")


class SqliteStore(SnapshotQueries):
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
        limits = limits or StoreLimits()
        self._seen = SeenFile(path.with_name(path.name + "-seen"))
        reader = SqliteReader(path)
        logs = {each.name: LocalLog() for each in streams}
        tails = {each.name: Tail(segment_offsets) for each in streams}
        writer = Writer(
            path,
            streams,
            synchronous=synchronous,
            most_keys=limits.dedupe_keys,
            clock=clock,
            seen=self._seen,
            reading=reader,
            tails=tails,
            offsets=segment_offsets,
        )
        writing = GroupCommit(
            writer,
            logs,
            limits=limits,
            reopened=self._close_reader,
            supervision=self._supervision,
        )
        super().__init__(reader, writing, logs, tails, limits)
        self._groups = LocalGroups(
            logs,
            self,
            SqliteJournal(self._number, writing.write, self._look),
            clock=clock,
            seconds=limits.timeout,
        )
        writing.tell(self._groups)
        self._renewing = False
        self._purges: Counter[str] = Counter()
        self._unwritten: set[str] = set()
        self._overwriting = asyncio.Lock()
        self._upkeep: asyncio.Task[None] | None = None

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
        reading, self._reading = self._reading, None
        done = reading.run(self._reader.close)
        reading.stop()
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

    async def purge(
        self, stream: str, topic_filter: str, before: int | None = None
    ) -> AsyncGenerator[int, None]:
        """Remove what matches, for good."""
        self._require()
        end = self._logs[stream].recent.last + 1
        before = end if before is None else min(before, end)
        self._purges[stream] += 1
        try:
            await self._purge_copies(stream, topic_filter, before)
            cursor: Cursor | None = Cursor()
            while cursor is not None:
                step = await self._writing.purge(stream, topic_filter, before, cursor)
                if step.removed:
                    self._unwritten.add(stream)
                yield step.removed
                cursor = step.next
            # What became a dead letter, or was sent back, meanwhile.
            await self._purge_copies(stream, topic_filter, before)
        finally:
            self._purges[stream] -= 1
        await self._overwrite(stream)

    async def _purge_copies(self, stream: str, topic_filter: str, before: int) -> None:
        if await self._groups.purge(stream, topic_filter, before):
            self._unwritten.add(stream)

    async def _overwrite(self, stream: str) -> None:
        async with self._overwriting:
            if stream in self._unwritten and not self._purges[stream]:
                await self._writing.overwrite(stream)
                self._unwritten.discard(stream)

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
            for stream in list(self._unwritten):
                # Of a purge that nobody stayed for.
                with suppress(StreamUnavailable):
                    await self._overwrite(stream)
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


def _log_failure(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.warning("how far the streams have come can't be noted: %s", error)
