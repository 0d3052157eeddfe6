"""Segments of the index as they lie in the file: what was written is found, or said to be damaged."""

from __future__ import annotations

import random
import sqlite3
from array import array
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.streams.sqlite.segments import (
    DamagedSegment,
    SegmentWriter,
    StoredSegment,
    make_index,
    newest_segment,
    pack,
    read_segment,
    united,
    unpack,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.codecs.topic_segment import Range
    from gateway.streams.sqlite.segments import Known

SIZE = 512
KEYS = st.binary(min_size=1, max_size=40)
PLACES = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=300, unique=True).map(sorted)
SEGMENTS = st.dictionaries(KEYS, PLACES, max_size=60)
RANGES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 9), st.booleans()).map(
        lambda each: (each[0], each[0] + each[1], each[2])
    ),
    max_size=12,
)


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    make_index(connection, 1)
    return connection


def write(
    connection: sqlite3.Connection,
    topics: Mapping[bytes, Sequence[int]],
    holes: Sequence[Range] = (),
    segment: int = 3,
) -> None:
    writer = SegmentWriter(segment, SIZE, holes)
    entries = ((key, array("H", topics[key])) for key in sorted(topics))
    connection.executemany("INSERT INTO block_1 VALUES (?, ?)", writer.blocks(entries))
    writer.write(connection, 1)


def content(segment: StoredSegment) -> dict[bytes, list[int]]:
    return {key: list(unpack(packed)) for key, packed in segment.entries(b"", None)}


@given(SEGMENTS, st.lists(KEYS, max_size=20))
def test_what_was_written_is_found(topics: dict[bytes, list[int]], asked: list[bytes]) -> None:
    with closing(database()) as connection:
        write(connection, topics)
        segment = read_segment(connection, 1, 3, SIZE)
        assert segment.base == 3 * SIZE + 1
        assert content(segment) == topics
        keys = sorted(topics)
        # From one key to a larger one, and back again.
        for key in [*keys, *asked, *sorted(asked)]:
            places = segment.places(key)
            assert (None if places is None else list(places)) == topics.get(key)
            assert segment.seek(key) == next((each for each in keys if each >= key), None)
        for begin, end in pairwise(asked):
            assert [key for key, _ in segment.entries(begin, end)] == [
                each for each in keys if begin <= each < end
            ]


@given(SEGMENTS, st.data())
def test_what_is_taken_out_is_gone_and_the_rest_stays_where_it_lies(
    topics: dict[bytes, list[int]], data: st.DataObject
) -> None:
    gone = {
        key: set(data.draw(st.lists(st.sampled_from(topics[key])), label="places"))
        for key in data.draw(st.lists(st.sampled_from(sorted(topics) or [b"x"]), unique=True), label="keys")
        if key in topics
    }
    known: Known = {}
    with closing(database()) as connection:
        write(connection, topics, [(1600, 1601, False)])
        lengths = connection.execute("SELECT id, length(content) FROM block_1").fetchall()
        purged = sorted({3 * SIZE + 1 + each for places in gone.values() for each in places})
        read_segment(connection, 1, 3, SIZE, known)
        read_segment(connection, 1, 3, SIZE).take_out(gone, purged)
        left = {
            key: kept
            for key, places in topics.items()
            if (kept := [each for each in places if each not in gone.get(key, ())])
        }
        # What was remembered of it isn't used any more.
        segment = read_segment(connection, 1, 3, SIZE, known)
        assert content(segment) == left
        assert segment.holes == united([(1600, 1601, False), *((each, each, True) for each in purged)])
        assert connection.execute("SELECT id, length(content) FROM block_1").fetchall() == lengths
        segment.take_out({key: set(places) for key, places in left.items()}, [])
        assert content(read_segment(connection, 1, 3, SIZE)) == {}
        stored = b"".join(each for (each,) in connection.execute("SELECT content FROM block_1"))
        assert not any(len(key) > 8 and key in stored for key in topics)


def everything(connection: sqlite3.Connection) -> object:
    segment = read_segment(connection, 1, 3, SIZE)
    return segment.holes, content(segment)


def test_whatever_byte_changes_it_is_found_out() -> None:
    topics = {b"s\0\1%d" % number: sorted({number, number * 7 % SIZE}) for number in range(300)}
    chosen = random.Random(3)
    with closing(database()) as connection:
        write(connection, topics, [(1700, 1702, True)])
        tables = {
            table: connection.execute(f"SELECT rowid, content FROM {table}").fetchall()
            for table in ("segment_1", "block_1", "hole_1")
        }
        for _ in range(300):
            table = chosen.choice([*tables])
            row, whole = chosen.choice(tables[table])
            damaged = bytearray(whole)
            damaged[chosen.randrange(len(damaged))] ^= 1 << chosen.randrange(8)
            connection.execute(f"UPDATE {table} SET content = ? WHERE rowid = ?", (bytes(damaged), row))
            with pytest.raises(DamagedSegment) as caught:
                everything(connection)
            assert caught.value.segment == 3
            connection.execute(f"UPDATE {table} SET content = ? WHERE rowid = ?", (whole, row))
        assert content(read_segment(connection, 1, 3, SIZE)) == topics


def test_another_segment_another_size_or_none_is_damage() -> None:
    with closing(database()) as connection:
        assert newest_segment(connection, 1) == -1
        write(connection, {b"a": [1]})
        assert newest_segment(connection, 1) == 3
        connection.execute("INSERT INTO segment_1 SELECT 4, seal, content FROM segment_1")
        for segment, size in ((4, SIZE), (5, SIZE), (3, SIZE * 2)):
            with pytest.raises(DamagedSegment):
                read_segment(connection, 1, segment, size)


@given(RANGES, st.integers(0, 40), st.integers(0, 40))
def test_ranges_in_order_say_the_same(ranges: list[Range], first: int, length: int) -> None:
    merged = united(ranges)
    assert [each[0] for each in merged] == sorted(each[0] for each in merged)
    covered = {offset for begin, end, _ in ranges for offset in range(begin, end + 1)}
    told = [offset for begin, end, _ in merged for offset in range(begin, end + 1)]
    assert sorted(told) == sorted(covered)
    cut = [
        offset for begin, end, _ in within(merged, first, first + length) for offset in range(begin, end + 1)
    ]
    assert cut == [each for each in told if first <= each <= first + length]
    if all(each[2] for each in ranges):
        assert all(one[1] + 1 < other[0] for one, other in pairwise(merged))


@given(PLACES)
def test_places_are_two_bytes_each(places: list[int]) -> None:
    packed = pack(array("H", places))
    assert packed == b"".join(each.to_bytes(2, "little") for each in places)
    assert list(unpack(packed)) == places
