"""What the writing thread knows of the logs of a SQLite store, and does to them beside appending.

Everything here runs in that thread, in transactions of its own between those that append.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from gateway.errors import StreamUnavailable
from gateway.streams.sqlite.indexing import DamagedIndex
from gateway.streams.sqlite.last_values import DamagedValues, give_up
from gateway.streams.sqlite.purging import overwrite_free_pages, purge_step
from gateway.streams.sqlite.segments import DamagedSegment
from gateway.streams.sqlite.selecting import NotIndexed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.streams.sqlite.indexing import LogIndex
    from gateway.streams.sqlite.logs import DamagedLog, SqliteLog
    from gateway.streams.sqlite.purging import Cursor, Purged


class LogUpkeep:
    """The logs with their indexes; whoever inherits has the connection."""

    def __init__(self) -> None:
        self._logs: dict[str, SqliteLog] = {}
        self._indexes: dict[str, LogIndex] = {}

    def purge(self, stream: str, topic_filter: str, before: int, cursor: Cursor) -> Purged:
        """Remove a part of what matches, from ``cursor`` on.

        Raises:
            StreamUnavailable: the disk doesn't work, or the index can't tell.
        """
        connection = self._require()
        log, index = self._logs[stream].draft(), self._indexes[stream]
        log.shares.begin()
        index.begin()
        try:
            # What is deleted is overwritten, in pages that are freed by it too.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            purged = purge_step(connection, log, index, topic_filter, before, cursor)
            log.save(connection)
            connection.execute("COMMIT")
            connection.execute("PRAGMA secure_delete = FAST")
        except (DamagedSegment, NotIndexed, DamagedValues) as damaged:
            connection.execute("ROLLBACK")
            if isinstance(damaged, DamagedSegment):
                index.repair(damaged.segment)
            elif isinstance(damaged, DamagedValues):
                self._tell_damage(connection, damaged)
            raise StreamUnavailable(f"the index of stream {stream!r} isn't complete") from damaged
        except Exception as exc:
            raise self._give_up(exc) from exc
        self._settle({stream: log})
        return purged

    def renew_values(self, stream: str, after: int) -> int | None:
        """Copy a part of a stream's last values, behind offset ``after``; None once that is done.

        Raises:
            StreamUnavailable: the disk doesn't work, or they are damaged.
        """
        connection = self._require()
        log = self._logs[stream].draft()
        if log.values is None:
            return None
        try:
            connection.execute("BEGIN IMMEDIATE")
            reached = log.values.renew(connection, after)
            connection.execute("COMMIT")
        except DamagedValues as damaged:
            connection.execute("ROLLBACK")
            self._tell_damage(connection, damaged)
            raise StreamUnavailable(f"the last values of stream {stream!r} are damaged") from damaged
        except Exception as exc:
            raise self._give_up(exc) from exc
        self._logs[stream] = log
        return reached

    def overwrite_free_pages(self, begun: int) -> int | None:
        """Overwrite a part of what is free in the file; None once that is done.

        Raises:
            StreamUnavailable: the disk doesn't work.
        """
        connection = self._require()
        try:
            return overwrite_free_pages(connection, begun)
        except sqlite3.Error as exc:
            raise self._give_up(exc) from exc

    def empty_write_ahead_log(self) -> bool:
        """Bring everything into the file itself, and empty SQLite's log; whether nobody reads from it."""
        self._require()
        return self._everything_on_disk()

    def repair(self, stream: str, segment: int) -> None:
        """Have a segment of a stream's index made anew that turned out to be damaged."""
        if stream in self._indexes:
            self._indexes[stream].repair(segment)

    def _settle(self, changed: Mapping[str, SqliteLog]) -> None:
        """The transaction is kept."""
        for name, log in changed.items():
            log.shares.settle()
            index = self._indexes[name]
            index.settle()
            if log.added:
                index.extend(log.last + 1 - len(log.added), log.added)
                log.added = []
            index.tail.trim(log.first)
            self._logs[name] = log

    def _tell_damage(
        self, connection: sqlite3.Connection, damaged: DamagedLog | DamagedIndex | DamagedValues
    ) -> None:
        name = damaged.args[0]
        if isinstance(damaged, DamagedIndex):
            self._indexes[name].tell_damage()
        elif isinstance(damaged, DamagedValues):
            give_up(connection, name, self._logs[name].number)
            self._logs[name].values = None
        else:
            self._logs[name].tell_damage()

    def _require(self) -> sqlite3.Connection:
        raise NotImplementedError

    def _give_up(self, exc: Exception) -> Exception:
        raise NotImplementedError

    def _everything_on_disk(self) -> bool:
        raise NotImplementedError
