"""The thread that reads pages of a SQLite store, from snapshots, whatever is being written meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from gateway.codecs.record import BadRecord, decode_record
from gateway.errors import StreamUnavailable
from gateway.streams.sqlite_file import open_to_read, what_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.core.publication import Publication


class Snapshot(NamedTuple):
    """A log at one moment: what was read of it, its epoch and its oldest offset."""

    epoch: str
    first: int
    publications: Sequence[Publication]


class Times(NamedTuple):
    """How large a log is, and the times of its oldest and newest publication (ms since 1970)."""

    bytes: int
    first_time: int | None
    last_time: int | None


class Reader:
    """Owns the connection that reads; everything runs in its thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def page(self, stream: str, number: int, after: int, end: int, *, messages: int, size: int) -> Snapshot:
        """What is behind ``after`` up to ``end``, no more than asked for; one publication at least.

        Raises:
            StreamUnavailable: it can't be read.
        """
        found: list[Publication] = []
        with self._snapshot() as connection:
            epoch, first = connection.execute(
                "SELECT epoch, first FROM stream WHERE number = ?", (number,)
            ).fetchone()
            rows = connection.execute(
                f"SELECT offset, time, record FROM log_{number}"  # noqa: S608 - a number
                " WHERE offset > ? AND offset <= ? ORDER BY offset LIMIT ?",
                (after, end, messages),
            )
            for offset, time, record in rows:
                size -= len(record)
                if size < 0 and found:
                    break
                found.append(decode_record(record, stream, offset, time))
            rows.close()
        return Snapshot(epoch, first, found)

    def before(self, number: int, time: int, end: int) -> int:
        """The offset before the first publication up to ``end`` whose time is ``time`` or later.

        Raises:
            StreamUnavailable: it can't be read.
        """
        with self._snapshot() as connection:
            (low,) = connection.execute("SELECT first FROM stream WHERE number = ?", (number,)).fetchone()
            high = end + 1
            # Times never go back, so no index is needed to find one.
            while low < high:
                middle = (low + high) // 2
                if _time(connection, number, middle) < time:
                    low = middle + 1
                else:
                    high = middle
        return int(low) - 1

    def times(self, number: int) -> Times:
        """What ``describe`` tells of a log.

        Raises:
            StreamUnavailable: it can't be read.
        """
        with self._snapshot() as connection:
            first, last, size = connection.execute(
                "SELECT first, last, bytes FROM stream WHERE number = ?", (number,)
            ).fetchone()
            if first > last:
                return Times(size, None, None)
            return Times(size, _time(connection, number, first), _time(connection, number, last))

    def close(self) -> None:
        """Close; the next read opens again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = open_to_read(self._path)
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            self.close()
            raise what_failed(exc) from exc
        except BadRecord as exc:
            raise StreamUnavailable(f"{self._path}: {exc}") from exc


def _time(connection: sqlite3.Connection, number: int, offset: int) -> int:
    row = connection.execute(f"SELECT time FROM log_{number} WHERE offset = ?", (offset,)).fetchone()  # noqa: S608
    if row is None:
        raise StreamUnavailable(f"offset {offset} of log {number} is missing")
    time: int = row[0]
    return time
