"""A trie of filters against a plain dictionary, and what it never keeps or visits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.topics.filter_trie import ABSENT, ALWAYS_LEVELS, FilterTrie, Shapes, shape_of
from gateway.core.topics.grammar import matches

LEVELS = st.sampled_from(["a", "b", "", "+", "$x"])
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(LEVELS, max_size=4),
    st.sampled_from([[], ["#"]]),
).filter(bool)
TOPICS = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=5).map("/".join).filter(bool)


def parts(topic_filter: str) -> set[tuple[str, ...]]:
    """The beginnings of a filter that need a node; ``#`` stands in the one before it."""
    levels = topic_filter.split("/")
    if levels[-1] == "#":
        levels.pop()
    return {tuple(levels[: end + 1]) for end in range(len(levels))}


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.trie: FilterTrie[int] = FilterTrie()
        self.held: dict[str, int] = {}

    @rule(topic_filter=FILTERS, value=st.integers(0, 3))
    def insert(self, topic_filter: str, value: int) -> None:
        self.trie.insert(topic_filter, value)
        self.held[topic_filter] = value

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.held:
            topic_filter = data.draw(st.sampled_from(sorted(self.held)))
            assert self.trie.remove(topic_filter) == self.held.pop(topic_filter)

    @rule(topic_filter=FILTERS)
    def find(self, topic_filter: str) -> None:
        assert self.trie.find(topic_filter) == self.held.get(topic_filter, ABSENT)

    @rule(topic_filter=FILTERS)
    def remove_what_is_not_there(self, topic_filter: str) -> None:
        if topic_filter not in self.held:
            with pytest.raises(KeyError):
                self.trie.remove(topic_filter)

    @rule(topic=TOPICS)
    def match(self, topic: str) -> None:
        wanted = [value for each, value in self.held.items() if matches(each, topic)]
        assert sorted(self.trie.match(topic)) == sorted(wanted)

    @rule(topic=TOPICS)
    def the_order_is_decided_by_the_filters_alone(self, topic: str) -> None:
        again: FilterTrie[int] = FilterTrie()
        for each in sorted(self.held, reverse=True):
            again.insert(each, self.held[each])
        assert again.match(topic) == self.trie.match(topic)

    @invariant()
    def nothing_is_kept_that_no_filter_needs(self) -> None:
        assert self.trie.filters == len(self.held)
        assert self.trie.nodes == len(set().union(*map(parts, self.held)))
        assert self.trie.root.is_empty() == (not self.held)


TestFilterTrie = Model.TestCase
TestFilterTrie.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_match_visits_no_node_that_the_topic_contradicts() -> None:
    trie: FilterTrie[int] = FilterTrie()
    for number in range(1000):
        trie.insert(f"sensor/{number}/state", number)
    assert trie.match("sensor/7/state") == [7]
    assert trie.visited <= 4
    trie.match("other/7/state")
    assert trie.visited <= 5


LEVELS = st.sampled_from(["a", "b", "+"])
MOST = 24


def filters(least: int, most: int) -> st.SearchStrategy[str]:
    return st.builds(
        lambda levels, rest: "/".join([*levels, *rest]),
        st.lists(LEVELS, min_size=least, max_size=most),
        st.sampled_from([[], ["#"]]),
    )


LONG = filters(ALWAYS_LEVELS + 1, ALWAYS_LEVELS + 3)
ANY = filters(1, ALWAYS_LEVELS + 3)


def beginnings(held: list[str]) -> int:
    """How many different beginnings the filters of more than ``ALWAYS_LEVELS`` levels have in all."""
    found = set()
    for each in held:
        levels = ["+" if level == "+" else "" for level in each.removesuffix("/#").split("/")]
        if each.count("/") >= ALWAYS_LEVELS:
            found |= {tuple(levels[: end + 1]) for end in range(len(levels))}
    return len(found)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("a/+/c", "x/+/z", True),
        ("a/b/#", "c/d/#", True),
        ("a/b", "a/+", False),
        ("a/b/#", "a/b", False),
        ("a/b", "a/b/c", False),
    ],
)
def test_filters_are_of_one_shape_when_only_their_names_differ(one: str, other: str, alike: bool) -> None:
    assert (shape_of(one) == shape_of(other)) is alike


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shapes = Shapes(MOST)
        self.held: list[str] = []

    @rule(topic_filter=ANY)
    def come(self, topic_filter: str) -> None:
        admitted = self.shapes.admit(topic_filter)
        assert admitted == (beginnings([*self.held, topic_filter]) <= MOST)
        if admitted:
            self.shapes.add(topic_filter)
            self.held.append(topic_filter)

    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        if self.held:
            gone = data.draw(st.sampled_from(self.held))
            self.held.remove(gone)
            self.shapes.remove(gone)

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        assert self.shapes.beginnings == beginnings(self.held) <= MOST


TestShapes = Model.TestCase
TestShapes.settings = settings(max_examples=60, stateful_step_count=40)


@given(filters(1, ALWAYS_LEVELS - 1))
def test_short_filters_come_however_little_is_left(topic_filter: str) -> None:
    shapes = Shapes(0)
    assert shapes.admit(topic_filter)
    shapes.add(topic_filter)
    assert shapes.beginnings == 0
    assert not shapes.admit("/".join("a" * (ALWAYS_LEVELS + 1)))


def test_without_a_budget_everything_comes() -> None:
    shapes = Shapes(None)
    assert all(shapes.admit("/".join("+" * number)) for number in range(1, 40))


@given(st.lists(LONG, max_size=40), st.lists(st.sampled_from("ab"), min_size=8, max_size=12).map("/".join))
def test_a_match_visits_no_more_nodes_than_the_shapes_have_beginnings(held: list[str], topic: str) -> None:
    shapes, trie = Shapes(10**6), FilterTrie[int]()
    for each in held:
        shapes.add(each)
        trie.insert(each, 1)
    trie.match(topic)
    assert trie.visited <= 1 + shapes.beginnings
