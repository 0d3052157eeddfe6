"""Topics in an ordered index: a search finds what the filter matches, at the price of what it finds."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.topic_keys import topic_key, topic_of, topics_matching
from gateway.core.topics.grammar import matches

LEVELS = st.sampled_from(["", "a", "b", "a-", "$x", "é", "0"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER_LEVELS = st.sampled_from(["", "a", "b", "a-", "$x", "é", "+", "+"])


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(FILTER_LEVELS, max_size=4))
    return "/".join([*levels, "#"] if draw(st.booleans()) else levels) or "+"


class Index:
    """Sorted keys, and how often they were sought in."""

    def __init__(self, topics: set[str]) -> None:
        self.keys = sorted(map(topic_key, topics))
        self.seeks = 0

    def seek(self, key: bytes) -> bytes | None:
        self.seeks += 1
        place = bisect_left(self.keys, key)
        return self.keys[place] if place < len(self.keys) else None


@given(st.sets(TOPICS, max_size=30), filters())
def test_a_search_finds_what_matches_in_the_order_of_the_keys(topics: set[str], topic_filter: str) -> None:
    index = Index(topics)
    found = [each for each in topics_matching(topic_filter, index.seek) if each is not None]
    assert found == [each for each in map(topic_of, index.keys) if matches(topic_filter, each)]


@given(st.sets(TOPICS, max_size=30))
def test_a_topic_stands_before_those_below_it_and_they_stand_together(topics: set[str]) -> None:
    ordered = [topic_of(key) for key in sorted(map(topic_key, topics))]
    assert ordered == sorted(topics, key=lambda topic: [level.encode() for level in topic.split("/")])


def test_a_search_costs_what_it_finds_and_not_what_else_there_is() -> None:
    others = {f"other/{number}/status" for number in range(2000)}
    index = Index(others | {f"mine/{number}/{leaf}" for number in range(10) for leaf in ("a", "status", "z")})
    found = [each for each in topics_matching("mine/+/status", index.seek) if each is not None]
    assert len(found) == 10
    assert index.seeks <= 4 * 10 + 2
