"""Each topic's newest publication in a SQLite store, kept beyond retention in ``last_N``.

Its rows are those of the log with the topic's key beside them. They stand in the order of their offsets: so
the oldest go first, and snapshots are read as a log is. They change in the transaction that appends.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.streams.topic_keys import topic_key
from gateway.streams.sqlite.rows import is_damage, publication_of, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.streams.sqlite.rows import Row

_TABLE = """
CREATE TABLE {} (
    offset INTEGER PRIMARY KEY, topic BLOB NOT NULL UNIQUE, time INTEGER NOT NULL, record BLOB NOT NULL,
    seal INTEGER
)
"""
_FILL_STEP = 4096
_RENEW_STEP = 2000
COMPLETE: Final = -1
"""Noted in place of an offset once the values are those of the whole log."""

_log = logging.getLogger("gateway.streams")


class DamagedValues(Exception):  # noqa: N818 - says what it is
    """The last values of the log of that name can't be read or changed."""


@dataclass(slots=True)
class SqliteLastValues:
    """What the writing thread knows of a log's last values; a transaction works on a copy.

    Attributes:
        limits: the stream's configuration.
        number: of the log.
        count: how many there are.
        oldest: no value is of an earlier time; None where there are none.
        evicted: how many went since the start, since there were too many.
        renewing: they are being copied to another table.
    """

    limits: StreamConfiguration
    number: int
    count: int = 0
    oldest: int | None = None
    evicted: int = 0
    renewing: bool = False

    def too_much(self, now: int) -> bool:
        """Whether something may have to go at ``now``."""
        return self.count > self.limits.last_values_max_topics or self._too_old(now)

    def change(self, connection: sqlite3.Connection, values: Mapping[str, Row | None]) -> None:
        """Give topics new values; None where a publication ended the last one.

        Raises:
            DamagedValues: SQLite lets nothing of the transaction be kept.
        """
        rows = [
            (row[0], topic_key(topic), *row[1:]) for topic, row in sorted(values.items()) if row is not None
        ]
        with _whole(self.limits.name):
            gone = self._delete(connection, "topic", [(topic_key(topic),) for topic in values])
            # Rows in place of what a damaged offset left there are nobody's.
            connection.executemany(
                f"INSERT OR REPLACE INTO last_{self.number} VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - a number
                sorted(rows),
            )
        self.count = max(0, self.count - gone) + len(rows)
        if self.oldest is None and rows:
            self.oldest = rows[0][2]

    def remove(self, connection: sqlite3.Connection, offsets: Iterable[int]) -> None:
        """Let go of the values that are of these offsets, for good.

        Raises:
            DamagedValues: SQLite lets nothing of the transaction be kept.
        """
        with _whole(self.limits.name):
            gone = self._delete(connection, "offset", [(each,) for each in offsets])
        self.count = max(0, self.count - gone)

    def renew(self, connection: sqlite3.Connection, after: int) -> int | None:
        """Copy a part of the values behind offset ``after`` to a table of their own, which replaces this one.

        SQLite moves rows as others are deleted, and leaves copies where they were. In the new table there is
        nothing of what was removed before. It is made anew by a call with 0.

        Returns:
            The offset to go on behind; None once the new table has taken the place of the old one.

        Raises:
            DamagedValues: SQLite lets nothing of the transaction be kept.
        """
        table, copy = f"last_{self.number}", f"next_{self.number}"
        with _whole(self.limits.name):
            if not after:
                connection.execute(f"DROP TABLE IF EXISTS {copy}")
                connection.execute(_TABLE.format(copy))
                self.renewing = True
            reached = connection.execute(
                f"SELECT offset FROM {table} WHERE offset > ? ORDER BY offset LIMIT 1 OFFSET {_RENEW_STEP}",  # noqa: S608
                (after,),
            ).fetchone()
            through = reached[0] if reached else 2**62
            connection.execute(
                f"INSERT INTO {copy} SELECT * FROM {table} WHERE offset > ? AND offset <= ? ORDER BY offset",  # noqa: S608
                (after, through),
            )
            if reached is None:
                connection.execute(f"DROP TABLE {table}")
                connection.execute(f"ALTER TABLE {copy} RENAME TO {table}")
                self.renewing = False
        return None if reached is None else int(through)

    def trim(self, connection: sqlite3.Connection, now: int, most: int) -> bool:
        """Let go of what may not be kept, the longest unchanged first; whether there is more.

        Raises:
            DamagedValues: SQLite lets nothing of the transaction be kept.
        """
        if not self.too_much(now):
            return False
        with _whole(self.limits.name):
            surplus = min(most, max(0, self.count - self.limits.last_values_max_topics))
            evicted = self._delete_oldest(connection, surplus, now + 1) if surplus else 0
            expired = 0
            if self._too_old(now):
                until = now - self.limits.last_values_max_age * 1000
                expired = self._delete_oldest(connection, most, until)
                row = connection.execute(
                    f"SELECT time FROM last_{self.number} ORDER BY offset LIMIT 1"  # noqa: S608
                ).fetchone()
                self.oldest = None if row is None else row[0] if isinstance(row[0], int) else 0
        self.evicted += evicted
        self.count = max(0, self.count - evicted - expired)
        return most in {surplus, expired}

    def _delete_oldest(self, connection: sqlite3.Connection, most: int, before: float) -> int:
        """Let go of so many at most, of an earlier time."""
        rows = connection.execute(
            f"SELECT offset, time FROM last_{self.number} ORDER BY offset LIMIT ?",  # noqa: S608
            (most,),
        ).fetchall()
        # What is no time is damaged, and as old as can be.
        gone = [(offset,) for offset, time in rows if not isinstance(time, int) or time < before]
        return self._delete(connection, "offset", gone)

    def _delete(self, connection: sqlite3.Connection, column: str, keys: list[tuple[object]]) -> int:
        """Delete what has these keys, of what has been copied already too."""
        tables = ["last", "next"] if self.renewing else ["last"]
        deleted = [
            connection.executemany(f"DELETE FROM {table}_{self.number} WHERE {column} = ?", keys).rowcount  # noqa: S608
            for table in tables
        ]
        return max(0, deleted[0])

    def _too_old(self, now: int) -> bool:
        age = self.limits.last_values_max_age
        return bool(age) and self.oldest is not None and now - self.oldest > age * 1000


def load(
    connection: sqlite3.Connection, limits: StreamConfiguration, number: int, *, first: int, last: int
) -> SqliteLastValues | None:
    """The last values of a log, filled from it where they are new; None where it has none.

    Filling is done in transactions of their own, and goes on where it was left.
    """
    try:
        if not limits.last_values:
            _drop(connection, number)
            return None
        return _load(connection, limits, number, first, last)
    except (sqlite3.Error, ValueError, DamagedValues) as error:
        cause = error.__cause__ if isinstance(error, DamagedValues) else error
        if cause is None or not is_damage(cause):
            raise
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        give_up(connection, limits.name, number)
        return None


def give_up(connection: sqlite3.Connection, stream: str, number: int) -> None:
    """Have readers told that there are no last values, and the next start make them anew."""
    _log.error("the last values of stream %r are damaged: they are made anew at the next start", stream)
    with suppress(sqlite3.Error):
        connection.execute("UPDATE last_value SET through = 0 WHERE stream = ?", (number,))


def _load(
    connection: sqlite3.Connection, limits: StreamConfiguration, number: int, first: int, last: int
) -> SqliteLastValues:
    (through,) = connection.execute(
        "SELECT through FROM last_value WHERE stream = ?", (number,)
    ).fetchone() or (0,)
    if not through:
        _make(connection, number)
    # Left behind by a process that ended on its way.
    connection.execute(f"DROP TABLE IF EXISTS next_{number}")
    values = SqliteLastValues(limits, number)
    table = f"last_{number}"
    (values.count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    (values.oldest,) = connection.execute(
        f"SELECT time FROM {table} ORDER BY offset LIMIT 1"  # noqa: S608
    ).fetchone() or (None,)
    if through == COMPLETE:
        return values
    begin = max(through, first - 1)
    if begin < last:
        _log.info("stream %r: taking the last values from %d publications", limits.name, last - begin)
    for at in range(begin + 1, last + 1, _FILL_STEP):
        offsets = range(at, min(last + 1, at + _FILL_STEP))
        connection.execute("BEGIN IMMEDIATE")
        values.change(connection, newest(limits.name, read_whole(connection, number, offsets)))
        connection.execute("UPDATE last_value SET through = ? WHERE stream = ?", (offsets[-1], number))
        connection.execute("COMMIT")
    connection.execute("UPDATE last_value SET through = ? WHERE stream = ?", (COMPLETE, number))
    return values


def newest(stream: str, rows: Iterable[Row]) -> dict[str, Row | None]:
    """What rows make of their topics' last values; those that hold no publication make nothing."""
    changed: dict[str, Row | None] = {}
    for row in rows:
        publication = publication_of(row, stream)
        if publication is not None:
            changed[publication.topic] = None if publication.deleted else row
    return changed


def _make(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"DROP TABLE IF EXISTS last_{number}")
    connection.execute(_TABLE.format(f"last_{number}"))
    connection.execute("INSERT OR REPLACE INTO last_value VALUES (?, 0)", (number,))
    connection.execute("COMMIT")


def _drop(connection: sqlite3.Connection, number: int) -> None:
    if connection.execute("SELECT 1 FROM last_value WHERE stream = ?", (number,)).fetchone() is None:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM last_value WHERE stream = ?", (number,))
    connection.execute(f"DROP TABLE IF EXISTS last_{number}")
    connection.execute(f"DROP TABLE IF EXISTS next_{number}")
    connection.execute("COMMIT")


class _whole:  # noqa: N801 - a context
    """Raises ``DamagedValues`` for what SQLite says of damage."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, (sqlite3.Error, ValueError)) and is_damage(error):
            raise DamagedValues(self._stream) from error
