"""The event loop's side of writing to a SQLite store: what waits, what is under way, what came of it.

One transaction is under way at a time. What comes meanwhile waits and goes into the next one together, so
that a hundred publishers share one fsync.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from gateway.errors import StreamUnavailable
from gateway.streams.base import Appended
from gateway.streams.sqlite.append_queue import AppendQueue, Waiting
from gateway.streams.sqlite.jobs import Jobs
from gateway.streams.sqlite.overwriting import overwrite_removed
from gateway.streams.sqlite.transaction import kept_of, retention_of
from gateway.streams.sqlite.worker import Worker
from gateway.streams.statistics import StoreStatistics

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.streams.base import Dedupe
    from gateway.streams.groups.journal import Trimmed
    from gateway.streams.groups.local import LocalGroups
    from gateway.streams.limits import StoreLimits
    from gateway.streams.local_log import LocalLog
    from gateway.streams.sqlite.opening import Opened
    from gateway.streams.sqlite.purging import Cursor, Purged
    from gateway.streams.sqlite.seen import End
    from gateway.streams.sqlite.transaction import Committed
    from gateway.streams.sqlite.writing import Writer
    from gateway.supervision import Supervision

T = TypeVar("T")
_STOP_SECONDS = 5.0

_log = logging.getLogger("gateway.streams")


class GroupCommit:
    """Hands appends to the writing thread, and the outcome to publishers and logs.

    Attributes:
        numbers: of the streams, which name their tables.
        token: of the database's last opening.
    """

    def __init__(
        self,
        writer: Writer,
        logs: Mapping[str, LocalLog],
        *,
        limits: StoreLimits,
        reopened: Callable[[], None],
        supervision: Supervision,
    ) -> None:
        """Take the parts; ``reopened`` is told when the database was opened a second time."""
        self._writer = writer
        self._logs = logs
        self._limits = limits
        self._reopened = reopened
        self._supervision = supervision
        self._queue = AppendQueue(limits)
        self._worker: Worker | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._busy = self._sweep_due = self._connected = self._closing = False
        self._idle = asyncio.Event()
        self._appended = self._repeated = self._failed = self._commits = self._raised = 0
        self._purged = self._evicted = 0
        self._jobs = Jobs()
        self._groups: LocalGroups | None = None
        self.numbers: Mapping[str, int] = {}
        self.token = ""

    async def open(self) -> None:
        """Open the database.

        Raises:
            StoreUnusable: it can't be opened.
        """
        self._worker = Worker("store-writing")
        try:
            opened = await self._worker.run(partial(self._writer.open, {}))
            self._take_opened(opened)
        except BaseException:
            # By the same thread, whatever it is at: SQLite's connections belong to the thread that made them.
            closing = self._worker.run(self._writer.close)
            self._worker.stop()
            await asyncio.wait([closing], timeout=_STOP_SECONDS)
            raise
        self._connected = True
        if (refusal := opened.refusal) is not None:
            self._take_failure([], refusal)

    def tell(self, groups: LocalGroups) -> None:
        """Have ``groups`` told of what comes to the logs and leaves them, and asked what may leave."""
        self._groups = groups

    def write(self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Do ``job`` in the next transaction; its result, or an error of the gateway's own that it raises.

        It may be done more than once where a transaction isn't kept. Cancelling the future undoes nothing.
        """
        loop = asyncio.get_running_loop()
        if self._closing:
            refused: asyncio.Future[T] = loop.create_future()
            refused.set_exception(StreamUnavailable("the store of streams is closed"))
            return refused
        self._begin(loop)
        return self._jobs.add(job)

    async def close(self, *, note: bool) -> None:
        """Finish what was accepted and close, in bounded time.

        Args:
            note: tell the next start that nothing is missing.
        """
        assert self._worker is not None
        self._closing, self._connected = True, False
        # What was accepted is stored before anything is abandoned: whoever was not refused counts on it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while self._busy:
                    self._idle.clear()
                    await self._idle.wait()
        self._failed += self._queue.abandon("the store of streams was closed")
        self._jobs.fail(StreamUnavailable("the store of streams was closed"))
        if self._expiry is not None:
            self._expiry.cancel()
        # Bounded too: the thread may hang on a disk that doesn't answer, and the process has to end anyway.
        with suppress(TimeoutError, StreamUnavailable):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._worker.run(partial(self._writer.close, note=note))
        self._worker.stop()

    def append(
        self, stream: str, publication: Publication, record: bytes, dedupe: Dedupe | None
    ) -> asyncio.Future[Appended]:
        """Queue an append for the next transaction.

        Raises:
            RateLimited: as much waits as may.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Appended] = loop.create_future()
        now = loop.time()
        self._queue.put(Waiting(stream, publication, record, dedupe, answer, now))
        self._begin(loop)
        # One timer for all, at the time of the oldest: one for each would cost as much as the append itself.
        if self._expiry is None:
            self._expiry = loop.call_at(now + self._limits.timeout, self._expire)
        return answer

    def sweep(self) -> None:
        """Let go of what is too old, in every log; and see whether a database that failed works again."""
        self._sweep_due = True
        self._begin(asyncio.get_running_loop())

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if the log ended before ``seen``.

        Raises:
            StreamUnavailable: it could not be written.
        """
        # In the writing thread's order, so it falls between two transactions: a log that is compared with
        # what was seen of it holds all of a batch or nothing.
        bounds = await self._run(partial(self._writer.raise_epoch, stream, seen))
        log = self._logs[stream]
        if bounds.epoch != log.epoch:
            log.begin_epoch(bounds.epoch)
            self._raised += 1
        return log.bounds

    async def purge(self, stream: str, topic_filter: str, before: int, cursor: Cursor) -> Purged:
        """Remove some of what matches and has a smaller offset than ``before``, from ``cursor`` on.

        Other transactions come in between; ``overwrite`` must follow.

        Raises:
            StreamUnavailable: it could not be written; a part may be removed.
        """
        try:
            # The thread removes them, whoever has gone: then what is at hand of them has to go as well.
            with anyio.CancelScope(shield=True):
                purged = await self._run(partial(self._writer.purge, stream, topic_filter, before, cursor))
        except StreamUnavailable:
            # The index may have to be made anew first.
            self.sweep()
            raise
        # What is at hand is served to readers without a look at the file.
        if purged.offsets:
            self._logs[stream].purge(purged.offsets)
            if self._groups is not None:
                self._groups.purged(stream, purged.gone)
        self._purged += purged.removed
        return purged

    async def overwrite(self, stream: str) -> None:
        """Leave nothing of what was removed in the files; raises ``StreamUnavailable``."""
        await overwrite_removed(self._run, self._writer, stream)

    def repair(self, stream: str, segment: int) -> None:
        """Have a part of a stream's index made anew that turned out to be damaged."""
        assert self._worker is not None
        self._worker.run(partial(self._writer.repair, stream, segment))
        self.sweep()

    def statistics(self, *, read: int) -> StoreStatistics:
        """A snapshot; ``read`` is counted elsewhere."""
        return StoreStatistics(
            connected=self._connected,
            appended=self._appended,
            repeated=self._repeated,
            failed=self._failed,
            commits=self._commits,
            read=read,
            waiting=self._queue.messages,
            waiting_bytes=self._queue.bytes,
            epochs_raised=self._raised,
            purged=self._purged,
            last_values_evicted=self._evicted,
        )

    def ends(self) -> dict[str, End]:
        """How far each log has come, as was answered."""
        return {name: (log.epoch, log.recent.last) for name, log in self._logs.items()}

    async def _run(self, job: Callable[[], T]) -> T:
        assert self._worker is not None
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await self._worker.run(job)
        except TimeoutError as exc:
            raise StreamUnavailable("the store of streams does not answer") from exc

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._busy:
            self._busy = True
            # A turn later: all that is published in this turn of the event loop shares the transaction.
            loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Give the writing thread its next job; ``_busy`` until there is none."""
        batch: list[Waiting] = []
        jobs = Jobs(self._jobs)
        try:
            self._next_job(batch, jobs)
        except Exception as error:  # noqa: BLE001 - without a next job nothing would ever be stored again
            self._sweep_due = False
            self._take_defect(batch or self._queue.take(), error, jobs)
            self._schedule_next()

    def _next_job(self, batch: list[Waiting], jobs: Jobs) -> None:
        assert self._worker is not None
        # A store that closes doesn't sweep: what is too old goes after the next start as well.
        if not self._queue and not jobs and (self._closing or not self._sweep_due):
            self._busy = False
            self._idle.set()
        elif not self._writer.is_open:
            opening = self._worker.run(partial(self._writer.open, self.ends()))
            opening.add_done_callback(partial(self._after_opening, jobs))
        else:
            sweep, self._sweep_due = self._sweep_due, False
            # A sweep of logs in which nothing is too old writes nothing, so it would not show that a full
            # disk has room again.
            if sweep and not self._connected:
                self._worker.run(self._writer.probe).add_done_callback(self._after_probe)
            batch += self._queue.take()
            retention = retention_of(self._groups, self._logs)
            commit = partial(self._writer.commit, batch, sweep=sweep, jobs=jobs.parts, retention=retention)
            self._worker.run(commit).add_done_callback(partial(self._after_commit, batch, jobs))

    def _after_opening(self, jobs: Jobs, done: asyncio.Future[Opened]) -> None:
        if error := done.exception():
            self._sweep_due = False
            self._take_failure(self._queue.take(), error, jobs)
        else:
            try:
                # Before anybody is told of a refusal: what can be read is read by the bounds that are true
                # now.
                self._take_opened(done.result())
                if (refusal := done.result().refusal) is None:
                    self._reopened()
                    # Behind those that are to come of it, since the file may be another one.
                    self._jobs = Jobs(self._jobs, jobs)
                else:
                    self._sweep_due = False
                    self._take_failure(self._queue.take(), refusal, jobs)
            except Exception as defect:  # noqa: BLE001 - as above
                self._take_defect(self._queue.take(), defect, jobs)
        self._schedule_next()

    def _after_probe(self, done: asyncio.Future[None]) -> None:
        if done.exception() is None:
            self._take_success()

    def _after_commit(self, batch: list[Waiting], jobs: Jobs, done: asyncio.Future[Committed]) -> None:
        if error := done.exception():
            self._take_failure(batch, error, jobs)
        else:
            try:
                self._take_committed(batch, done.result())
                jobs.resolve(done.result().done)
            except Exception as defect:  # noqa: BLE001 - what is stored and what is known of it now differ
                self._supervision.fatal("store", defect)
                self._take_failure(batch, defect, jobs)
        self._schedule_next()

    def _schedule_next(self) -> None:
        # Only now: until its publishers are told, a transaction counts against what may wait.
        self._queue.finish()
        # Two turns later, so that those who have just been answered may join with their next append:
        # publishers would fall into two halves, each of which waits for the other's fsync.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._hand_over)

    def _take_opened(self, opened: Opened) -> None:
        self.numbers = opened.numbers
        self.token = opened.token
        self._raised += opened.raised
        for name, bounds in opened.bounds.items():
            self._logs[name].restart(bounds)

    def _take_committed(self, batch: list[Waiting], committed: Committed) -> None:
        kept = kept_of(batch, committed)
        # Logs first: who is told of an offset finds it there.
        for name, (publications, sizes) in kept.items():
            log = self._logs[name]
            if publications:
                log.extend(publications, sizes)
                log.recent.bound(self._limits.recent_messages, self._limits.recent_bytes)
                self._appended += len(publications)
            log.trim(committed.firsts[name])
            self._tell_groups(name, publications, committed.trimmed.get(name, ()))
        for waiting, answer in zip(batch, committed.answers, strict=True):
            if isinstance(answer, Appended):
                self._repeated += answer.repeated
                # Done already where its time was up: it was kept, and its publisher was told that it may have
                # been.
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
            else:
                waiting.fail(answer)
        if kept:
            self._commits += 1
            self._take_success()
        self._sweep_due |= committed.more
        self._evicted += committed.evicted

    def _tell_groups(self, name: str, publications: Sequence[Publication], gone: Sequence[Trimmed]) -> None:
        if self._groups is not None:
            # First what came, since it may be gone already; and both in one step with the log itself.
            if publications:
                self._groups.appended(name, publications)
            if gone:
                self._groups.trimmed(name, gone)

    def _take_failure(self, batch: list[Waiting], error: BaseException, jobs: Jobs | None = None) -> None:
        # Once per outage: each batch of it would say the same.
        if self._connected:
            self._connected = False
            _log.error("streams can't be stored: %s", error)
        told = error if isinstance(error, StreamUnavailable) else StreamUnavailable(str(error))
        for each in batch:
            self._failed += each.fail(told)
        if jobs is not None:
            jobs.fail(told)

    def _take_defect(self, batch: list[Waiting], error: Exception, jobs: Jobs) -> None:
        if not isinstance(error, StreamUnavailable):
            self._supervision.failed("store", error)
        self._take_failure(batch, error, jobs)

    def _take_success(self) -> None:
        if not self._connected and not self._closing:
            self._connected = True
            _log.warning("streams can be stored again")

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        # The transaction goes on: it can't be taken back, and the next one has to wait for it anyway.
        failed, oldest = self._queue.expire(loop.time() - self._limits.timeout)
        self._expiry = None
        if oldest is not None:
            self._expiry = loop.call_at(oldest + self._limits.timeout, self._expire)
        if failed:
            self._take_failure([], StreamUnavailable("the disk does not answer in time"))
            self._failed += failed
