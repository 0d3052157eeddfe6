"""Which stream captures a topic; a stream as a node follows it, and what readers have matched of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.commands import START_NEW, Position, Start, StartKind
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import (
    FollowedStream,
    Selection,
    StreamMap,
    may_be_live,
    position_in_window,
)
from gateway.core.topics.grammar import matches
from tests.unit.core.streaming import captured, followed_stream


def test_there_is_no_tail_before_somebody_follows() -> None:
    stream = FollowedStream(StreamConfiguration("orders", "orders/#"))
    assert (stream.name, stream.filter, stream.window) == ("orders", "orders/#", None)
    with pytest.raises(AssertionError, match="nothing tails 'orders'"):
        _ = stream.tail
    assert followed_stream().tail.last == 0


def test_readers_with_one_filter_share_what_was_matched() -> None:
    stream = followed_stream()
    assert stream.selection("s/a") is stream.selection("s/a")
    assert stream.selection("s/a") is not stream.selection("s/b")


def test_what_was_matched_is_kept_for_a_bounded_number_of_filters() -> None:
    stream = followed_stream()
    first, second = stream.selection("s/first"), stream.selection("s/second")
    for number in range(63):
        stream.selection(f"s/{number}")
    assert stream.selection("s/second") is second
    assert stream.selection("s/first") is not first


def test_a_view_may_show_what_was_purged_up_to_where_the_log_ended() -> None:
    stream = followed_stream()
    assert not stream.purged_since("#", 0)
    stream.note_purge("a/+", 7)
    stream.note_purge("a/+", 5)
    assert stream.purged_since("a/b", 7)
    assert not stream.purged_since("a/b", 8)
    assert not stream.purged_since("b/#", 7)


def test_purges_are_kept_for_a_bounded_number_of_filters_and_none_is_forgotten() -> None:
    stream = followed_stream()
    for number in range(200):
        stream.note_purge(f"a/{number}", number)
    assert len(stream._purges) <= 65
    assert all(stream.purged_since(f"a/{number}", number) for number in range(200))


@pytest.mark.parametrize(
    ("topic_filter", "names", "live"),
    [
        ("s/a", "s", False),
        ("s/#", "s", False),
        ("s/#", "t", True),
        ("#", "st", True),
        ("+/a", "st", True),
        ("t/+", "st", False),
        ("a", "", True),
    ],
)
def test_a_filter_may_match_live_topics_unless_a_stream_captures_all_of_them(
    topic_filter: str, names: str, live: bool
) -> None:
    assert may_be_live(topic_filter, tuple(map(followed_stream, names))) is live


FILTERS = ("s/#", "s/a", "s/+", "+/b", "#", "t/#")
TOPICS = ("s", "s/a", "s/b", "s/a/b", "s/" + "x" * 300)


@given(st.sampled_from(FILTERS), st.lists(st.sampled_from(TOPICS)))
def test_a_selection_picks_what_its_filter_matches(topic_filter: str, topics: list[str]) -> None:
    selection = Selection(topic_filter)
    for topic in topics:
        assert selection.picks(topic) == matches(topic_filter, topic)


def test_who_wants_all_topics_is_not_asked_by_topic() -> None:
    assert Selection("#").everything
    # A stream may hold what it captured under another configuration: all that is said of it is the topic.
    assert not Selection("s/#").everything


@pytest.mark.parametrize("length", [10, 128, 500])
def test_what_is_remembered_is_bounded_in_bytes(length: int) -> None:
    selection = Selection("s/#")
    for number in range(3000):
        assert selection.picks(f"s/{number:0{length - 2}d}")
    assert sum(map(len, selection._answers)) <= 1024 * 128


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
        assert position_in_window("#", path, asked) == Position("e1", offset)
    for beyond in (
        Start(StartKind.LAST, 6),
        Start(StartKind.EARLIEST),
        Position("e1", 9),
        Position("e1", 16),
        Position("e2", 12),
    ):
        assert position_in_window("#", path, beyond) is None


@given(
    topics=st.lists(st.sampled_from(["s/a", "s/b", "old"]), max_size=30),
    count=st.integers(1, 12),
    topic_filter=st.sampled_from(["#", "s/#", "s/a", "s/+", "+/+"]),
)
def test_the_newest_in_the_window_are_those_that_match(
    topics: list[str], count: int, topic_filter: str
) -> None:
    path = followed_stream(last=10, messages=20)
    for offset, topic in enumerate(topics, start=11):
        path.tail.push(captured(offset, topic))
    found = position_in_window(topic_filter, path, Start(StartKind.LAST, count))
    matching = [offset for offset, topic in enumerate(topics, start=11) if matches(topic_filter, topic)]
    if found is not None:
        assert path.tail.held_after <= found.offset
        assert len([each for each in matching if each > found.offset]) == count
        assert found.offset + 1 in matching
    elif topic_filter == "#":
        assert len(topics) < count or count > 20
