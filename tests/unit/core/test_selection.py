from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.selection import Selection
from gateway.core.topics import matches

FILTERS = ("s/#", "s/a", "s/+", "+/b", "#", "t/#")
TOPICS = ("s", "s/a", "s/b", "s/a/b")


@given(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3), st.lists(st.sampled_from(TOPICS)))
def test_a_selection_is_the_union_of_its_filters(filters: list[str], topics: list[str]) -> None:
    selection = Selection(tuple(filters))
    for topic in topics:
        assert selection.picks(topic) == any(matches(each, topic) for each in filters)


def test_who_wants_all_topics_is_not_asked_by_topic() -> None:
    assert Selection(("t", "#")).everything
    # A stream may hold what it captured under another configuration: all that is said of it is the topic.
    assert not Selection(("s/#",)).everything
