"""Transactions: all of one or nothing of it, answered in order, and never on a file that isn't ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gateway.core.messages.commands import Position
from gateway.core.streams.configuration import Bounds, StreamConfiguration
from gateway.errors import StoreFull, StoreUnusable, StreamUnavailable
from gateway.streams.base import Appended, Dedupe
from gateway.streams.sqlite import writing as sqlite_writing
from gateway.streams.sqlite.ends import EndsFile
from gateway.streams.sqlite.transaction import Committed
from gateway.streams.sqlite.writing import Writer
from tests.unit.streams.sqlite_parts import OTHER, STREAM, make_writer, opened, waiting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The monotonic seconds by which a database that failed is opened again."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(sqlite_writing, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def allow_pages(writer: Writer, pages: int) -> None:
    """Let the database grow to as many pages, as a disk of that size would."""
    assert writer._connection is not None
    writer._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def break_down(writer: Writer) -> None:
    """Have everything fail as a disk's error does."""
    assert writer._connection is not None
    writer._connection.close()


def offsets(committed: Committed) -> list[int | None]:
    return [each.offset if isinstance(each, Appended) else None for each in committed.answers]


def test_answers_come_in_the_order_of_the_appends_whatever_streams_they_are_for(tmp_path: Path) -> None:
    with opened(tmp_path / "db", STREAM, OTHER) as (writer, _):
        appends = [waiting(number, stream=stream) for number, stream in enumerate("sosso")]
        committed = writer.commit(appends, sweep=False)
        assert [each.id for each in committed.answers if isinstance(each, Appended)] == [
            f"m{number}" for number in range(5)
        ]
        assert offsets(committed) == [1, 1, 2, 3, 2]
        assert committed.firsts == {"s": 1, "o": 1}


def test_a_refused_append_takes_nothing_from_the_others_of_its_transaction(tmp_path: Path) -> None:
    with opened(tmp_path / "db", most_keys=1) as (writer, _):
        committed = writer.commit(
            [waiting(number, dedupe=Dedupe(f"k{number}", b"f")) for number in range(2)] + [waiting(2)],
            sweep=False,
        )
        assert offsets(committed) == [1, None, 2]


def test_nothing_to_do_is_no_transaction(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, _):
        for sweep in (False, True):
            assert writer.commit([], sweep=sweep) == Committed((), {}, {}, more=False)


def test_times_never_go_back(tmp_path: Path) -> None:
    now = 0
    with opened(tmp_path / "db", clock=lambda: now) as (writer, _):
        for now, told in ((5000, 5000), (4000, 5000), (6000, 6000)):
            assert writer.commit([waiting(now)], sweep=False).times == {"s": told}


def test_a_sweep_lets_go_of_what_is_too_old_in_logs_that_nobody_appends_to(tmp_path: Path) -> None:
    now = 1000
    old = StreamConfiguration("s", "s/#", max_age=1)
    with opened(tmp_path / "db", old, OTHER, clock=lambda: now) as (writer, _):
        writer.commit([waiting(1), waiting(1, stream="o")], sweep=False)
        now = 10_000
        assert writer.commit([], sweep=False).firsts == {}
        assert writer.commit([], sweep=True).firsts == {"s": 2}
        assert writer.commit([], sweep=True).firsts == {}


def test_where_there_is_no_room_nothing_is_kept_and_the_next_is(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, _):
        writer.commit([waiting(1)], sweep=False)
        allow_pages(writer, 20)
        with pytest.raises(StoreFull):
            writer.commit([waiting(number, size=10_000) for number in range(20)], sweep=False)
        assert writer.is_open
        allow_pages(writer, 10_000)
        writer.probe()
        assert offsets(writer.commit([waiting(2)], sweep=False)) == [2]


def test_after_an_error_of_the_disk_nothing_is_tried_before_it_is_opened_again(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    with opened(tmp_path / "db") as (writer, _):
        bounds = writer.open({}).bounds["s"]
        writer.commit([waiting(1)], sweep=False)
        break_down(writer)
        with pytest.raises(StreamUnavailable):
            writer.commit([waiting(2)], sweep=False)
        assert not writer.is_open
        for attempt in (
            lambda: writer.commit([waiting(2)], sweep=False),
            writer.probe,
            lambda: writer.raise_epoch("s", Position("e", 1)),
        ):
            with pytest.raises(StreamUnavailable, match="doesn't work"):
                attempt()
        again = writer.open({"s": (bounds.epoch, 1)})
        assert again.bounds["s"] == Bounds(bounds.epoch, 1, 1), "the same log: nothing was lost"
        assert offsets(writer.commit([waiting(2)], sweep=False)) == [2]


def test_a_database_that_can_not_be_opened_is_not_tried_all_the_time(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    path = tmp_path / "db"
    path.mkdir()
    writer, _ = make_writer(path)
    with pytest.raises(StoreUnusable):
        writer.open({})
    with pytest.raises(StreamUnavailable, match="doesn't work"):
        writer.open({})
    path.rmdir()
    clock.now += 1
    writer.open({})
    assert writer.is_open
    writer.close()


def test_a_database_has_one_writer(tmp_path: Path) -> None:
    with opened(tmp_path / "db"):
        other, _ = make_writer(tmp_path / "db")
        with pytest.raises(StoreUnusable, match="another process"):
            other.open({})
        other.close()
    with opened(tmp_path / "db") as (writer, _):
        assert writer.is_open


def test_a_file_that_was_replaced_is_found_out_by_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with opened(path) as (writer, _):
        writer.commit([waiting(1)], sweep=False)
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(StreamUnavailable, match="removed or replaced"):
            writer.commit([], sweep=True)
        assert not writer.is_open


def test_where_a_log_ends_is_noted_with_each_transaction(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, _):
        epoch = writer.open({}).bounds["s"].epoch
        ends = EndsFile(tmp_path / "db-ends")
        for last in range(1, 4):
            writer.commit([waiting(last)], sweep=False)
            assert ends.read() == {1: (epoch, last)}


def test_an_epoch_is_raised_only_for_who_has_seen_more_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as (writer, _):
        epoch = writer.open({}).bounds["s"].epoch
        writer.commit([waiting(1), waiting(2)], sweep=False)
        for seen in (Position(epoch, 2), Position(epoch, 0), Position("another", 99)):
            assert writer.raise_epoch("s", seen) == Bounds(epoch, 1, 2)
        raised = writer.raise_epoch("s", Position(epoch, 3))
        assert raised.epoch != epoch
        assert (raised.first, raised.last) == (1, 2)
        assert writer.raise_epoch("s", Position(epoch, 3)) == raised
    with opened(tmp_path / "db") as (writer, _):
        assert writer.open({}).bounds["s"] == raised


@pytest.mark.parametrize("note", [True, False])
def test_a_database_that_was_closed_goes_on_where_it_ended(tmp_path: Path, note: bool) -> None:
    writer, _ = make_writer(tmp_path / "db")
    epoch = writer.open({}).bounds["s"].epoch
    writer.commit([waiting(1)], sweep=False)
    writer.close(note=note)
    writer.close(note=note)
    again, _ = make_writer(tmp_path / "db")
    opened_again = again.open({})
    assert (opened_again.bounds["s"], opened_again.raised) == (Bounds(epoch, 1, 1), 0)
    again.close()


def test_what_was_answered_and_is_missing_begins_new_epochs(tmp_path: Path) -> None:
    with opened(tmp_path / "db", STREAM, OTHER) as (writer, _):
        before = writer.open({}).bounds
        writer.commit([waiting(1)], sweep=False)
        after = writer.open({"s": (before["s"].epoch, 5)})
        assert after.raised == 2
        assert all(after.bounds[name].epoch != before[name].epoch for name in "so")
