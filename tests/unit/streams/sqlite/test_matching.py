"""Looking through parts of an index for the topics that a filter matches."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.topic_keys import topic_key, topics_matching
from gateway.core.topics.grammar import matches
from gateway.streams.sqlite.matching import Seek, entries_matching

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = st.sampled_from(["a", "b", "$", "", "x!"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = [
    "#", "+", "+/#", "a/#", "a/+", "a/b/+", "a/b/#", "+/b", "a", "a/b", "$/#", "/+", "//#", "a/+/b", "a/+/#",
]  # fmt: skip


class Keys:
    """A part of an index in which each topic's place is the length of its key."""

    def __init__(self, *topics: str) -> None:
        self.keys = sorted(map(topic_key, topics))
        self.base = 1
        self.holes: list[tuple[int, int, bool]] = []

    def seek(self, key: bytes) -> bytes | None:
        return next((each for each in self.keys if each >= key), None)

    def places(self, key: bytes) -> array[int] | None:
        return array("H", [len(key)]) if key in self.keys else None

    def entries(self, begin: bytes, end: bytes | None) -> Iterator[tuple[bytes, array[int]]]:
        for key in self.keys:
            if key >= begin and (end is None or key < end):
                yield key, array("H", [len(key)])


@given(st.sets(TOPICS, max_size=30), st.sampled_from(FILTERS))
def test_each_topic_that_matches_is_found_in_order(topics: set[str], topic_filter: str) -> None:
    found = [each for each in entries_matching(Keys(*topics), topic_filter) if each is not None]
    expected = sorted(topic_key(each) for each in topics if matches(topic_filter, each))
    assert [key for key, _ in found] == expected
    assert [list(places) for _, places in found] == [[len(key)] for key in expected]


def test_several_indexes_are_sought_in_as_one() -> None:
    one, other = Keys("a", "b/1", "c"), Keys("b", "b/1", "b/2", "z")
    seek = Seek([one, other])
    found = []
    for topic in topics_matching("#", seek):
        assert topic is not None
        found.append((topic, [each is one for each in seek.having()]))
    assert found == [
        ("a", [True]),
        ("b", [False]),
        ("b/1", [True, False]),
        ("b/2", [False]),
        ("c", [True]),
        ("z", [False]),
    ]
    behind = Seek([one, other], topic_key("b/1") + b"\0")
    assert [each for each in topics_matching("b/#", behind) if each] == ["b/2"]
