"""The thread that reads pages of a SQLite store, from snapshots, whatever is being written meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from gateway.core.topics.grammar import matches
from gateway.errors import StreamUnavailable
from gateway.streams.sqlite.file import ODD, open_alone, open_to_read, what_failed
from gateway.streams.sqlite.rows import read_at, read_rows, read_topics, time_from
from gateway.streams.sqlite.selecting import LogView
from gateway.streams.sqlite.snapshots import (
    Incomplete,
    count_values,
    last_topics,
    measure_values,
    read_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.core.messages.publication import Publication
    from gateway.streams.base import TopicPage
    from gateway.streams.sqlite.rows import Found
    from gateway.streams.sqlite.segments import Known
    from gateway.streams.sqlite.snapshots import Values
    from gateway.streams.sqlite.tail import Tail
    from gateway.streams.statistics import Extent

T = TypeVar("T")
_ALL = 2**62


class Snapshot(NamedTuple):
    """A log at one moment: what was read of it and how far, its epoch and its oldest offset."""

    epoch: str
    first: int
    found: Found


class Viewed(NamedTuple, Generic[T]):
    """What was found in a log at one moment: its epoch, its oldest and its newest offset then."""

    epoch: str
    first: int
    last: int
    found: T


class Description(NamedTuple):
    """How large a log is, the times of its oldest and newest publication (ms since 1970), and its values."""

    bytes: int
    first_time: int | None
    last_time: int | None
    last_values: int


class SqliteReader:
    """Owns the connection that reads; everything runs in its thread, but for what says so.

    Attributes:
        alone: the database isn't open for writing, since it can't be written: it is read without.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._using = threading.Lock()
        self._known: Known = {}
        self.alone = False

    def page(self, stream: str, number: int, after: int, end: int, *, messages: int, size: int) -> Snapshot:
        """What is behind ``after`` up to ``end``, no more than asked for; one publication at least.

        Raises:
            StreamUnavailable: it can't be read.
        """
        with self._snapshot() as connection:
            epoch, first, last = _bounds(connection, number)
            after, end = max(after, first - 1), min(end, last)
            found = read_rows(connection, stream, number, after=after, end=end, messages=messages, size=size)
        return Snapshot(epoch, first, found)

    def at(self, stream: str, number: int, offsets: Sequence[int]) -> Sequence[Publication]:
        """The publications of these offsets, ascending, that can be given.

        Raises:
            StreamUnavailable: they can't be read.
        """
        with self._snapshot() as connection:
            return read_at(connection, stream, number, offsets, _ALL).publications

    def scan(self, number: int, topic_filter: str, offsets: range) -> tuple[int, int]:
        """How many of these offsets match, without the index; and the log's oldest offset then.

        Raises:
            StreamUnavailable: they can't be read.
        """
        with self._snapshot() as connection:
            found = read_topics(connection, number, offsets).found
            return sum(matches(topic_filter, topic) for _, topic in found), _bounds(connection, number)[1]

    def look(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """What ``job`` finds in a snapshot.

        Raises:
            StreamUnavailable: it can't be read.
        """
        with self._snapshot() as connection:
            return job(connection)

    def view(  # noqa: PLR0917 - of one place
        self,
        stream: str,
        number: int,
        tail: Tail,
        end: int,
        most_topics: int,
        find: Callable[[LogView], T],
    ) -> Viewed[T]:
        """What ``find`` finds in a log up to ``end`` by its index.

        Raises:
            StreamUnavailable: it can't be read.
            NotIndexed: there is no index.
            OldSnapshot: what is needed came into the file meanwhile.
            DamagedSegment: that part of the index can't tell.
        """
        with self._snapshot() as connection:
            epoch, first, last = _bounds(connection, number)
            log = LogView(
                connection,
                stream,
                number,
                tail,
                first=first,
                end=min(end, last),
                most_topics=most_topics,
                known=self._known,
            )
            found = find(log)
            return Viewed(epoch, log.first, last, found)

    def topics(self, log: LogView, topic_filter: str, after: str | None, limit: int) -> TopicPage:
        """The topics that match in a log that is viewed, those of last values too.

        Raises:
            StreamUnavailable: not all last values are known.
        """
        with _values():
            return log.topics(topic_filter, after, limit, last_topics(log.connection, log.number))

    def measure_values(
        self, number: int, topic_filter: str, *, before: int, begin: bytes
    ) -> tuple[Extent, bytes | None]:
        """How much some last values are that the log has no more, and the key to go on with.

        Raises:
            StreamUnavailable: they can't be read, or not all of them are known.
        """
        with self._snapshot() as connection, _values():
            before = min(before, _bounds(connection, number)[1])
            return measure_values(connection, number, topic_filter, before=before, begin=begin)

    def values(
        self,
        stream: str,
        number: int,
        topic_filter: str,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int,
    ) -> Viewed[Values]:
        """The last values that match, of one moment.

        Raises:
            StreamUnavailable: they can't be read, or not all of them are known.
        """
        with self._snapshot() as connection, _values():
            epoch, first, last = _bounds(connection, number)
            found = read_values(
                connection,
                stream,
                number,
                topic_filter,
                after=after,
                through=last if through is None else min(through, last),
                messages=messages,
                size=size,
            )
            return Viewed(epoch, first, last, found)

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
                found = time_from(connection, number, middle)
                # Where nothing can be found out, rather too early than too late.
                if found is not None and found < time:
                    low = middle + 1
                else:
                    high = middle
        return int(low) - 1

    def describe(self, number: int) -> Description:
        """What ``describe`` tells of a log.

        Raises:
            StreamUnavailable: it can't be read.
        """
        with self._snapshot() as connection:
            first, last, size, time = connection.execute(
                "SELECT first, last, bytes, time FROM stream WHERE number = ?", (number,)
            ).fetchone()
            values = count_values(connection, number)
            if first > last:
                return Description(size, None, None, values)
            oldest = time_from(connection, number, first)
            newest = time_from(connection, number, last)
            return Description(size, oldest, newest if newest is not None else oldest and time, values)

    def close(self) -> None:
        """Close; the next read opens again. For any thread."""
        with self._using:
            self._close()

    def stand_alone(self, alone: bool) -> None:
        """Close, and read with or without somebody who writes from now on. For any thread."""
        with self._using:
            self._close()
            self.alone = alone

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with self._using, self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = open_alone(self._path) if self.alone else open_to_read(self._path)
                # Whatever a damaged file holds in place of bytes must not be an error of decoding it.
                self._connection.text_factory = bytes
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                # Nothing was written; and a commit fails once anything in the transaction was damaged.
                self._connection.execute("ROLLBACK")
        except (sqlite3.Error, *ODD) as exc:
            self._close()
            raise what_failed(exc) from exc


def _bounds(connection: sqlite3.Connection, number: int) -> tuple[str, int, int]:
    epoch, first, last = connection.execute(
        "SELECT epoch, first, last FROM stream WHERE number = ?", (number,)
    ).fetchone()
    return str(epoch, "ascii", "replace"), first, last


@contextmanager
def _values() -> Iterator[None]:
    try:
        yield
    except Incomplete as exc:
        raise StreamUnavailable(
            "the last values aren't complete: they are made anew at the next start"
        ) from exc
