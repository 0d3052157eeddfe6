from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.selection import Selection
from gateway.core.topics.grammar import matches

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
