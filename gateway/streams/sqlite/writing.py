"""The thread that writes to a SQLite store: one transaction for all that waits, one fsync.

Everything here runs in that thread. Nothing it raises ends the thread; after an error of the disk the
database is closed and opened again before anything else is tried, since what SQLite has in memory may not be
what is in the file.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import StoreFull, StoreUnusable, StreamUnavailable
from gateway.streams.sqlite.ends import EndsFile
from gateway.streams.sqlite.file import (
    ODD,
    cannot_write,
    has_room,
    lock,
    open_to_write,
    segment_offsets,
    unusable,
    what_failed,
)
from gateway.streams.sqlite.indexing import DamagedIndex, LogIndex
from gateway.streams.sqlite.last_values import DamagedValues
from gateway.streams.sqlite.last_values import load as load_values
from gateway.streams.sqlite.lock import FileLock
from gateway.streams.sqlite.logs import TRIM_STEP, DamagedLog, SqliteLog
from gateway.streams.sqlite.opening import look_at, new_epoch, set_foreign_log_aside, take_over
from gateway.streams.sqlite.seen import file_number
from gateway.streams.sqlite.segments import SEGMENT_OFFSETS
from gateway.streams.sqlite.transaction import (
    NO_RETENTION,
    Committed,
    DamagedJob,
    refuse_job,
    run_job,
)
from gateway.streams.sqlite.upkeep import LogUpkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.core.messages.commands import Position
    from gateway.core.streams.configuration import Bounds, StreamConfiguration
    from gateway.streams.base import Appended
    from gateway.streams.sqlite.append_queue import Waiting
    from gateway.streams.sqlite.file import Synchronous
    from gateway.streams.sqlite.opening import Opened
    from gateway.streams.sqlite.reading import SqliteReader
    from gateway.streams.sqlite.seen import End, SeenFile
    from gateway.streams.sqlite.tail import Tail
    from gateway.streams.sqlite.transaction import Job, Retention

_REOPEN_SECONDS = 0.25
_log = logging.getLogger("gateway.streams")


class Writer(LogUpkeep):
    """Owns the connection that writes, and what is known of the logs."""

    def __init__(
        self,
        path: Path,
        configurations: Sequence[StreamConfiguration],
        *,
        synchronous: Synchronous,
        most_keys: int,
        clock: Callable[[], int],
        seen: SeenFile,
        reading: SqliteReader,
        tails: Mapping[str, Tail],
        offsets: int = SEGMENT_OFFSETS,
    ) -> None:
        super().__init__()
        self._path = path
        self._configurations = configurations
        self._synchronous = synchronous
        self._most_keys = most_keys
        self._clock = clock
        self._seen = seen
        self._reading = reading
        self._tails = tails
        self._offsets = offsets
        self._refusal: StreamUnavailable | None = None
        self._lock: sqlite3.Connection | None = None
        self._file_lock = FileLock(path)
        self._ends = EndsFile(path.with_name(path.name + "-ends"))
        self._connection: sqlite3.Connection | None = None
        self._file = 0
        self._failed_at = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether the last thing that was tried left the database usable."""
        return self._connection is not None

    def open(self, answered: Mapping[str, End]) -> Opened:
        """Open or open again; new epochs begin where the database isn't the one that was closed last.

        Where nothing can be written, the disk being full, the database may be read all the same: then the
        answer has a refusal.

        Args:
            answered: how far each log had come when this process last knew.

        Raises:
            StoreUnusable: it can't be opened.
            StreamUnavailable: the disk doesn't work, or still has no room.
        """
        self._close_database()
        if time.monotonic() - self._failed_at < _REOPEN_SECONDS:
            raise self._refusal or StreamUnavailable("the store of streams doesn't work")
        # As failed until it has not: however this ends, the next attempt waits a while.
        self._failed_at = time.monotonic()
        # Before the database is touched at all: opening it is enough for SQLite to write to it.
        if self._lock is None:
            self._lock = lock(self._path)
        if self._refusal is not None and not has_room(self._path):
            raise self._refusal
        # By whatever name it was opened, the file is one: the lock above goes by the store's name.
        self._file_lock.claim()
        self._reading.stand_alone(False)
        try:
            opened = self._open(answered)
        except StoreUnusable as exc:
            refusal = cannot_write(exc.__cause__)
            if refusal is None:
                raise
            return self._open_to_read(refusal, exc)
        self._refusal = None
        return opened

    def _open_to_read(self, refusal: StreamUnavailable, failure: StoreUnusable) -> Opened:
        try:
            opened = look_at(self._path, self._configurations, refusal)
        except (sqlite3.Error, OSError, *ODD):
            raise failure from failure.__cause__
        self._refusal = refusal
        for each in self._tails.values():
            each.clear()
        self._reading.stand_alone(True)
        return opened

    def _open(self, answered: Mapping[str, End]) -> Opened:
        connection = self._open_database()
        try:
            opened, self._logs = take_over(
                connection,
                self._path,
                self._configurations,
                most_keys=self._most_keys,
                synchronous=self._synchronous,
                seen_file=self._seen,
                answered=answered,
                noted=self._ends.read(),
            )
            # SQLite may have made the file just now.
            self._file_lock.claim()
            self._load(connection)
        except (sqlite3.Error, OSError, *ODD) as exc:
            connection.close()
            raise unusable(self._path, exc) from exc
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._failed_at = -math.inf
        self._ends.note(self._logs.values())
        return opened

    def _load(self, connection: sqlite3.Connection) -> None:
        """Take up what belongs to the logs: their index, their last values."""
        connection.execute("DROP TABLE IF EXISTS scratch")
        size = segment_offsets(connection, self._offsets)
        for name, log in self._logs.items():
            tail = self._tails[name]
            tail.clear(size)
            self._indexes[name] = LogIndex(name, log.number, tail)
            self._indexes[name].load(connection, self._path, log.first, log.last)
            log.purged = self._indexes[name].purged(connection, log.first, log.last)
            log.values = load_values(connection, log.limits, log.number, first=log.first, last=log.last)

    def commit(
        self,
        batch: Sequence[Waiting],
        *,
        sweep: bool,
        index: bool = True,
        jobs: Sequence[Job] = (),
        retention: Mapping[str, Retention] = NO_RETENTION,
    ) -> Committed:
        """Keep ``batch`` in one transaction, and with ``sweep`` let go of what is too old in every log.

        With ``index`` the indexes of these logs get on too. ``jobs`` are done before anything is let go.

        Raises:
            StoreFull: nothing of it was kept.
            StreamUnavailable: it may have been kept all the same.
        """
        connection = self._require()
        now = self._clock()
        for name, kept in retention.items():
            self._logs[name].keep_from, self._logs[name].watched = kept
        batches: dict[str, list[Waiting]] = {}
        for each in batch:
            batches.setdefault(each.stream, []).append(each)
        # Copies replace the logs after COMMIT: what a failed transaction counted is forgotten with it.
        changed = {name: self._logs[name].draft() for name in batches}
        if sweep:
            self._check_file()
            changed |= {
                name: log.draft()
                for name, log in self._logs.items()
                if name not in changed
                and (log.too_much(now) or (index and self._indexes[name].due(log.first, log.last)))
            }
        if not changed and not jobs:
            return Committed((), {}, {}, more=False)
        for name, log in changed.items():
            log.shares.begin()
            self._indexes[name].begin()
        try:
            # IMMEDIATE: a transaction that reads before it writes may be refused in the middle, as busy.
            connection.execute("BEGIN IMMEDIATE")
            done = [run_job(job, connection) for job in jobs]
            committed = self._change(connection, changed, batches, batch, now, index=index)
            connection.execute("COMMIT")
        except DamagedJob as damaged:
            connection.execute("ROLLBACK")
            _log.error("the groups of streams are damaged: %s", damaged.__cause__)
            failed = StreamUnavailable("what is kept of the group is damaged")
            left = [refuse_job(failed) if job is damaged.job else job for job in jobs]
            return self.commit(batch, sweep=sweep, index=index, jobs=left)
        except (DamagedLog, DamagedIndex, DamagedValues) as damaged:
            connection.execute("ROLLBACK")
            self._tell_damage(connection, damaged)
            return self.commit(batch, sweep=sweep, index=index, jobs=jobs)  # a few times for each log at most
        except Exception as exc:
            error = self._give_up(exc)
            # Where there is no room for both, the index can wait; without rows of its own it changes nothing.
            if isinstance(error, StoreFull) and any(self._indexes[name].at_work for name in changed):
                return self.commit(batch, sweep=sweep, index=False, jobs=jobs)
            raise error from exc
        self._settle(changed)
        # Between COMMIT and the answers. Earlier the note could be ahead of the database, and a crash would
        # look like a loss; later an offset could have been answered that nobody would miss.
        self._ends.note(changed.values())
        return committed._replace(done=done)

    def probe(self) -> None:
        """Find out whether writing is possible.

        Raises:
            StoreFull: there is no room.
            StreamUnavailable: the disk doesn't work.
        """
        connection = self._require()
        try:
            # It changes nothing and writes all the same: SQLite compares no values.
            connection.execute("UPDATE store SET token = token")
        except sqlite3.Error as exc:
            raise self._give_up(exc) from exc

    def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if the log is of ``seen``'s and ends before it.

        Raises:
            StreamUnavailable: the disk doesn't work.
        """
        connection = self._require()
        log = self._logs[stream].draft()
        # Of another epoch nothing follows: the log may be the younger one, and then it has lost nothing.
        if log.epoch == seen.epoch and log.last < seen.offset:
            log.epoch = new_epoch()
            try:
                log.save(connection)
            except sqlite3.Error as exc:
                raise self._give_up(exc) from exc
            self._logs[stream] = log
            self._ends.note((log,))
        return log.bounds

    def close(self, *, note: bool = False) -> None:
        """Close; with ``note`` the next start knows that nothing is missing."""
        ends = {name: (log.epoch, log.last) for name, log in self._logs.items()}
        # A database that failed says nothing of its end: then the next start has to look for itself.
        note = note and self._connection is not None
        on_disk = note and self._everything_on_disk()
        self._close_database()
        if note:
            with suppress(OSError):
                self._seen.finish(ends, on_disk=on_disk)
        self._ends.close()
        # Last: whoever gets the locks may open the database at once.
        self._file_lock.release()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open_database(self) -> sqlite3.Connection:
        try:
            set_foreign_log_aside(self._path, self._seen.read())
        except OSError as exc:
            raise StoreUnusable(f"{self._path}: {exc.strerror}") from exc
        connection = open_to_write(self._path, self._synchronous)
        self._file = file_number(self._path)
        return connection

    def _require(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StreamUnavailable("the store of streams doesn't work")
        return self._connection

    def _change(
        self,
        connection: sqlite3.Connection,
        changed: Mapping[str, SqliteLog],
        batches: Mapping[str, list[Waiting]],
        batch: Sequence[Waiting],
        now: int,
        *,
        index: bool,
    ) -> Committed:
        answers: dict[str, list[Appended | Exception]] = {}
        more = False
        evicted = 0
        for name, log in changed.items():
            # Never back, whatever the clock does: a time is searched for by halves, since both only grow.
            log.time = max(log.time, now)
            added = batches.get(name, [])
            if added:
                answers[name] = log.append(connection, added)
            if log.too_much(log.time):
                # More than was added, so that a log which is over its bounds gets smaller; but not all at
                # once, since publishers wait meanwhile.
                more |= log.trim(connection, TRIM_STEP + len(added))
            if index:
                # As far as it had come before: what this transaction adds is in memory only once it is kept.
                more |= self._indexes[name].step(connection, log.first, self._logs[name].last)
            if log.values is not None and (before := self._logs[name].values) is not None:
                evicted += log.values.evicted - before.evicted
            log.save(connection)
        # One stream is the rule; then the answers are in the publishers' order as they are.
        if len(answers) == 1:
            (in_order,) = answers.values()
        else:
            by_stream = {name: iter(each) for name, each in answers.items()}
            in_order = [next(by_stream[each.stream]) for each in batch]
        return Committed(
            in_order,
            {name: log.time for name, log in changed.items()},
            {name: log.first for name, log in changed.items()},
            more,
            evicted,
            trimmed={name: log.trimmed for name, log in changed.items() if log.trimmed},
        )

    def _give_up(self, exc: Exception) -> Exception:
        """Undo the transaction; after anything but a full disk, close the database as well."""
        error = what_failed(exc)
        connection = self._require()
        # Of a full disk SQLite is sure that nothing was kept. After any other error neither it nor the kernel
        # is: a page that failed to reach the disk may count as written.
        if isinstance(error, StoreFull):
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                # On a small disk it may be SQLite's own log that takes the room.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not connection.in_transaction:
                return error
        self._close_database()
        return error

    def _check_file(self) -> None:
        """Find out whether the database still lies where it should."""
        if file_number(self._path) != self._file:
            self._close_database()
            raise StreamUnavailable(f"{self._path} was removed or replaced")

    def _everything_on_disk(self) -> bool:
        """Bring SQLite's log into the database, with an fsync of both; whether that worked."""
        try:
            busy, _, _ = self._require().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return False
        return not busy

    def _close_database(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
