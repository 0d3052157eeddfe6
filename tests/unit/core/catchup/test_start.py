"""Where subscriptions begin."""

from __future__ import annotations

import pytest

from gateway.core.catchup.page_choice import NewestByTopic, SnapshotSource
from gateway.core.catchup.start import epoch_gap, from_bounds, from_newest, from_snapshot, resume_at
from gateway.core.messages.commands import START_NEW, Position, Start, StartKind
from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import SelectedPage
from tests.unit.core.streaming import captured, followed_stream

BOUNDS = Bounds("e1", 11, 20)


@pytest.mark.parametrize(
    ("start", "before", "offset"),
    [
        (START_NEW, None, 20),
        (Start(StartKind.EARLIEST), None, 10),
        (Start(StartKind.OFFSET, 15), None, 14),
        (Start(StartKind.OFFSET, 21), None, 20),
        (Start(StartKind.OFFSET, 99), None, 20),
        (Start(StartKind.LAST, 3), 14, 14),
        (Start(StartKind.LAST, 3), 25, 25),
        (Start(StartKind.TIME, 5), 12, 12),
        (Start(StartKind.TIME, 5), 4, 10),
    ],
)
def test_where_from_begins(start: Start, before: int | None, offset: int) -> None:
    beginning = from_bounds("s/#", followed_stream(), start, BOUNDS, before)
    assert beginning.position == Position("e1", offset)
    assert beginning.gap is None


def test_an_offset_that_is_trimmed_begins_with_a_gap() -> None:
    beginning = from_bounds("s/#", followed_stream(), Start(StartKind.OFFSET, 4), BOUNDS)
    assert beginning.position == Position("e1", 10)
    assert beginning.gap is not None
    assert (beginning.gap.first, beginning.gap.last, beginning.gap.dropped) == (4, 10, 7)


@pytest.mark.parametrize("offset", [10, 15, 20])
def test_a_position_within_the_log_is_recovered(offset: int) -> None:
    beginning = resume_at("s/#", followed_stream(), Position("e1", offset), BOUNDS)
    assert (beginning.position, beginning.recovered, beginning.gap) == (Position("e1", offset), True, None)


def test_a_trimmed_position_says_which_offsets_are_missing() -> None:
    beginning = resume_at("s/a", followed_stream(), Position("e1", 6), BOUNDS)
    assert (beginning.position, beginning.recovered) == (Position("e1", 10), False)
    assert beginning.gap is not None
    # On some of them the topic is another one: nobody knows how many are lost.
    assert (beginning.gap.first, beginning.gap.last, beginning.gap.dropped) == (7, 10, None)


@pytest.mark.parametrize("wanted", [Position("e0", 15), Position("e1", 21)])
def test_another_epoch_or_a_place_beyond_the_end_begins_with_the_first_there_is(wanted: Position) -> None:
    beginning = resume_at("s/#", followed_stream(), wanted, BOUNDS)
    assert (beginning.position, beginning.recovered) == (Position("e1", 10), False)
    assert beginning.gap is not None
    assert (beginning.gap.reason, beginning.gap.epoch) == ("epoch", "e1")


def test_the_newest_of_each_topic_begin_before_the_first_of_them() -> None:
    beginning = from_newest("s/+", 3, SelectedPage(BOUNDS, [captured(14)], 14))
    assert beginning.position == Position("e1", 13)
    assert beginning.phase == NewestByTopic("s/+", 3, 20)


def test_where_no_topic_has_anything_the_log_is_read_on_from_its_end() -> None:
    beginning = from_newest("s/+", 3, SelectedPage(BOUNDS, [], 20))
    assert (beginning.position, beginning.phase) == (Position("e1", 20), None)


@pytest.mark.parametrize(
    "wanted",
    [
        Position("e0", 15),
        Position("e1", 21),
        Position("e2", 6),  # trimmed in the life that this was when the store was asked; the tail has another
    ],
)
def test_a_snapshot_in_place_of_another_epoch_tells_where_the_snapshot_is(wanted: Position) -> None:
    stream = followed_stream(last=18)
    found = resume_at("s/#", stream, wanted, Bounds("e2" if wanted.epoch == "e2" else "e1", 11, 20))
    beginning = from_snapshot("s/#", stream, found)
    assert (beginning.position, beginning.recovered) == (Position("e1", 18), False)
    assert beginning.phase == SnapshotSource("s/#", 18)
    assert beginning.gap == epoch_gap("s/#", stream, Position("e1", 18))


def test_a_snapshot_in_place_of_a_trimmed_position_says_which_offsets_are_missing() -> None:
    stream = followed_stream(last=20)
    found = resume_at("s/#", stream, Position("e1", 6), BOUNDS)
    beginning = from_snapshot("s/#", stream, found)
    assert (beginning.position, beginning.gap) == (Position("e1", 20), found.gap)
