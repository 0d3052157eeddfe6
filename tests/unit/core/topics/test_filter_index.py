"""The index against a naive matcher, and a cache that forgets exactly what it must."""

from __future__ import annotations

import gc
import itertools
import random
import tracemalloc
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.core.topics import filter_index, filter_trie
from gateway.core.topics.filter_index import FilterIndex, MatchCache
from gateway.core.topics.grammar import matches


def filled(*filters: str, cached_topics: int = 64) -> FilterIndex[str]:
    """An index in which each filter is its own value."""
    index: FilterIndex[str] = FilterIndex(cached_topics=cached_topics)
    for topic_filter in filters:
        index.insert(topic_filter, topic_filter)
    return index


def test_all_filters_that_match_are_found_once():
    index = filled("a/b", "a/+", "+/b", "a/#", "#", "+/+", "a/b/#", "a/c", "b/#", "a/b/c")
    assert sorted(index.match("a/b")) == sorted(["a/b", "a/+", "+/b", "a/#", "#", "+/+", "a/b/#"])


@pytest.mark.parametrize("topic", ["$gateway", "$gateway/node", "$gateway/node/x"])
def test_filters_that_begin_with_a_wildcard_leave_dollar_topics_out(topic):
    index = filled("#", "+/#", "+", "+/+", "$gateway/#")
    assert index.match(topic) == ("$gateway/#",)


def test_an_index_tells_what_it_holds():
    index = filled("a", "a/+", "a/#")
    assert len(index) == 3
    assert "a/+" in index
    assert "a/b" not in index
    assert "+/b" not in index
    assert (index.get("a"), index.get("a/#"), index.get("b"), index.get("b/#")) == ("a", "a/#", None, None)


def test_inserting_again_replaces_the_value():
    index = filled("a/+", "a/b")
    assert index.match("a/b") == ("a/+", "a/b")
    index.insert("a/+", "wild")
    index.insert("a/b", "exact")
    assert index.match("a/b") == ("wild", "exact")
    assert len(index) == 2


@pytest.mark.parametrize("topic_filter", ["a", "a/+", "a/#", "#", "a/+/c"])
def test_removing_what_is_not_there_is_a_key_error(topic_filter):
    index = filled("a/+/b", "b")
    with pytest.raises(KeyError):
        index.remove(topic_filter)
    assert len(index) == 2


def test_a_filter_costs_no_answer_that_it_cannot_change():
    index = filled("a/+", "b/#")
    topics = ["a/1", "a/2", "b", "b/1/2", "$gateway/x", "c"]
    for topic in topics:
        index.match(topic)
    before = index.statistics()
    for topic_filter in ["a/1/+", "+/3", "a/+/#", "c/+", "+/+/+/+", "d", "b/2", "$gateway/+/x"]:
        index.insert(topic_filter, topic_filter)
        if topic_filter != "a/+/#":
            index.remove(topic_filter)
    for topic in topics:
        index.match(topic)
    after = index.statistics()
    assert after.invalidated - before.invalidated == 2, "a/+/# matches a/1 and a/2, and nothing else anything"
    assert after.misses - before.misses == 2


def test_a_wide_filter_costs_all_but_what_it_does_not_match():
    index = filled("a")
    for topic in ["a", "a/b", "a/b/c", "$gateway/a"]:
        index.match(topic)
    index.insert("#", "#")
    assert index.match("$gateway/a") == ()
    assert index.statistics().invalidated == 0
    assert index.match("a") == ("#", "a")
    assert index.statistics().invalidated == 1


def test_an_answer_that_was_not_checked_for_very_many_changes_is_worked_out_again():
    index = filled("a/#")
    assert index.match("a/b") == ("a/#",)
    for number in range(filter_index.CHANGED_NODES // 2 + 2):
        index.insert(f"x/{number}/+", "x")
    assert index.match("a/b") == ("a/#",)
    assert index.statistics().invalidated == 1
    assert index._changes._filters.nodes <= filter_index.CHANGED_NODES + 32


def test_the_topic_cached_first_goes_first():
    index = filled("#", cached_topics=3)
    for topic in "abcd":
        index.match(topic)
    for topic in "bcd":
        index.match(topic)
    statistics = index.statistics()
    assert (statistics.cached_topics, statistics.evicted, statistics.misses) == (3, 1, 4)


def test_equal_answers_are_one_tuple():
    index = filled("a/#", "+/b/#", "a/+/c", "#")
    answers = [index.match(f"a/b/{last}") for last in "xyz"]
    assert answers[0] is answers[1] is answers[2]
    assert len(answers[0]) == 3
    assert index.statistics().distinct_answers == 1
    index.remove("#")
    answers = [index.match(f"a/b/{last}") for last in "xyz"]
    assert answers[0] is answers[1] is answers[2]
    assert len(answers[0]) == 2
    assert index.statistics().distinct_answers == 1


def test_the_order_of_an_answer_is_fixed_by_its_filters():
    levels = ["a", "b", "+"]
    plain = ["/".join(c) for n in (1, 2, 3) for c in itertools.product(levels, repeat=n)]
    index = filled(*plain, *(f"{p}/#" for p in plain), "#")
    topics = ["/".join(c) for n in (1, 2, 3, 4) for c in itertools.product("abc", repeat=n)]
    answers: dict[frozenset[str], tuple[str, ...]] = {}
    for topic in topics:
        answer = index.match(topic)
        assert answers.setdefault(frozenset(answer), answer) == answer


def test_nothing_is_left_when_all_filters_are_gone():
    def nodes() -> int:
        gc.collect()
        return sum(isinstance(thing, filter_trie.Node) for thing in gc.get_objects())

    before = nodes()
    index = filled()
    filters = ["a/b/c/+", "a/b/#", "+/b/c", "#", "+", "+/#", "a/+/+/+/#", "a/b/+", "/#", "/+/"]
    for topic_filter in filters:
        index.insert(topic_filter, topic_filter)
    for topic_filter in filters:
        assert index.remove(topic_filter) == topic_filter
        assert topic_filter not in index
    assert index._wildcards.nodes == 0
    index._changes = filter_index.Changes()
    assert nodes() == before + 2, "the roots alone"
    assert len(index) == 0
    assert index.match("a/b") == ()


def test_a_deep_filter_is_no_problem():
    topic_filter = "+/" * 5000 + "#"
    index = filled(topic_filter)
    assert index.match("/".join("a" * 5000)) == (topic_filter,)
    index.remove(topic_filter)
    assert len(index) == 0


def test_a_cache_holds_at_least_one_topic():
    with pytest.raises(ValueError, match="at least 1"):
        FilterIndex(cached_topics=0)


names = st.sampled_from(["", "a", "b", "$s"])
topics = st.lists(names, min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(names | st.just("+"), max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)


class IndexModel(RuleBasedStateMachine):
    """Inserts, removes and matches in any order, against a dictionary and `matches`."""

    @initialize(
        cached_topics=st.integers(1, 6),
        cached_bytes=st.sampled_from([1, 1500, 1 << 20]),
        nodes=st.sampled_from([1, 4, 1 << 20]),
    )
    def build(self, cached_topics: int, cached_bytes: int, nodes: int) -> None:
        self.bound, self.cached_bytes = cached_topics, cached_bytes
        self.patch = mock.patch.object(filter_index, "CHANGED_NODES", nodes)
        self.patch.start()
        self.index: FilterIndex[int] = FilterIndex(cached_topics=cached_topics, cached_bytes=cached_bytes)
        self.model: dict[str, int] = {}
        self.values = itertools.count()

    def teardown(self) -> None:
        self.patch.stop()

    @rule(topic_filter=filters)
    def insert(self, topic_filter: str) -> None:
        self.model[topic_filter] = next(self.values)
        self.index.insert(topic_filter, self.model[topic_filter])

    @rule(topic_filter=filters)
    def remove(self, topic_filter: str) -> None:
        if topic_filter in self.model:
            assert self.index.remove(topic_filter) == self.model.pop(topic_filter)
        else:
            with pytest.raises(KeyError):
                self.index.remove(topic_filter)

    @rule(data=st.data())
    def remove_one_that_is_there(self, data: st.DataObject) -> None:
        if self.model:
            self.remove(data.draw(st.sampled_from(sorted(self.model))))

    @rule(wanted=st.lists(topics, max_size=8))
    def match(self, wanted: list[str]) -> None:
        for topic in wanted:
            answer = self.index.match(topic)
            assert sorted(answer) == sorted(v for f, v in self.model.items() if matches(f, topic))
            assert self.index.match(topic) is answer

    @rule(topic_filter=filters, wanted=st.lists(topics, max_size=6, unique=True))
    def a_change_costs_only_what_it_concerns(self, topic_filter: str, wanted: list[str]) -> None:
        for topic in wanted:
            self.index.match(topic)
        begun = self.index._changes._begun
        self.insert(topic_filter)
        if self.index._changes._begun != begun:
            return
        kept = [t for t in wanted if t in self.index._cache.answers and not matches(topic_filter, t)]
        before = self.index.statistics()
        for topic in kept:
            self.index.match(topic)
        after = self.index.statistics()
        assert after.misses == before.misses

    @invariant()
    def it_says_what_it_holds(self) -> None:
        statistics = self.index.statistics()
        assert len(self.index) == statistics.filters == len(self.model)
        assert statistics.cached_topics <= self.bound
        assert statistics.cached_bytes <= self.cached_bytes or statistics.cached_topics == 1
        assert {f: self.index.get(f) for f in self.model} == self.model
        assert all(f in self.index for f in self.model)

    @invariant()
    def equal_answers_are_one(self) -> None:
        answers = [each.answer for each in self.index._cache.answers.values() if each.answer]
        assert len({id(answer) for answer in answers}) == len(set(answers))
        assert self.index.statistics().distinct_answers == len(set(answers))


IndexModel.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestIndexModel = IndexModel.TestCase


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
