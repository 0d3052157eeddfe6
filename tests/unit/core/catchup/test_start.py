from __future__ import annotations

import pytest

from gateway.core.catchup.start import from_bounds, from_window, resume_at
from gateway.core.messages.commands import START_NEW, Position, Start, StartKind
from gateway.core.streams.configuration import Bounds
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
        (Start(StartKind.LAST, 3), None, 17),
        (Start(StartKind.LAST, 30), None, 10),
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


def test_what_the_window_holds_needs_no_store() -> None:
    path = followed_stream(last=10)
    for offset in range(11, 16):
        path.tail.push(captured(offset))
    for asked, offset in (
        (START_NEW, 15),
        (Start(StartKind.LAST, 5), 10),
        (Position("e1", 10), 10),
        (Position("e1", 15), 15),
    ):
        found = from_window(path, asked)
        assert found is not None
        assert found.position == Position("e1", offset)
    for beyond in (
        Start(StartKind.LAST, 6),
        Start(StartKind.EARLIEST),
        Position("e1", 9),
        Position("e1", 16),
        Position("e2", 12),
    ):
        assert from_window(path, beyond) is None
