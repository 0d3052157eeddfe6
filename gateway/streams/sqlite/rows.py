"""The rows in which a SQLite store keeps publications, and how to read them where the file is damaged.

SQLite checks the structure of its pages, not what is in them. So each row bears a seal, which binds its
offset and its time to the checksum of its record: whatever bit of a row has changed, it is a hole. Rows of
version 1 records, which earlier releases wrote, have none. Where a page's structure is damaged, its rows
can't be read at all, and are holes too.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from struct import Struct
from typing import TYPE_CHECKING, Literal, NamedTuple
from zlib import crc32

from gateway.codecs.record import CHECKED, BadRecord, decode_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.messages.publication import Publication

from_bytes = int.from_bytes
_place = Struct("<QQ").pack
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG}
_LOOKED_AT = 100

Row = tuple[int, int, bytes, int | None]
"""Offset, time, record and seal."""


class Found(NamedTuple):
    """What was found of a part of a log, and the offset up to which was looked."""

    publications: Sequence[Publication]
    through: int


def seal(offset: int, time: int, record: bytes) -> int | None:
    """What binds ``record`` to its place; None for a record without a checksum."""
    if record[:1] != CHECKED:
        return None
    return crc32(_place(offset, time), from_bytes(record[1:5], "little"))


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
    through, left = after, size
    try:
        for row in _rows(connection, number, after, end, messages):
            left -= _size(row)
            if left < 0 and through > after:
                return Found(found, through)
            publication = _publication(row, stream)
            if row[0] <= through or (publication is None and row[0] > through + 1):
                # Perhaps it is its offset that is damaged: then others may lie where they aren't looked for.
                break
            through = row[0]
            if publication is not None:
                found.append(publication)
        else:
            return Found(found, through if through - after >= messages else end)
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
    offsets = range(after + 1, min(end, after + messages) + 1)
    return _one_by_one(connection, stream, number, offsets, size)


def time_from(connection: sqlite3.Connection, number: int, offset: int) -> int | None:
    """The time of the first genuine row at or behind ``offset``, or None where none can be found nearby."""
    try:
        for row in _rows(connection, number, offset - 1, 2**62, _LOOKED_AT):
            if _is_genuine(row):
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
            return next((row for row in rows if _is_genuine(row)), None)
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
    try:
        yield from rows
    finally:
        rows.close()


def _one_by_one(connection: sqlite3.Connection, stream: str, number: int, offsets: range, size: int) -> Found:
    """Look for each offset by itself, since reading in a row fails on the first damaged page."""
    found: list[Publication] = []
    for offset in offsets:
        try:
            rows = [each for each in _rows(connection, number, offset - 1, offset, 1) if each[0] == offset]
        except (sqlite3.Error, ValueError) as error:
            if not is_damage(error):
                raise
            rows = []
        size -= sum(map(_size, rows))
        if size < 0 and offset > offsets[0]:
            return Found(found, offset - 1)
        found += [each for each in (_publication(row, stream) for row in rows) if each is not None]
    return Found(found, offsets[-1] if offsets else 0)


def _size(row: Row) -> int:
    return len(row[2]) if isinstance(row[2], bytes) else 0


def _publication(row: Row, stream: str) -> Publication | None:
    """A row's publication, or None where something about it isn't as it was written."""
    if not _is_genuine(row):
        return None
    try:
        return decode_record(row[2], stream, row[0], row[1])
    except BadRecord:
        return None


def _is_genuine(row: Row) -> bool:
    offset, time, record, mark = row
    # A flipped bit may change a value's type as well.
    if not (isinstance(time, int) and isinstance(record, bytes) and 0 <= time < 2**63):
        return False
    return seal(offset, time, record) == mark
