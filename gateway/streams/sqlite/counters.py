"""What is noted of each log beside it, held against the rows that the log has.

A row of a log bears a seal, the row of numbers that says where the log begins and ends bears none. A number
that is too low there would have offsets given twice, or nothing stored any more; one that is too high would
hide publications without a word. Both are written in one transaction, so where they disagree the numbers are
damaged, and the sealed rows say what is right.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.streams.sqlite.rows import SIZE, genuine_row, is_damage

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST: Final = 2**62
"""No log gets that far; and what comes after it must still be a number of SQLite's."""


class Correction(NamedTuple):
    """The numbers of a log as its rows say that they must be."""

    number: int
    name: str
    first: int
    last: int
    bytes: int
    time: int


def corrections(connection: sqlite3.Connection) -> Sequence[Correction]:
    """What has to be corrected; looks at the ends of each log only.

    Raises:
        sqlite3.Error: something can't be read, and that isn't for damage of a log.
    """
    rows = connection.execute("SELECT number, name, first, last, bytes, time FROM stream").fetchall()
    found = (_correction(connection, number, name, noted) for number, name, *noted in rows)
    return [each for each in found if each is not None]


def correct(connection: sqlite3.Connection, found: Sequence[Correction]) -> None:
    """Write the numbers as they must be."""
    connection.executemany(
        "UPDATE stream SET first = ?, last = ?, bytes = ?, time = ? WHERE number = ?",
        [(each.first, each.last, each.bytes, each.time, each.number) for each in found],
    )


def _correction(
    connection: sqlite3.Connection, number: int, name: str, noted: Sequence[object]
) -> Correction | None:
    oldest, newest = genuine_row(connection, number, "ASC"), genuine_row(connection, number, "DESC")
    first, last, size, time = (_count(each) for each in noted)
    end = max(last or 0, newest[0] if newest else 0)
    # Offsets begin with 1, so 0 is damage too: one flipped bit makes it of any power of two.
    begin = oldest[0] if oldest and (not first or oldest[0] < first) else first
    if not begin or begin > end + 1:
        begin = end + 1
    held = _size(connection, number) if size is None else size
    right = (begin, end, held, time if time is not None else newest[1] if newest else 0)
    return None if right == (first, last, size, time) else Correction(number, name, *right)


def _count(value: object) -> int | None:
    """A number that may be one of a log's; None for what can't be."""
    return value if isinstance(value, int) and 0 <= value < _MOST else None


def _size(connection: sqlite3.Connection, number: int) -> int:
    try:
        row = connection.execute(f"SELECT total({SIZE}) FROM log_{number}").fetchone()  # noqa: S608
        return int(row[0])
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
        return 0
