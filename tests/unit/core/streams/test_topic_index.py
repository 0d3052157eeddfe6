"""The index of topics against a plain list of publications."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.core.streams.topic_index import TopicIndex
from gateway.core.streams.topic_keys import topic_key
from gateway.core.topics.grammar import matches

LEVELS = st.sampled_from(["", "a", "b", "a.b", "é", "\U00010000", "\uffff", "$s"])
FEW = st.sampled_from(["a", "a/b", "b"])
TOPICS = FEW | st.lists(LEVELS, min_size=1, max_size=3).map("/".join).filter(bool)
FILTERS = st.one_of(
    FEW | st.sampled_from(["#", "a/#", "+"]),
    TOPICS,
    st.lists(LEVELS | st.just("+"), min_size=1, max_size=3).map("/".join).filter(bool),
    st.lists(LEVELS | st.just("+"), max_size=2).map(lambda levels: "/".join([*levels, "#"])),
)


class IndexMachine(RuleBasedStateMachine):
    """The model is a list of offset and topic."""

    def __init__(self) -> None:
        super().__init__()
        self.index = TopicIndex()
        self.kept: list[tuple[int, str]] = []
        self.values: dict[str, int] = {}
        self.first = 1
        self.last = 0

    @rule(topics=st.lists(TOPICS, max_size=30))
    def add(self, topics: list[str]) -> None:
        for topic in topics:
            self.last += 1
            self.index.add(topic, self.last)
            self.kept.append((self.last, topic))
            if topic in self.values:
                self.values[topic] = self.last

    @rule(topic=TOPICS)
    def keep(self, topic: str) -> None:
        newest = [offset for offset, other in self.kept if other == topic][-1:]
        if newest:
            self.values[topic] = newest[0]

    @rule(topic=TOPICS)
    def release(self, topic: str) -> None:
        if self.values.pop(topic, None) is not None:
            self.index.release(topic)

    @rule(count=st.integers(0, 20))
    def trim(self, count: int) -> None:
        gone, self.kept = self.kept[:count], self.kept[count:]
        if gone:
            self.first = gone[-1][0] + 1
            self.index.trim(self.first, (topic for _, topic in gone), keep=self.values)

    @rule(topic=TOPICS, share=st.floats(0, 1))
    def cut(self, topic: str, share: float) -> None:
        through = round(self.first + share * (self.last - self.first))
        self.index.cut(topic, through)
        self.kept = [each for each in self.kept if each[1] != topic or each[0] > through]
        if self.values.get(topic, through + 1) <= through:
            del self.values[topic]

    @property
    def topics(self) -> set[str]:
        return {topic for _, topic in self.kept} | set(self.values)

    @rule(filters=st.lists(FILTERS, max_size=3), ago=st.integers(0, 60), limit=st.integers(1, 20))
    def select(self, filters: list[str], ago: int, limit: int) -> None:
        after = max(0, self.last - ago)
        topics = self.index.matching(filters, 1000)
        assert topics is not None
        assert set(topics) == {each for each in self.topics if any(matches(one, each) for one in filters)}
        assert len(topics) == len(set(topics))
        found = [offset for offset, topic in self.kept if topic in topics]
        assert self.index.behind(topics, after, limit) == [each for each in found if each > after][:limit]
        assert self.index.newest(topics, limit) == (found[-limit] if len(found) >= limit else None)
        few = self.index.matching(filters, limit)
        assert few in (None, topics)
        assert few is not None or len(self.topics) * len(filters) > limit
        assert few is None or len(few) <= limit

    @rule(
        topic_filter=FILTERS, count=st.integers(1, 3), ago=st.integers(0, 40), span=st.integers(0, 40),
        limit=st.integers(1, 9),
    )  # fmt: skip
    def newest_of_each(self, topic_filter: str, count: int, ago: int, span: int, limit: int) -> None:
        through = max(0, self.last - ago)
        after = max(0, through - span)
        topics = self.index.matching([topic_filter], 1000)
        assert topics is not None
        expected: list[int] = []
        for topic in topics:
            expected += [offset for offset, other in self.kept if other == topic and offset <= through][
                -count:
            ]
        assert self.index.newest_of_each(topics, count, after=after, through=through, limit=limit) == [
            each for each in sorted(expected) if each > after
        ][:limit]  # fmt: skip

    @rule(topic_filter=FILTERS, limit=st.integers(1, 5), looks=st.integers(1, 12))
    def pages(self, topic_filter: str, limit: int, looks: int) -> None:
        found: list[str] = []
        after: str | None = None
        while True:
            page = self.index.page(topic_filter, after, limit, looks)
            assert len(page.topics) <= limit
            found += page.topics
            if page.next is None:
                break
            assert after is None or topic_key(page.next) > topic_key(after), "a page leads on"
            after = page.next
        assert found == sorted((each for each in self.topics if matches(topic_filter, each)), key=topic_key)

    @invariant()
    def it_holds_what_is_kept_and_no_more(self) -> None:
        assert len(self.index) == len(self.topics)
        for topic in self.topics:
            offsets = [offset for offset, other in self.kept if other == topic]
            value = self.values.get(topic)
            assert self.index.ends(topic) == ((offsets[0], offsets[-1]) if offsets else (value, value))
            assert list(self.index.offsets(topic, self.last, 3)) == [e for e in offsets if e < self.last][:3]
        held = sum(len(each) for each in self.index._offsets.values())
        assert held <= 2 * len(self.kept) + len(self.topics)


def test_an_index_finds_what_a_scan_finds() -> None:
    run_state_machine_as_test(
        IndexMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )


@given(st.sets(TOPICS))
def test_nothing_is_left_of_topics_that_went(topics: set[str]) -> None:
    index = TopicIndex()
    for offset, topic in enumerate(sorted(topics), 1):
        index.add(topic, offset)
    index.trim(len(topics) + 1, topics)
    assert len(index) == 0
    assert not index._keys
    assert index.matching(["#", "$s/#"], 10) == []


def test_topics_come_and_go_without_a_trace() -> None:
    index = TopicIndex()
    for offset in range(1, 20_001):
        index.add(f"jobs/{offset}", offset)
        if offset > 100:
            index.trim(offset - 99, [f"jobs/{offset - 100}"])
    assert len(index) == len(index._keys) == 100
    assert sum(len(each) for each in index._keys._lists) == 100
    assert len(index._keys._lists) == 1


def test_a_busy_topic_costs_what_it_keeps() -> None:
    index = TopicIndex()
    sizes = []
    for offset in range(1, 50_001):
        index.add("a", offset)
        if offset > 1000:
            index.trim(offset - 999, ["a"])
            sizes.append(len(index._offsets["a"]))
    assert max(sizes) <= 2001
    assert sum(after < before for before, after in pairwise(sizes)) < 60, "it is cut now and then"


def test_work_is_bounded_by_the_limit() -> None:
    index = TopicIndex()
    for offset in range(1, 101):
        index.add(f"{offset}/x", offset)
    assert index.matching(["+/x"], 99) is None
    assert index.matching(["+/y"], 99) is None
    assert index.matching(["+/y"], 201) == []
    assert index.matching(["1/x", "2/x", "3/y"], 2) == ["1/x", "2/x"]
    assert index.matching(["1/x", "2/x", "3/x"], 2) is None
    page = index.page("+/y", None, 10, 5)
    assert page.topics == []
    assert page.next is not None
