"""Which stream captures a topic."""

from __future__ import annotations

import pytest

from gateway.core.streams.configuration import StreamConfiguration, StreamMap


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
