"""Damaged numbers of a log are corrected by its rows, so that no offset is given twice and none is hidden."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.record import encode_record
from gateway.streams.sqlite import file as sqlite_file
from gateway.streams.sqlite.counters import correct, corrections
from gateway.streams.sqlite.rows import seal
from tests.unit.streams.sqlite_parts import message

FIRST, LAST = 4, 9
NAMES = ("first", "last", "bytes", "time")


def database(*, empty: bool = False) -> sqlite3.Connection:
    """One log with the offsets ``FIRST`` to ``LAST``, or trimmed until nothing was left."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(sqlite_file._SCHEMA)
    sqlite_file.make_log(connection, 1)
    size = 0
    for offset in () if empty else range(FIRST, LAST + 1):
        record = encode_record(message(offset))
        size += len(record)
        row = (offset, offset * 10, record, seal(offset, offset * 10, record))
        connection.execute("INSERT INTO log_1 VALUES (?, ?, ?, ?)", row)
    first = LAST + 1 if empty else FIRST
    connection.execute("INSERT INTO stream VALUES (1, 's', 'e', ?, ?, ?, ?)", (first, LAST, size, LAST * 10))
    return connection


def numbers(connection: sqlite3.Connection) -> dict[str, Any]:
    row = connection.execute("SELECT first, last, bytes, time FROM stream").fetchone()
    return dict(zip(NAMES, row, strict=True))


def corrected(connection: sqlite3.Connection) -> dict[str, Any]:
    correct(connection, corrections(connection))
    assert corrections(connection) == [], "there is nothing left to correct"
    return numbers(connection)


def damage(connection: sqlite3.Connection, **values: object) -> None:
    for name, value in values.items():
        connection.execute(f"UPDATE stream SET {name} = ?", (value,))


@pytest.mark.parametrize("empty", [False, True])
def test_numbers_that_are_right_are_left_alone(empty: bool) -> None:
    with closing(database(empty=empty)) as connection:
        assert corrections(connection) == []


@given(st.integers(0, LAST - 1))
def test_an_end_before_the_newest_row_is_moved_behind_it(last: int) -> None:
    with closing(database()) as connection:
        right = numbers(connection)
        damage(connection, last=last)
        assert corrected(connection) == right


@pytest.mark.parametrize("value", [-1, -(2**62), 1.5, "text", b"\xff", b""])
@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_no_number_of_a_log_is_found_out_from_its_rows(name: str, value: object) -> None:
    with closing(database()) as connection:
        right = numbers(connection)
        damage(connection, **{name: value})
        assert corrected(connection) == right


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=3) | st.floats(allow_nan=False)


@given(NUMBERS, NUMBERS, st.booleans())
def test_whatever_the_numbers_say_no_offset_is_given_twice(first: object, last: object, empty: bool) -> None:
    with closing(database(empty=empty)) as connection:
        damage(connection, first=first, last=last)
        found = corrected(connection)
        assert 1 <= found["first"] <= found["last"] + 1
        if not empty:
            assert LAST <= found["last"] < 2**62, "the next offset is behind all that were given"
            assert found["first"] <= max(FIRST, first if isinstance(first, int) else 0)


@pytest.mark.parametrize("first", [0, LAST + 1, 2**62, 2**63 - 1])
def test_a_beginning_that_is_damaged_hides_nothing(first: int) -> None:
    with closing(database()) as connection:
        right = numbers(connection)
        damage(connection, first=first)
        assert corrected(connection) == right


def test_a_row_that_is_no_more_genuine_says_nothing() -> None:
    with closing(database()) as connection:
        connection.execute("UPDATE log_1 SET offset = 5000 WHERE offset = ?", (LAST,))
        damage(connection, last=0)
        assert corrected(connection)["last"] == LAST - 1


def test_each_log_is_corrected_by_its_own_rows() -> None:
    with closing(database()) as connection:
        sqlite_file.make_log(connection, 2)
        connection.execute("INSERT INTO stream VALUES (2, 'o', 'e', 1, 0, 0, 0)")
        connection.execute("UPDATE stream SET last = 0 WHERE number = 1")
        (found,) = corrections(connection)
        assert (found.number, found.name, found.last) == (1, "s", LAST)
