"""Reading by topic against a scan of a list, whatever was appended, trimmed, purged and opened again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.pages import PURGED
from gateway.core.streams.topic_keys import topic_key
from gateway.core.topics.grammar import matches
from gateway.streams.base import Dedupe
from tests.conformance.store_contenders import CONTENDERS, Contender, until
from tests.patience import HANG_SECONDS
from tests.purging import purge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.core.streams.pages import Hole
    from gateway.streams.base import Store

LONG = 1e6
"""Of keys the model forgets none, however much time passes in an example."""

CONFIGURATIONS = {
    "plain": StreamConfiguration("plain", "plain/#", last_values=True, dedupe_window=LONG),
    "few": StreamConfiguration(
        "few", "few/#", max_messages=6, last_values=True, last_values_max_topics=4, dedupe_window=LONG
    ),
    "small": StreamConfiguration("small", "small/#", max_bytes=500, dedupe_window=LONG),
    "young": StreamConfiguration(
        "young",
        "young/#",
        max_age=10,
        max_messages=20,
        dedupe_window=LONG,
        last_values=True,
        last_values_max_age=20,
    ),
}
STREAMS = st.sampled_from(sorted(CONFIGURATIONS))
LEVELS = st.sampled_from(["", "a", "b", "a.b", "é", "\U00010000"])
FEW = st.sampled_from(["a", "a/b", "b", "$a/b"])
TOPICS = st.one_of(
    FEW,
    st.lists(LEVELS, min_size=1, max_size=3).map("/".join).filter(bool),
)
FILTERS = st.one_of(
    FEW | st.sampled_from(["#", "+", "a/#", "+/b", "+/#", "$a/#", "$a/+"]),
    TOPICS,
    st.lists(LEVELS | st.just("+"), max_size=2).map(lambda levels: "/".join([*levels, "#"])),
    st.lists(LEVELS | st.just("+"), min_size=1, max_size=3).map("/".join).filter(bool),
)
PAGES = st.integers(1, 9) | st.just(1000)


@dataclass
class Kept:
    offset: int
    topic: str
    id: str
    time: int
    size: int
    deleted: bool


@dataclass
class Model:
    """One stream, plainly: what is kept, by offset, and what was purged; and each topic's last value."""

    configuration: StreamConfiguration
    first: int = 1
    last: int = 0
    time: int = 0
    kept: list[Kept] = field(default_factory=list)
    purged: set[int] = field(default_factory=set)
    values: dict[str, Kept] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.kept)

    @property
    def topics(self) -> set[str]:
        return {each.topic for each in self.kept} | set(self.values)

    def append(self, publication: Publication, key: str | None) -> int:
        if key is not None and key in self.keys:
            return self.keys[key]
        self.last += 1
        size = len(encode_record(publication))
        kept = Kept(self.last, publication.topic, publication.id, self.time, size, publication.deleted)
        self.kept.append(kept)
        if key is not None:
            self.keys[key] = self.last
        if self.configuration.last_values:
            self.values.pop(kept.topic, None)
            if not kept.deleted:
                self.values[kept.topic] = kept
        self.trim()
        return self.last

    def trim(self) -> None:
        limits = self.configuration
        kept = self.kept
        while len(kept) > 1 and (len(kept) > limits.max_messages or self.bytes > limits.max_bytes):
            self.first = kept.pop(0).offset + 1
        while kept and self.time - kept[0].time > limits.max_age * 1000:
            self.first = kept.pop(0).offset + 1
        values = sorted(self.values.values(), key=lambda each: each.offset)
        for place, each in enumerate(values):
            old = 0 < limits.last_values_max_age * 1000 < self.time - each.time
            if old or place < len(values) - limits.last_values_max_topics:
                del self.values[each.topic]
        self.purged = {offset for offset in self.purged if offset >= self.first}

    def is_told(self, first: int) -> None:
        """Follow the store where holes may count as kept publications or not, and may lead the log or not."""
        latest = max([self.first, *(each.offset for each in self.kept[-1:])])
        latest = min(latest, max(self.first, self.last + 1 - self.configuration.max_messages))
        latest = min((each.offset for each in self.kept if each.offset >= latest), default=self.last + 1)
        assert self.first <= first <= (latest if self.purged else self.first)
        self.first = first
        self.kept = [each for each in self.kept if each.offset >= first]
        self.purged = {offset for offset in self.purged if offset >= first}

    def measure(self, topic_filter: str, before: int) -> tuple[int, int, int | None, int | None]:
        sizes = {
            each.offset: each.size
            for each in (*self.kept, *self.values.values())
            if matches(topic_filter, each.topic) and each.offset < before
        }
        return len(sizes), sum(sizes.values()), min(sizes, default=None), max(sizes, default=None)

    def purge(self, topic_filter: str, before: int) -> int:
        gone = {
            each.offset
            for each in (*self.kept, *self.values.values())
            if matches(topic_filter, each.topic) and each.offset < before
        }
        self.purged |= {each.offset for each in self.kept if each.offset in gone}
        self.kept = [each for each in self.kept if each.offset not in gone]
        self.values = {topic: each for topic, each in self.values.items() if each.offset not in gone}
        return len(gone)

    def matching(self, *filters: str, after: int = 0, through: int | None = None) -> list[Kept]:
        end = self.last if through is None else through
        return [
            each
            for each in self.kept
            if after < each.offset <= end and any(matches(one, each.topic) for one in filters)
        ]


def together(holes: Iterable[Hole]) -> list[int]:
    return [offset for each in holes for offset in range(each.first, each.last + 1)]


class TopicsMachine(RuleBasedStateMachine):
    """Time is the model's where the contender's stands still, and isn't looked at elsewhere."""

    def __init__(self, contender: Contender) -> None:
        super().__init__()
        self.contender = contender
        self.runner = asyncio.Runner()
        self.models = {name: Model(each) for name, each in CONFIGURATIONS.items()}
        self.passed = 0
        self.number = 0
        self.store: Store = contender.make(CONFIGURATIONS.values())

    def run(self, awaited: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(2 * HANG_SECONDS):
                return await awaited

        return self.runner.run(bounded())

    @initialize()
    def start(self) -> None:
        self.run(self.store.start())

    def teardown(self) -> None:
        try:
            self.run(self.store.stop())
        finally:
            self.runner.close()

    @rule(
        stream=STREAMS,
        items=st.lists(st.tuples(TOPICS, st.integers(0, 60), st.none() | st.sampled_from("ab")), max_size=12),
    )
    def append(self, stream: str, items: list[tuple[str, int, str | None]]) -> None:
        """Many publishers at once."""
        expected, appends = [], []
        model = self.models[stream]
        for topic, length, key in items:
            self.number += 1
            publication = Publication(topic, f"m{self.number}", 0, b'"%b"' % (b"x" * length))
            model.time = self.passed
            expected.append(model.append(publication, key))
            appends.append((stream, publication, Dedupe(key, b"f") if key else None))

        async def appended() -> list[Any]:
            return await asyncio.gather(*(self.store.append(*each) for each in appends))

        assert [each.offset for each in self.run(appended())] == expected

    @rule(stream=STREAMS, topics=st.lists(TOPICS, min_size=1, max_size=3))
    def end_values(self, stream: str, topics: list[str]) -> None:
        # One by one: what else went to make room for a value that ends at once is a store's own business.
        model = self.models[stream]
        model.time = self.passed
        for topic in topics:
            self.number += 1
            publication = Publication(topic, f"m{self.number}", 0, deleted=True)
            offset = model.append(publication, None)
            answer = self.run(self._append(stream, publication))
            assert answer.offset == offset

    async def _append(self, stream: str, publication: Publication) -> Any:
        return await self.store.append(stream, publication)

    @rule(stream=STREAMS, topic_filter=FILTERS, ago=st.none() | st.integers(-2, 30))
    def purge(self, stream: str, topic_filter: str, ago: int | None) -> None:
        model = self.models[stream]
        before = None if ago is None else max(1, model.last + 1 - ago)
        end = model.last + 1 if before is None else before
        would = model.measure(topic_filter, end)
        expected = model.purge(topic_filter, end)
        extent = self.run(self.store.measure(stream, topic_filter, before))
        assert (extent.messages, extent.bytes, extent.first, extent.last) == would
        assert self.run(purge(self.store, stream, topic_filter, before)) == expected

    @precondition(lambda self: self.contender.began is not None)
    @rule(seconds=st.sampled_from([0.001, 5, 10, 10.001, 20.001]))
    def pass_time(self, seconds: float) -> None:
        """Without anybody appending, what is too old goes."""
        self.run(self.contender.pass_time(seconds))
        self.passed += round(seconds * 1000)
        model = self.models["young"]
        model.time = self.passed
        model.trim()

        async def trimmed() -> bool:
            bounds = await self.store.bounds("young")
            page = await self.store.snapshot("young", "#", 0, None, messages=1000)
            others = await self.store.snapshot("young", "$a/#", 0, None, messages=1000)
            values = len(page.publications) + len(others.publications)
            return bounds.first >= model.first and values == len(model.values)

        self.run(until(trimmed))

    @precondition(lambda self: self.contender.durable)
    @rule()
    def open_again(self) -> None:
        self.run(self.store.stop())
        self.store = self.contender.make(CONFIGURATIONS.values())
        self.run(self.store.start())

    @rule(stream=STREAMS, ago=st.integers(0, 40), messages=PAGES)
    def read(self, stream: str, ago: int, messages: int) -> None:
        model = self.models[stream]
        after = max(0, model.last - ago)
        begin = max(after + 1, model.first)
        page = self.run(self.store.read(stream, after, messages=messages))
        assert page.last or begin > model.last, "a page leads on"
        self.compare(page.publications, model.matching("#", "$a/#", after=after, through=page.last))
        if page.last:
            assert together(page.holes) == [
                each for each in sorted(model.purged) if begin <= each <= page.last
            ]
        assert all(each.reason == PURGED for each in page.holes)

    @rule(
        stream=STREAMS, filters=st.lists(FILTERS, min_size=1, max_size=3), ago=st.integers(0, 60),
        messages=PAGES, size=st.integers(1, 2000),
    )  # fmt: skip
    def select(self, stream: str, filters: list[str], ago: int, messages: int, size: int) -> None:
        model = self.models[stream]
        after = max(0, model.last - ago)
        while True:
            page = self.run(self.store.select(stream, filters, after, messages=messages, size=size))
            begin = max(after + 1, model.first)
            self.compare(page.publications, model.matching(*filters, after=after, through=page.through))
            assert together(page.holes) == [e for e in sorted(model.purged) if begin <= e <= page.through]
            assert all(each.reason == PURGED for each in page.holes)
            assert len(page.publications) <= messages
            sizes = {each.offset: each.size for each in model.kept}
            assert sum(sizes[each.offset] for each in page.publications[:-1]) <= size
            if page.through >= model.last:
                break
            assert page.through >= begin, "a page leads on"
            after = page.through

    @rule(stream=STREAMS, topic_filter=FILTERS, count=st.integers(1, 10))
    def before_newest(self, stream: str, topic_filter: str, count: int) -> None:
        model = self.models[stream]
        before = self.run(self.store.before_newest(stream, topic_filter, count))
        found = model.matching(topic_filter)
        assert model.first - 1 <= before <= model.last
        assert [each for each in found if each.offset > before] == found[-count:]

    @rule(
        stream=STREAMS, topic_filter=FILTERS, count=st.integers(1, 4), ago=st.integers(0, 20),
        messages=PAGES, size=st.integers(1, 2000),
    )  # fmt: skip
    def newest_by_topic(
        self, stream: str, topic_filter: str, count: int, ago: int, messages: int, size: int
    ) -> None:
        model = self.models[stream]
        through = max(0, model.last - ago)
        by_topic: dict[str, list[Kept]] = {}
        for each in model.matching(topic_filter, through=through):
            by_topic.setdefault(each.topic, []).append(each)
        expected = [each for group in by_topic.values() for each in group[-count:]]

        async def page(after: int) -> Any:
            return await self.store.newest_by_topic(
                stream, topic_filter, count, after, through, messages=messages, size=size
            )

        self.compare(self.pages(page, through), expected)

    @rule(stream=STREAMS, topic_filter=FILTERS, limit=st.integers(1, 5))
    def topics(self, stream: str, topic_filter: str, limit: int) -> None:
        model = self.models[stream]
        found: list[Any] = []
        after = None
        while True:
            page = self.run(self.store.topics(stream, topic_filter, after=after, limit=limit))
            found += page.topics
            if page.next is None:
                break
            after = page.next
        expected = []
        for topic in sorted(model.topics, key=topic_key):
            if matches(topic_filter, topic):
                own = [each for each in model.kept if each.topic == topic] or [model.values[topic]]
                expected.append((topic, own[0].offset, own[-1].offset, topic in model.values))
        assert [(each.topic, each.first, each.last, each.last_value) for each in found] == expected

    @rule(
        stream=STREAMS,
        topic_filter=FILTERS,
        ago=st.integers(0, 20),
        messages=PAGES,
        size=st.integers(1, 2000),
    )
    def snapshot(self, stream: str, topic_filter: str, ago: int, messages: int, size: int) -> None:
        model = self.models[stream]
        through = max(0, model.last - ago)

        async def page(after: int) -> Any:
            return await self.store.snapshot(
                stream, topic_filter, after, through, messages=messages, size=size
            )

        values = [each for each in model.values.values() if matches(topic_filter, each.topic)]
        self.compare(self.pages(page, through), [each for each in values if each.offset <= through])

    @rule(stream=STREAMS, topic=TOPICS)
    def last_value(self, stream: str, topic: str) -> None:
        model = self.models[stream]
        bounds, value = self.run(self.store.last_value(stream, topic))
        assert bounds.last == model.last
        self.compare([value] if value else [], [model.values[topic]] if topic in model.values else [])

    @invariant()
    def bounds_and_sizes_are_the_models(self) -> None:
        for name, model in self.models.items():
            told = self.run(self.store.describe(name))
            assert told.bounds.last == model.last
            model.is_told(told.bounds.first)
            assert told.bytes == model.bytes
            if told.topics is not None:
                assert (told.topics, told.last_values) == (len(model.topics), len(model.values))

    def pages(self, read: Callable[[int], Awaitable[Any]], through: int) -> list[Publication]:
        found: list[Publication] = []
        after = 0
        while after < through:
            page = self.run(read(after))
            assert all(after < each.offset <= page.through for each in page.publications)
            assert page.through > after, "a page leads on"
            found += page.publications
            after = page.through
        return found

    def compare(self, found: Sequence[Publication], expected: Iterable[Kept]) -> None:
        expected = sorted(expected, key=lambda each: each.offset)
        assert [(each.offset, each.topic, each.id, each.deleted) for each in found] == [
            (each.offset, each.topic, each.id, each.deleted) for each in expected
        ]
        if (began := self.contender.began) is not None:
            assert [each.time for each in found] == [began + each.time for each in expected]


@pytest.fixture(params=CONTENDERS)
def make_contender(request: pytest.FixtureRequest) -> Callable[[], Contender]:
    return lambda: CONTENDERS[request.param](request)


def test_a_store_finds_by_topic_what_a_scan_finds(make_contender: Callable[[], Contender]) -> None:
    run_state_machine_as_test(
        lambda: TopicsMachine(make_contender()),
        settings=settings(max_examples=30, stateful_step_count=30, deadline=None),
    )
