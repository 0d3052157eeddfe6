"""Which stream captures a topic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.configuration import Kept, StreamConfiguration, StreamMap, Surplus, surplus


def test_a_topic_is_captured_by_the_stream_that_matches() -> None:
    streams = StreamMap([StreamConfiguration("orders", "orders/#"), StreamConfiguration("logs", "web/log")])
    assert streams.capturing("orders") == streams.capturing("orders/eu/created") == "orders"
    assert streams.capturing("web/log") == "logs"
    assert streams.capturing("web/other") is None
    assert streams.capturing("web/other") is None


def test_the_streams_under_a_filter() -> None:
    streams = StreamMap([StreamConfiguration("orders", "orders/#"), StreamConfiguration("logs", "logs/+")])
    assert streams.under("#") == ("orders", "logs")
    assert streams.under("+/a") == ("orders", "logs")
    assert streams.under("orders/eu/#") == ("orders",)
    assert streams.under("logs/a/b") == ()


def test_two_streams_may_not_capture_one_topic() -> None:
    with pytest.raises(ValueError, match=r"streams 'a' and 'b' would both capture"):
        StreamMap([StreamConfiguration("a", "x/+"), StreamConfiguration("b", "+/y")])


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="two streams have the name 'a'"):
        StreamMap([StreamConfiguration("a", "x"), StreamConfiguration("a", "y")])


def test_no_stream_captures_nothing() -> None:
    assert StreamMap().capturing("a") is None
    assert StreamMap().under("#") == ()


def test_nodes_that_capture_the_same_have_the_same_digest() -> None:
    one, two = StreamConfiguration("a", "x/#"), StreamConfiguration("b", "y/#", max_messages=5)
    digest = StreamMap([one, two]).digest
    assert digest == StreamMap([StreamConfiguration("b", "y/#"), one]).digest
    others = [
        StreamMap(),
        StreamMap([one]),
        StreamMap([one, StreamConfiguration("c", "y/#")]),
        StreamMap([one, StreamConfiguration("b", "y/+")]),
        StreamMap([StreamConfiguration("a", "y/#"), StreamConfiguration("b", "x/#")]),
    ]
    assert len({digest, *(each.digest for each in others)}) == 6


logs = st.lists(st.builds(Kept, st.integers(0, 50), st.integers(0, 5000)), max_size=30).map(
    lambda kept: sorted(kept, key=lambda each: each.time)
)


@given(logs, st.integers(1, 20), st.integers(1, 300), st.integers(0, 4), st.integers(5000, 8000))
def test_only_what_must_go_goes(kept: list[Kept], messages: int, size: int, age: int, now: int) -> None:
    limits = StreamConfiguration("s", "#", max_messages=messages, max_bytes=size, max_age=age)
    total = sum(each.size for each in kept)
    gone = surplus(limits, kept, messages=len(kept), size=total, now=now)

    left = list(kept)
    while left and (
        now - left[0].time > age * 1000
        or (len(left) > 1 and (len(left) > messages or sum(each.size for each in left) > size))
    ):
        del left[0]
    assert gone == Surplus(len(kept) - len(left), total - sum(each.size for each in left))


def test_no_more_is_looked_at_than_goes_and_one() -> None:
    limits = StreamConfiguration("s", "#", max_messages=8)
    looked_at = []

    def oldest():
        for number in range(10):
            looked_at.append(number)
            yield Kept(1, 0)

    assert surplus(limits, oldest(), messages=10, size=10, now=0) == Surplus(2, 2)
    assert looked_at == [0, 1, 2]


def test_the_newest_goes_for_its_age_alone() -> None:
    small = StreamConfiguration("s", "#", max_messages=1, max_bytes=1, max_age=1)
    assert surplus(small, [Kept(100, 0)], messages=1, size=100, now=1000) == Surplus(0, 0)
    assert surplus(small, [Kept(100, 0)], messages=1, size=100, now=1001) == Surplus(1, 100)
