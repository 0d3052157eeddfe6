from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.message import Message
from gateway.client.positions import (
    PositionFields,
    Positions,
    SubscriptionStart,
    parse_positions,
    parse_start,
)
from gateway.core.messages.commands import START_NEW, Position, Start, StartKind
from gateway.core.messages.events import Gap


def message(stream: str | None, offset: int | None) -> Message:
    return Message("t", "1", 0, None, None, {}, None, stream, offset)


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("new", START_NEW),
        ("earliest", Start(StartKind.EARLIEST)),
        ({"offset": 1}, Start(StartKind.OFFSET, 1)),
        ({"time": 0}, Start(StartKind.TIME, 0)),
        ({"last": 7}, Start(StartKind.LAST, 7)),
        ({"last_per_topic": 1000}, Start(StartKind.LAST_PER_TOPIC, 1000)),
    ],
)
def test_a_start_is_read(given: Any, start: Start) -> None:
    assert parse_start(given) == start


@pytest.mark.parametrize(
    "given",
    [
        "latest",
        "offset",
        5,
        None,
        {},
        {"offset": 0},
        {"last": 0},
        {"last_per_topic": 1001},
        {"time": -1},
        {"last": True},
        {"new": 1},
    ],
)
def test_what_is_no_start_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"start .*: it is 'new', 'earliest', 'snapshot', \{'offset': n\}"):
        parse_start(given)


def test_positions_are_read_as_json_has_them_or_as_objects() -> None:
    assert parse_positions(None) == {}
    kept: dict[str, PositionFields] = {"s": {"epoch": "e", "offset": 0}}
    assert parse_positions(kept) == {"s": Position("e", 0)}
    assert parse_positions({"s": Position("e", 4)}) == {"s": Position("e", 4)}


@pytest.mark.parametrize(
    "given",
    [
        "s",
        {"s": 4},
        {"s": {"epoch": "e"}},
        {"s": {"epoch": 1, "offset": 1}},
        {"s": {"epoch": "e", "offset": -1}},
    ],
)
def test_what_are_no_positions_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="resume"):
        parse_positions(given)


def test_only_resume_and_a_start_but_new_ask_for_history() -> None:
    assert not SubscriptionStart().asks_history
    assert SubscriptionStart(resume={"s": Position("e", 1)}).asks_history
    assert SubscriptionStart(Start(StartKind.LAST, 1)).asks_history


def test_a_message_moves_its_stream_alone() -> None:
    positions = Positions({"s": Position("e", 3), "t": Position("f", 9)})
    positions.pass_message(message("s", 5))
    positions.pass_message(message(None, None))
    positions.pass_message(message("unknown", 4))
    assert positions.current() == {"s": Position("e", 5), "t": Position("f", 9)}
    assert positions.has(message("s", 5))
    assert not positions.has(message("s", 6))
    assert not positions.has(message("unknown", 1))


@given(st.lists(st.integers(min_value=1, max_value=50)))
def test_a_position_is_the_greatest_offset_passed(offsets: list[int]) -> None:
    positions = Positions({"s": Position("e", 0)})
    for offset in offsets:
        positions.pass_message(message("s", offset))
    assert positions.current() == {"s": Position("e", max(offsets, default=0))}


def test_a_gap_moves_behind_what_is_trimmed() -> None:
    positions = Positions({"s": Position("e", 3)})
    positions.pass_gap(Gap("trimmed", "f", None, "s", 4, 8))
    positions.pass_gap(Gap("trimmed", "f", None, "s", 1, 2))
    positions.pass_gap(Gap("overflow", "f", 2))
    assert positions.current() == {"s": Position("e", 8)}


def test_a_new_epoch_begins_where_the_gap_says() -> None:
    positions = Positions({"s": Position("e", 9), "t": Position("e", 3)})
    positions.pass_gap(Gap("epoch", "f", stream="s", epoch="e2", offset=7))
    assert positions.current()["s"] == Position("e2", 7)
    positions.pass_message(message("s", 8))
    assert positions.current()["s"] == Position("e2", 8)


def test_a_new_epoch_begins_before_its_first_offset() -> None:
    positions = Positions({"s": Position("e", 3), "t": Position("e", 3)})
    # Of a gateway that tells no place in it.
    positions.pass_gap(Gap("epoch", "f", stream="s", epoch="e2"))
    assert positions.current()["s"] == Position("e2", 0)
    positions.pass_message(message("s", 2))
    positions.pass_gap(Gap("epoch", "f", stream="s", epoch="e2"))
    assert positions.current()["s"] == Position("e2", 2)
    # A gateway that doesn't tell the new epoch: nothing to resume from.
    positions.pass_gap(Gap("epoch", "f", stream="t"))
    assert "t" not in positions.current()
