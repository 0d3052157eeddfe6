from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.selection import Selection
from gateway.core.topics import matches

FILTERS = ("s/#", "s/a", "s/+", "+/b", "#", "t/#")
TOPICS = ("s", "s/a", "s/b", "s/a/b")


@given(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3), st.lists(st.sampled_from(TOPICS)))
def test_a_selection_is_the_union_of_its_filters(filters: list[str], topics: list[str]) -> None:
    selection = Selection(tuple(filters), "s/#")
    for topic in topics:
        assert selection.picks(topic) == any(matches(each, topic) for each in filters)


def test_who_wants_the_whole_stream_is_not_asked_by_topic() -> None:
    assert Selection(("t", "#"), "s/#").everything
    assert not Selection(("s/+",), "s/#").everything
