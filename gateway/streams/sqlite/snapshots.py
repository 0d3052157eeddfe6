"""Reading last values from a snapshot of a SQLite store: by topic where few match, or in a row."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.streams.topic_keys import BELOW_ALL, topic_key, topic_of, topics_matching
from gateway.core.topics.grammar import has_wildcard, matches
from gateway.streams.sqlite.last_values import COMPLETE
from gateway.streams.sqlite.matching import Seek
from gateway.streams.sqlite.rows import publication_of, read_at
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.codecs.topic_segment import Range
    from gateway.core.messages.publication import Publication

_FEW_TOPICS: Final = 1000
"""So many topics are looked up one by one; where more match, all values are looked through."""
_TOGETHER = 256
_LOOKED_AT: Final = 65536
"""How many values a page looks at."""

_ValueRow = tuple[int, bytes, int, bytes, int | None]


class Incomplete(Exception):  # noqa: N818 - says what it is
    """There are last values, but not of the whole log."""


class Values(NamedTuple):
    """Last values in the order of their offsets, up to ``through``, and what can't be given of them."""

    publications: list[Publication]
    through: int
    holes: list[Range]


class LastTopics:
    """The topics that have a last value, in a snapshot: an ordered index to seek in."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self._connection = connection
        self._table = f"last_{number}"

    def seek(self, key: bytes) -> bytes | None:
        """The first key that is not less than ``key``."""
        row = self._connection.execute(
            f"SELECT topic FROM {self._table} WHERE topic >= ? ORDER BY topic LIMIT 1",  # noqa: S608
            (key,),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def value(self, key: bytes) -> tuple[int, int] | None:
        """The offset and the time (ms since 1970) of a topic's last value."""
        row = self._connection.execute(
            f"SELECT offset, time FROM {self._table} WHERE topic = ?",  # noqa: S608
            (key,),
        ).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))


def last_topics(connection: sqlite3.Connection, number: int) -> LastTopics | None:
    """The topics that have a last value; None where the log has none.

    Raises:
        Incomplete: not all of them are known.
    """
    row = connection.execute("SELECT through FROM last_value WHERE stream = ?", (number,)).fetchone()
    if row is None:
        return None
    if row[0] != COMPLETE:
        raise Incomplete
    return LastTopics(connection, number)


def count_values(connection: sqlite3.Connection, number: int) -> int:
    """How many last values there are."""
    # A file of an earlier format that can only be read has no such table either.
    with suppress(sqlite3.OperationalError):
        (count,) = connection.execute(f"SELECT count(*) FROM last_{number}").fetchone()  # noqa: S608
        return int(count)
    return 0


def measure_values(
    connection: sqlite3.Connection, number: int, topic_filter: str, *, before: int, begin: bytes
) -> tuple[Extent, bytes | None]:
    """How much some of those are that match, from a key on, with smaller offsets; and the key to go on with.

    Raises:
        Incomplete: not all of them are known.
    """
    topics = last_topics(connection, number)
    if topics is None:
        return Extent(), None
    seek = Seek([topics], begin)
    found = Extent()
    for looked, topic in enumerate(topics_matching(topic_filter, seek), 1):
        if topic is not None:
            (offset, size) = connection.execute(
                f"SELECT offset, length(record) FROM last_{number} WHERE topic = ?",  # noqa: S608
                (topic_key(topic),),
            ).fetchone()
            if offset < before:
                found += Extent(1, size or 0, offset, offset)
        if looked >= _FEW_TOPICS and seek.last is not None:
            return found, seek.last + b"\0"
    return found, None


def read_values(
    connection: sqlite3.Connection,
    stream: str,
    number: int,
    topic_filter: str,
    *,
    after: int,
    through: int,
    messages: int,
    size: int,
) -> Values:
    """The last values that match, behind offset ``after`` up to ``through``.

    Raises:
        Incomplete: not all of them are known.
    """
    topics = last_topics(connection, number)
    if topics is None:
        return Values([], through, [])
    found: list[Publication] = []
    holes: list[Range] = []
    told, looked = after, 0
    candidates, certain = _candidates(connection, number, topics, topic_filter, after, through)
    with closing(candidates):
        # For each of a hundred thousand: plain, and in one loop.
        for offset, key, time, record, mark in candidates:
            if certain or _matches(topic_filter, key):
                size -= len(record) if isinstance(record, bytes) else 0
                if (found or holes) and (size < 0 or len(found) >= messages):
                    return Values(found, told, holes)
                publication = publication_of((offset, time, record, mark), stream)
                if publication is None or topic_key(publication.topic) != key:
                    publication = _from_log(connection, stream, number, offset)
                if publication is None:
                    holes.append((offset, offset, False))
                elif certain or matches(topic_filter, publication.topic):
                    found.append(publication)
            told = offset
            looked += 1
            if looked >= _LOOKED_AT:
                return Values(found, told, holes)
    return Values(found, through, holes)


def _candidates(  # noqa: PLR0917
    connection: sqlite3.Connection,
    number: int,
    topics: LastTopics,
    topic_filter: str,
    after: int,
    through: int,
) -> tuple[Generator[_ValueRow, None, None], bool]:
    """Rows among which are all that match, in order; whether all that are whole do."""
    # Few topics are all in the first page: later ones belong to filters that match many.
    few = _few(topics, topic_filter) if not after or not has_wildcard(topic_filter) else None
    if few is not None:
        offsets = sorted(value[0] for value in map(topics.value, few) if value is not None)
        wanted = [each for each in offsets if after < each <= through]
        return _rows_of(connection, number, wanted), False
    if topic_filter.endswith("/#") and "+" not in topic_filter:
        # All that is below one topic is one range.
        key = topic_key(topic_filter[:-2])
        return _rows_between(connection, number, after, through, key, key + BELOW_ALL), True
    return _rows_between(connection, number, after, through, b"", b"\xff" * 8), False


def _rows_of(
    connection: sqlite3.Connection, number: int, offsets: list[int]
) -> Generator[_ValueRow, None, None]:
    for offset in offsets:
        yield connection.execute(
            f"SELECT offset, topic, time, record, seal FROM last_{number} WHERE offset = ?",  # noqa: S608
            (offset,),
        ).fetchone()


def _rows_between(  # noqa: PLR0917
    connection: sqlite3.Connection, number: int, after: int, through: int, begin: bytes, end: bytes
) -> Generator[_ValueRow, None, None]:
    # The sign keeps SQLite from going by topic, and sorting.
    with closing(
        connection.execute(
            f"SELECT offset, topic, time, record, seal FROM last_{number}"  # noqa: S608
            " WHERE offset > ? AND offset <= ? AND +topic >= ? AND +topic < ? ORDER BY offset",
            (after, through, begin, end),
        )
    ) as rows:
        while some := rows.fetchmany(_TOGETHER):
            yield from some


def _few(topics: LastTopics, topic_filter: str) -> list[bytes] | None:
    if not has_wildcard(topic_filter):
        return [topic_key(topic_filter)]
    found: list[bytes] = []
    # A damaged topic may be no text: then all of them are looked through.
    with suppress(UnicodeDecodeError):
        for looked, topic in enumerate(topics_matching(topic_filter, topics.seek)):
            if looked >= _FEW_TOPICS:
                return None
            if topic is not None:
                found.append(topic_key(topic))
        return found
    return None


def _matches(topic_filter: str, key: object) -> bool:
    """Whether a filter matches; what can't be told for damage may be what is looked for."""
    try:
        return not isinstance(key, bytes) or not key or matches(topic_filter, topic_of(key))
    except ValueError:
        return True


def _from_log(connection: sqlite3.Connection, stream: str, number: int, offset: int) -> Publication | None:
    """The publication of that offset, where the log has it still."""
    (found,) = read_at(connection, stream, number, [offset], 1).publications[:1] or (None,)
    return found if found is not None and not found.deleted else None
