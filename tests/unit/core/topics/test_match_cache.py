"""What the cache itself promises; that its answers hold is held in test_trie.py."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from gateway.core.topics.match_cache import MatchCache

PLENTY = 1 << 20


def test_nothing_stays_behind_when_every_topic_is_dropped():
    cache: MatchCache[str] = MatchCache(100, PLENTY)
    for topic in "abc":
        cache.store(topic, ("same",), 0)
    cache.store("d", (), 0)
    for topic in "abcd":
        assert cache.drop(topic)
    assert not any([cache.answers, cache._interned, cache._uses, cache.bytes])


def test_equal_answers_are_shared_until_the_last_topic_goes():
    cache: MatchCache[str] = MatchCache(100, PLENTY)
    first, second = tuple("v"), tuple("v")
    assert cache.store("a", first, 0) is first
    assert cache.store("b", second, 0) is first
    cache.drop("a")
    assert cache.store("c", second, 0) is first
    cache.drop("b")
    cache.drop("c")
    assert cache.distinct_answers == 0
    assert cache.store("d", second, 0) is second


def test_dropping_what_is_not_cached_says_so():
    cache: MatchCache[str] = MatchCache(1, PLENTY)
    assert not cache.drop("a")
    cache.store("a", (), 0)
    assert cache.drop("a")


def test_one_topic_is_kept_however_large_its_answer():
    cache: MatchCache[int] = MatchCache(100, 1000)
    for topic in "ab":
        cache.store(topic, tuple(range(1000)), 0)
        assert list(cache.answers) == [topic]


@pytest.mark.parametrize(("levels", "values"), [(1, 1), (1, 300), (32, 1), (32, 300)])
def test_what_it_takes_is_bounded_in_bytes(levels, values):
    most = 2 << 20
    cache: MatchCache[object] = MatchCache(1 << 20, most)
    chosen = random.Random(5)
    known = [object() for _ in range(1000)]
    tracemalloc.start()
    try:
        for number in range(20_000):
            topic = "/".join([f"{number:015d}"] * levels)
            cache.store(topic, tuple(chosen.sample(known, values)), 0)
            if cache.touched > 3 * len(cache.answers) + 100:
                break  # full, and everything in it has been replaced
        del topic
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.bytes <= most
    # An ordered dictionary that was full keeps room to grow; it counts for up to two more.
    assert taken <= 1.5 * most
    assert cache.touched > len(cache.answers), "it has not been full"
