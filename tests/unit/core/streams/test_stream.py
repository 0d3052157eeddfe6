from __future__ import annotations

import pytest

from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import FollowedStream, may_be_live
from tests.unit.core.streaming import followed_stream


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
