"""Rows as they were written or not at all: whatever is changed of one is a hole, and only that."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.codecs.record import encode_record
from gateway.streams.sqlite.file import make_log
from gateway.streams.sqlite.rows import is_damage, read_rows, seal, time_from
from tests.unit.streams.sqlite_parts import message

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNT = 8
ALL = range(1, COUNT + 1)


def database(offsets: Iterable[int] = ALL) -> sqlite3.Connection:
    """A log in memory, whose publications bear ten times their offset as time."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.text_factory = bytes
    make_log(connection, 1)
    for offset in offsets:
        record = encode_record(message(offset, size=offset * 10))
        connection.execute(
            "INSERT INTO log_1 VALUES (?, ?, ?, ?)",
            (offset, offset * 10, record, seal(offset, offset * 10, record)),
        )
    return connection


def offsets_of(
    connection: sqlite3.Connection, after: int = 0, end: int = COUNT, messages: int = 100, size: int = 10**6
) -> tuple[list[int | None], int]:
    found = read_rows(connection, "s", 1, after=after, end=end, messages=messages, size=size)
    for each in found.publications:
        assert each.offset is not None
        assert (each.stream, each.id, each.time) == ("s", f"m{each.offset}", each.offset * 10)
    return [each.offset for each in found.publications], found.through


@given(st.integers(1, COUNT + 2), st.integers(1, 500), st.sets(st.sampled_from(ALL)))
def test_pages_of_any_size_hold_everything_once_and_in_order(
    messages: int, size: int, holes: set[int]
) -> None:
    kept = [offset for offset in ALL if offset not in holes]
    with closing(database(kept)) as connection:
        found: list[int | None] = []
        after = 0
        while after < COUNT:
            page, through = offsets_of(connection, after, messages=messages, size=size)
            assert through > after, "a page leads on"
            assert len(page) <= messages
            assert sum(len(encode_record(message(each, each * 10))) for each in page[1:] if each) <= size
            found += page
            after = through
        assert found == kept


@given(st.integers(0, COUNT), st.integers(0, COUNT))
def test_nothing_is_read_outside_of_what_was_asked_for(after: int, end: int) -> None:
    assume(after <= end)
    with closing(database()) as connection:
        assert offsets_of(connection, after, end) == (list(range(after + 1, end + 1)), end)


@given(st.sampled_from(ALL), st.data())
def test_a_row_with_any_bit_changed_is_a_hole_and_no_other_is(offset: int, data: st.DataObject) -> None:
    with closing(database()) as connection:
        row = connection.execute(
            "SELECT time, record, seal FROM log_1 WHERE offset = ?", (offset,)
        ).fetchone()
        time, record, mark = row
        what = data.draw(st.sampled_from(["time", "record", "seal"]))
        if what == "record":
            changed = bytearray(record)
            changed[data.draw(st.integers(0, len(record) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            value: object = bytes(changed)
        else:
            value = (time if what == "time" else mark) ^ (1 << data.draw(st.integers(0, 31)))
        connection.execute(f"UPDATE log_1 SET {what} = ? WHERE offset = ?", (value, offset))
        assert offsets_of(connection) == ([each for each in ALL if each != offset], COUNT)


@pytest.mark.parametrize("what", ["time", "record", "seal"])
@pytest.mark.parametrize("value", [b"\xff\xfe", "text", 1.5, -1, b""])
def test_a_value_of_another_kind_is_a_hole(what: str, value: object) -> None:
    with closing(database()) as connection:
        connection.execute(f"UPDATE log_1 SET {what} = ? WHERE offset = 3", (value,))
        assert offsets_of(connection) == ([1, 2, 4, 5, 6, 7, 8], COUNT)


@given(st.sampled_from(ALL), st.integers(-5, 100))
def test_a_row_that_moved_is_given_nowhere(offset: int, to: int) -> None:
    assume(to not in ALL)
    with closing(database()) as connection:
        connection.execute("UPDATE log_1 SET offset = ? WHERE offset = ?", (to, offset))
        assert offsets_of(connection) == ([each for each in ALL if each != offset], COUNT)


def test_two_rows_that_changed_places_are_holes() -> None:
    with closing(database()) as connection:
        for change in ((99, 3), (3, 5), (5, 99)):
            connection.execute("UPDATE log_1 SET offset = ? WHERE offset = ?", change)
        assert offsets_of(connection) == ([1, 2, 4, 6, 7, 8], COUNT)


def test_a_record_of_version_1_needs_no_seal_and_may_have_none() -> None:
    record = b"\1" + encode_record(message(1, 10))[5:]
    assert seal(1, 10, record) is None
    with closing(database([])) as connection:
        connection.execute("INSERT INTO log_1 VALUES (1, 10, ?, NULL)", (record,))
        assert offsets_of(connection, end=1) == ([1], 1)
        connection.execute("UPDATE log_1 SET seal = 5")
        assert offsets_of(connection, end=1) == ([], 1)


@given(st.sets(st.sampled_from(ALL)), st.integers(1, COUNT + 1))
def test_the_time_from_an_offset_on_is_that_of_the_next_genuine_row(damaged: set[int], offset: int) -> None:
    with closing(database()) as connection:
        connection.executemany("UPDATE log_1 SET time = 7 WHERE offset = ?", [(each,) for each in damaged])
        genuine = [each for each in ALL if each >= offset and each not in damaged]
        assert time_from(connection, 1, offset) == (genuine[0] * 10 if genuine else None)


def test_what_is_no_damage_is_raised() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for read in (lambda: offsets_of(connection), lambda: time_from(connection, 1, 1)):
            with pytest.raises(sqlite3.OperationalError) as raised:
                read()
            assert not is_damage(raised.value)
    assert is_damage(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"))
    assert not is_damage(OSError())
