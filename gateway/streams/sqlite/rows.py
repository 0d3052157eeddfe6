"""The rows in which a SQLite store keeps publications, and how to read them where the file is damaged.

SQLite checks the structure of its pages, not what is in them. So each row bears a seal, which binds its
offset and its time to the checksum of its record: whatever bit of a row has changed, it is a hole. Rows of
version 1 records, which earlier releases wrote, have none. Where a page's structure is damaged, its rows
can't be read at all, and are holes too. A row that somebody had removed keeps offset and time, with a seal
that says so.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from zlib import crc32

from gateway.codecs.record import CHECKED, BadRecord, decode_record, topic_of_record
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.messages.publication import Publication

from_bytes = int.from_bytes
_place = Struct("<QQ").pack
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG}
_LOOKED_AT = 100
_TOGETHER = 64
"""How many rows are asked for by their offsets at once."""
_MEASURED = 512
"""Of how many the sizes are."""
GONE: Final = b"\0"
"""What the record of a removed row begins with, and consists of; no version of records does."""
SIZE: Final = "CASE substr(record, 1, 1) WHEN x'00' THEN 0 ELSE length(record) END"
"""What a row of a log counts, in SQL."""
_REMOVED: Final = 0x7075_7267
"""Where the checksum of a removed row's seal begins."""

Row = tuple[int, int, bytes, int | None]
"""Offset, time, record and seal."""


class Found(NamedTuple):
    """What was found of a part of a log, up to which offset, which ones were removed; perhaps its bytes."""

    publications: Sequence[Publication]
    through: int
    purged: Sequence[int] = ()
    size: int = 0


class Topics(NamedTuple):
    """The topics of a part of a log: by offset, and the offsets that have none, damaged or removed."""

    found: Sequence[tuple[int, str]]
    lost: Sequence[int]
    purged: Sequence[int]


def seal(offset: int, time: int, record: bytes) -> int | None:
    """What binds ``record`` to its place; None for a record without a checksum."""
    if record[:1] != CHECKED:
        return None
    return crc32(_place(offset, time), from_bytes(record[1:5], "little"))


def removed(offset: int, time: int, size: int) -> Row:
    """The row in place of one of ``size`` bytes that somebody had removed."""
    return offset, time, bytes(size), crc32(_place(offset, time), _REMOVED)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says by ``error`` that what it read is damaged."""
    return isinstance(error, ValueError) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def read_rows(
    connection: sqlite3.Connection,
    stream: str,
    number: int,
    *,
    after: int,
    end: int,
    messages: int,
    size: int,
) -> Found:
    """The publications behind ``after`` up to ``end``, no more than asked for; one row at least is looked at.

    Raises:
        sqlite3.Error: they can't be read, and that isn't for damage.
    """
    found: list[Publication] = []
    purged: list[int] = []
    through, left = after, size
    try:
        for row in _rows(connection, number, after, end, messages):
            left -= _size(row)
            if left < 0 and through > after:
                return Found(found, through, purged)
            publication = publication_of(row, stream)
            if row[0] <= through or (publication is None and row[0] > through + 1):
                # Perhaps it is its offset that is damaged: then others may lie where they aren't looked for.
                break
            through = row[0]
            if publication is not None:
                found.append(publication)
            elif is_removed(row):
                purged.append(through)
        else:
            return Found(found, through if through - after >= messages else end, purged)
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
    offsets = range(after + 1, min(end, after + messages) + 1)
    return _one_by_one(connection, stream, number, offsets, size)


def read_at(
    connection: sqlite3.Connection, stream: str, number: int, offsets: Sequence[int], size: int
) -> Found:
    """The publications of these offsets, ascending, of about ``size`` bytes; one row at least is looked at.

    Raises:
        sqlite3.Error: they can't be read, and that isn't for damage.
    """
    found: list[Publication] = []
    purged: list[int] = []
    left = size
    for at in range(0, len(offsets), _TOGETHER):
        wanted = offsets[at : at + _TOGETHER]
        rows = _rows_at(connection, number, wanted)
        for offset in wanted:
            row = rows.get(offset)
            if row is None:
                continue
            left -= _size(row)
            if left < 0 and offset > offsets[0]:
                return Found(found, offset - 1, purged, size)
            if (publication := publication_of(row, stream)) is not None:
                found.append(publication)
            elif is_removed(row):
                purged.append(offset)
    return Found(found, offsets[-1] if offsets else 0, purged, size - left)


def rows_at(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> dict[int, Row]:
    """The rows of these offsets that can be read, whole or not.

    Raises:
        sqlite3.Error: they can't be read, and that isn't for damage.
    """
    found: dict[int, Row] = {}
    for at in range(0, len(offsets), _TOGETHER):
        found |= _rows_at(connection, number, offsets[at : at + _TOGETHER])
    return found


def extent_at(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> Extent:
    """How much the rows of these offsets are, which ascend; of a record no more than its length is read."""
    sizes: list[int] = []
    for at in range(0, len(offsets), _MEASURED):
        some = offsets[at : at + _MEASURED]
        places = ", ".join("?" * len(some))
        rows = connection.execute(
            f"SELECT {SIZE} FROM log_{number} WHERE offset IN ({places})",  # noqa: S608
            some,
        ).fetchall()
        sizes += [size or 0 for (size,) in rows]
    return Extent(len(sizes), sum(sizes), offsets[0], offsets[-1]) if sizes else Extent()


def read_whole(connection: sqlite3.Connection, number: int, offsets: range) -> Sequence[Row]:
    """The rows of these offsets that are as they were written.

    Raises:
        sqlite3.Error: they can't be read, and that isn't for damage.
    """
    return [row for row in _rows_of(connection, number, offsets) if is_whole(row)]


def read_topics(connection: sqlite3.Connection, number: int, offsets: range) -> Topics:
    """Which topics these offsets have.

    Raises:
        sqlite3.Error: they can't be read, and that isn't for damage.
    """
    found: list[tuple[int, str]] = []
    lost: list[int] = []
    purged: list[int] = []
    expected = offsets.start
    for row in _rows_of(connection, number, offsets):
        lost += range(expected, row[0])
        expected = row[0] + 1
        topic = topic_of_record(row[2]) if is_whole(row) else None
        if topic is not None:
            found.append((row[0], topic))
        elif is_removed(row):
            purged.append(row[0])
        else:
            lost.append(row[0])
    lost += range(expected, offsets.stop)
    return Topics(found, lost, purged)


def time_from(connection: sqlite3.Connection, number: int, offset: int) -> int | None:
    """The time of the first genuine row at or behind ``offset``, or None where none can be found nearby."""
    try:
        for row in _rows(connection, number, offset - 1, 2**62, _LOOKED_AT):
            if is_whole(row):
                return row[1]
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
    return None


def genuine_row(connection: sqlite3.Connection, number: int, order: Literal["ASC", "DESC"]) -> Row | None:
    """The first genuine row in that order of offsets, or None where none can be found nearby."""
    try:
        with closing(
            connection.execute(
                f"SELECT offset, time, record, seal FROM log_{number} WHERE offset > 0"  # noqa: S608 - a number
                f" ORDER BY offset {order} LIMIT {_LOOKED_AT}"
            )
        ) as rows:
            return next((row for row in rows if is_whole(row)), None)
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
        return None


def _rows(connection: sqlite3.Connection, number: int, after: int, end: int, messages: int) -> Iterator[Row]:
    rows = connection.execute(
        f"SELECT offset, time, record, seal FROM log_{number}"  # noqa: S608 - a number
        " WHERE offset > ? AND offset <= ? ORDER BY offset LIMIT ?",
        (after, end, messages),
    )
    with closing(rows), _as_it_is(connection):
        yield from rows


def _rows_at(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> dict[int, Row]:
    # As many as there may be, whatever is wanted: one statement for all.
    wanted = [*offsets, *([offsets[-1]] * (_TOGETHER - len(offsets)))]
    places = ", ".join("?" * _TOGETHER)
    try:
        with _as_it_is(connection):
            rows = connection.execute(
                f"SELECT offset, time, record, seal FROM log_{number} WHERE offset IN ({places})",  # noqa: S608
                wanted,
            ).fetchall()
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
        rows = [row for offset in offsets for row in _row_at(connection, number, offset)]
    return {row[0]: row for row in rows}


def _row_at(connection: sqlite3.Connection, number: int, offset: int) -> list[Row]:
    try:
        return [each for each in _rows(connection, number, offset - 1, offset, 1) if each[0] == offset]
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
        return []


def _rows_of(connection: sqlite3.Connection, number: int, offsets: range) -> Sequence[Row]:
    try:
        rows = list(_rows(connection, number, offsets.start - 1, offsets.stop - 1, len(offsets)))
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
        rows = []
    else:
        if all(one[0] < other[0] for one, other in pairwise(rows)):
            return rows
    return [row for offset in offsets for row in _row_at(connection, number, offset)]


@contextmanager
def _as_it_is(connection: sqlite3.Connection) -> Iterator[None]:
    """Whatever a damaged row holds in place of bytes must not be an error of decoding it."""
    before, connection.text_factory = connection.text_factory, bytes
    try:
        yield
    finally:
        connection.text_factory = before


def _one_by_one(
    connection: sqlite3.Connection, stream: str, number: int, offsets: Sequence[int], size: int
) -> Found:
    """Look for each offset by itself, since reading in a row fails on the first damaged page."""
    found: list[Publication] = []
    purged: list[int] = []
    for offset in offsets:
        rows = _row_at(connection, number, offset)
        size -= sum(map(_size, rows))
        if size < 0 and offset > offsets[0]:
            return Found(found, offset - 1, purged)
        found += [each for each in (publication_of(row, stream) for row in rows) if each is not None]
        purged += [row[0] for row in rows if is_removed(row)]
    return Found(found, offsets[-1] if offsets else 0, purged)


def _size(row: Row) -> int:
    return len(row[2]) if isinstance(row[2], bytes) and row[2][:1] != GONE else 0


def publication_of(row: Row, stream: str) -> Publication | None:
    """A row's publication, or None where something about it isn't as it was written."""
    if not is_whole(row):
        return None
    try:
        return decode_record(row[2], stream, row[0], row[1])
    except BadRecord:
        return None


def is_whole(row: Row) -> bool:
    """Whether a row is as it was written."""
    offset, time, record, mark = row
    # A flipped bit may change a value's type as well.
    if not (isinstance(time, int) and isinstance(record, bytes) and 0 <= time < 2**63):
        return False
    return mark == seal(offset, time, record) if record[:1] != GONE else is_removed(row)


def is_removed(row: Row) -> bool:
    """Whether somebody had it removed."""
    offset, time, record, mark = row
    if not isinstance(record, bytes) or record[:1] != GONE or not isinstance(time, int):
        return False
    return 0 <= time < 2**63 and crc32(_place(offset, time), _REMOVED) == mark
