"""What the cache itself promises; that it forgets exactly what it must is held in test_trie.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.match_cache import MatchCache
from gateway.core.topics import matches

TOPICS = ["a", "a/b", "a/c", "b/b", "a/b/c", "$s/b", "$s", "/", "/a"]
FILTERS = [
    "#",
    "+",
    "+/b",
    "a/#",
    "a/+/#",
    "a/b/#",
    "$s/#",
    "$s/+",
    "+/+",
    "+/+/#",
    "/#",
    "b/+",
    "+/#",
    "x/#",
    "a/+/x",
]


@pytest.mark.parametrize("topic_filter", FILTERS)
def test_a_filter_drops_the_topics_it_matches(topic_filter):
    cache: MatchCache[str] = MatchCache(100)
    for topic in TOPICS:
        cache.store(topic, (topic,))
    matched = {topic for topic in TOPICS if matches(topic_filter, topic)}
    assert cache.drop_matching(topic_filter) == len(matched)
    assert set(cache.answers) == set(TOPICS) - matched
    assert cache.drop_matching(topic_filter) == 0


@given(st.lists(st.sampled_from(TOPICS), unique=True), st.lists(st.sampled_from(FILTERS)))
def test_nothing_stays_behind_when_every_topic_is_dropped(topics, filters):
    cache: MatchCache[str] = MatchCache(100)
    for topic in topics:
        cache.store(topic, ("same",))
    for topic_filter in filters:
        cache.drop_matching(topic_filter)
    for topic in topics:
        cache.drop(topic)
    assert not any([cache.answers, cache._by_length, *cache._by_level, cache._interned, cache._uses])


def test_equal_answers_are_shared_until_the_last_topic_goes():
    cache: MatchCache[str] = MatchCache(100)
    first, second = tuple("v"), tuple("v")
    assert cache.store("a", first) is first
    assert cache.store("b", second) is first
    cache.drop("a")
    assert cache.store("c", second) is first
    cache.drop("b")
    cache.drop("c")
    assert cache.distinct_answers == 0
    assert cache.store("d", second) is second


def test_dropping_what_is_not_cached_says_so():
    cache: MatchCache[str] = MatchCache(1)
    assert not cache.drop("a")
    cache.store("a", ())
    assert cache.drop("a")
