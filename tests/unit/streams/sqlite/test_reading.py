"""Pages of a log as it was at one moment, beside somebody who writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.topic_keys import topic_key
from gateway.errors import StreamUnavailable
from gateway.streams.sqlite.matching import Seek
from gateway.streams.sqlite.reading import Description, Snapshot, SqliteReader
from gateway.streams.sqlite.tail import OldSnapshot
from tests.unit.streams.sqlite_parts import make_writer, opened, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.streams.sqlite.selecting import LogView


def page(reader: SqliteReader, after: int, end: int, messages: int = 100, size: int = 10**6) -> Snapshot:
    return reader.page("s", 1, after, end, messages=messages, size=size)


def offsets(snapshot: Snapshot) -> list[int | None]:
    return [each.offset for each in snapshot.found.publications]


def test_a_page_ends_where_it_was_asked_to_whatever_has_come_since(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, reader):
        writer.commit([waiting(number) for number in range(10)], sweep=False)
        assert offsets(page(reader, 2, 7)) == [3, 4, 5, 6, 7]
        assert offsets(page(reader, 2, 99)) == list(range(3, 11))
        writer.commit([waiting(11)], sweep=False)
        assert offsets(page(reader, 8, 99)) == [9, 10, 11], "each page is a snapshot of its own"
        assert page(reader, 11, 11).found.through == 11


def test_a_page_begins_with_the_oldest_that_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "db", StreamConfiguration("s", "s/#", max_messages=4)) as (writer, reader):
        bounds = writer.open({}).bounds["s"]
        writer.commit([waiting(number) for number in range(10)], sweep=False)
        snapshot = page(reader, 0, 10)
        assert (snapshot.epoch, snapshot.first, offsets(snapshot)) == (bounds.epoch, 7, [7, 8, 9, 10])


def test_reading_goes_on_after_it_was_closed(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, reader):
        writer.commit([waiting(1)], sweep=False)
        for _ in range(2):
            assert offsets(page(reader, 0, 1)) == [1]
            reader.close()
            reader.close()


def test_a_log_that_is_not_there_can_not_be_read_and_others_can(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, reader):
        writer.commit([waiting(1)], sweep=False)
        for read in (
            lambda: reader.page("x", 9, 0, 1, messages=1, size=1),
            lambda: reader.before(9, 0, 1),
            lambda: reader.describe(9),
        ):
            with pytest.raises(StreamUnavailable):
                read()
            assert offsets(page(reader, 0, 1)) == [1]


def test_a_database_that_is_not_there_can_not_be_read_and_is_not_made(tmp_path: Path) -> None:
    reader = SqliteReader(tmp_path / "db")
    with pytest.raises(StreamUnavailable):
        page(reader, 0, 1)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_has_open_for_writing_is_read_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, _):
        writer.commit([waiting(1)], sweep=False)
    reader = SqliteReader(tmp_path / "db")
    reader.stand_alone(True)
    assert offsets(page(reader, 0, 1)) == [1]
    reader.stand_alone(False)
    with opened(tmp_path / "db") as (writer, _):
        writer.commit([waiting(2)], sweep=False)
        assert offsets(page(reader, 0, 2)) == [1, 2]
        reader.close()


def test_a_log_tells_how_large_it_is_and_its_times(tmp_path: Path) -> None:
    now = 1000
    with opened(tmp_path / "db", clock=lambda: now) as (writer, reader):
        assert reader.describe(1) == Description(0, None, None, 0)
        sent = [waiting(1, size=5), waiting(2, size=50), waiting(3)]
        for number, each in enumerate(sent):
            now = 1000 + number * 10
            writer.commit([each], sweep=False)
        assert reader.describe(1) == Description(sum(len(each.record) for each in sent), 1000, 1020, 0)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_the_offset_before_a_time_is_that_of_a_search_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], data: st.DataObject
) -> None:
    now = 100
    writer, reader = make_writer(tmp_path_factory.mktemp("times") / "db", clock=lambda: now)
    writer.open({})
    times = []
    for number, step in enumerate(steps):
        now += step
        times.append(now)
        writer.commit([waiting(number)], sweep=False)
    time, end = data.draw(st.integers(95, now + 5)), data.draw(st.integers(0, len(times)))
    wanted = next((offset for offset, each in enumerate(times[:end]) if each >= time), end)
    assert reader.before(1, time, end) == wanted
    reader.close()
    writer.close()


def test_topics_that_are_let_go_while_somebody_looks_at_them_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "db") as (writer, reader):
        writer.commit([waiting(number, topic=f"s/{number % 3}") for number in range(300)], sweep=False)
        tail = writer._tails["s"]
        found = Seek.__call__

        def let_go(seek: Seek, target: bytes) -> bytes | None:
            key = found(seek, target)
            tail.remove(0, {topic_key("s/1"): {*range(300)}})
            return key

        monkeypatch.setattr(Seek, "__call__", let_go)
        view = reader.view("s", 1, tail, 300, 100, lambda log: log.topics("s/+", None, 10, None))
        assert [each.topic for each in view.found.topics] == ["s/0", "s/2"]


def test_a_segment_that_goes_to_the_file_while_somebody_reads_asks_for_another_snapshot(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "db") as (writer, reader):
        writer.commit([waiting(number) for number in range(10)], sweep=False)
        tail = writer._tails["s"]

        def find(log: LogView) -> object:
            part = log.segment(0, ordered=True)
            tail.drop(0)
            return [*part.entries(b"", None)]

        with pytest.raises(OldSnapshot):
            reader.view("s", 1, tail, 10, 100, find)
