"""Groups beside a list of what became of everything, whatever fails, is trimmed, opened again or killed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
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

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.topics.grammar import matches
from gateway.errors import StoreFull
from tests.conformance.store_contenders import CONTENDERS, WITH_CLOCKS, Contender
from tests.patience import HANG_SECONDS
from tests.purging import purge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.streams.base import Store
    from gateway.streams.groups.base import Lease

STREAM = StreamConfiguration("s", "s/#", max_messages=25)
EARLIEST = Start(StartKind.EARLIEST)
PLAIN = GroupConfiguration("plain", start=EARLIEST, ack_wait=10.0, max_deliver=3, backoff=(1.0, 5.0))
GROUPS = (
    PLAIN,
    GroupConfiguration("some", "s/a/#", EARLIEST, 10.0, 2, (), max_in_flight=3),
    GroupConfiguration("keyed", "#", EARLIEST, 10.0, 3, (1.0,), ordered_by_key=True),
    GroupConfiguration("held", "#", EARLIEST, 10.0, 2, (1.0,), ordered_by_key=True, hold_on_dead=True),
    GroupConfiguration("fair", "#", EARLIEST, 10.0, 3, (1.0,), fair_by="level:2", dead_max_messages=3),
    GroupConfiguration("changing", "#", EARLIEST, 10.0, 3, (1.0,)),
)
KEEPING = GroupConfiguration("keeping", "s/a/#", EARLIEST, 10.0, 3, (1.0,), keep_unacked=True)
TOPICS = st.sampled_from(["s/a/x", "s/a/y", "s/b/x", "s/c"])
FILTERS = st.sampled_from(["#", "s/a/#", "s/+/x", "s/c"])
KEYS = st.sampled_from([None, "k", "l"])
MEMBERS = st.sampled_from(["anne", "bert", "cleo"])


@dataclass
class Held:
    """One lease, as it was given."""

    lease: Lease
    member: str
    deadline: int


@dataclass
class Model:
    """What a group promised.

    Attributes:
        leases: that run, as far as is known, by offset.
        done: what was acknowledged, for good.
        failed: how often each one has failed since it was new, or sent back.
        dead: what must be a dead letter, or was one that had to make room.
        sent_back: what was one, and goes on whatever retention takes.
        gone: what was removed or lost, which nobody gets any more.
        out_before: what was leased as settings changed: it waits for nobody of its key.
    """

    configuration: GroupConfiguration
    leases: dict[int, Held] = field(default_factory=dict)
    stale: list[Lease] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    failed: dict[int, int] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    sent_back: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    purged: set[int] = field(default_factory=set)
    out_before: set[int] = field(default_factory=set)

    def end(self, offset: int) -> None:
        self.stale.append(self.leases.pop(offset).lease)

    def fail(self, offset: int, first: int, *, dead: bool = False) -> None:
        self.end(offset)
        self.failed[offset] = self.failed.get(offset, 0) + 1
        if dead or self.failed[offset] >= self.configuration.max_deliver:
            if offset >= first or offset in self.sent_back:
                self.dead.add(offset)
                self.sent_back.discard(offset)
            else:
                self.gone.add(offset)


class GroupsMachine(RuleBasedStateMachine):
    """Members of several groups of one stream."""

    def __init__(self, contender: Contender) -> None:
        super().__init__()
        self.contender = contender
        self.runner = asyncio.Runner()
        self.store: Store = contender.make([STREAM])
        self.published: list[Publication] = []
        self.models: dict[str, Model] = {}
        self.first = 1
        self.now = contender.began or 0

    def run(self, awaited: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(2 * HANG_SECONDS):
                return await awaited

        return self.runner.run(bounded())

    @initialize(keeping=st.booleans())
    def start(self, keeping: bool) -> None:
        self.run(self.store.start())
        for each in (*GROUPS, *([KEEPING] if keeping else [])):
            self.run(self.store.groups.put("s", each))
            self.models[each.name] = Model(each)

    def teardown(self) -> None:
        """In the end everything is acknowledged by someone, dead, or known to be lost."""
        try:
            if self.models:
                self.finish()
        finally:
            self.run(self.store.stop())
            self.runner.close()

    def finish(self) -> None:
        self.change_settings(ordered=True, hold=False, fair_by="", paused=False)
        for name, model in self.models.items():
            for _ in range(6):
                self.pass_time(100.0)
                for _ in range(len(self.published) + 5):
                    given = self.take(name, "last", 50)
                    if not given:
                        break
                    leases = [each.lease for each in given]
                    assert all(self.run(self.store.groups.acknowledge("s", name, leases)))
                    for each in leases:
                        model.end(each.offset)
                        model.done.add(each.offset)
                self.run(self.store.groups.discard("s", name))
            told = self.run(self.store.groups.figures("s", name))
            assert (told.depth, told.in_flight, told.dead) == (0, 0, 0)
            wanted = {each.offset for each in self.published if self.wants(model, each)}
            left = wanted - model.done - model.dead
            # What nobody has finished was purged or lost, and lost is counted.
            assert left <= {each for each in wanted if each < self.first} | model.purged
            assert told.lost == len(left - model.purged), (name, told.lost, left, model.purged)

    def wants(self, model: Model, publication: Publication) -> bool:
        return matches(model.configuration.filter, publication.topic)

    async def _bounds(self) -> None:
        bounds = await self.store.bounds("s")
        self.first = bounds.first

    @rule(topics=st.lists(st.tuples(TOPICS, KEYS, st.sampled_from([None, None, None, 4000])), max_size=6))
    def publish(self, topics: list[tuple[str, str | None, int | None]]) -> None:
        for topic, key, delay in topics:
            publication = Publication(topic, "m", 0, b"1", key=key, delay=delay)

            async def append(publication: Publication = publication) -> Any:
                return await self.store.append("s", publication)

            try:
                self.run(append())
            except StoreFull:
                assert "keeping" in self.models
                assert len(self.published) + 1 - self.first >= STREAM.max_messages - len(
                    self.models["plain"].purged
                )
                continue
            self.published.append(publication)
            assert publication.offset == len(self.published)
        self.run(self._bounds())

    @rule(name=st.sampled_from([each.name for each in GROUPS]), member=MEMBERS, count=st.integers(1, 8))
    def take_some(self, name: str, member: str, count: int) -> None:
        self.take(name, member, count)

    @precondition(lambda self: "keeping" in self.models)
    @rule(member=MEMBERS, count=st.integers(1, 8))
    def take_kept(self, member: str, count: int) -> None:
        self.take("keeping", member, count)

    def take(self, name: str, member: str, count: int) -> list[Any]:
        model = self.models[name]
        taken = self.run(self.store.groups.take("s", name, [member] * count))
        self.expire(model)
        for each in taken.deliveries:
            offset = each.lease.offset
            assert offset not in model.leases, "two leases at once"
            assert offset not in model.done, "acknowledged, and given again"
            assert offset not in model.dead | model.gone | model.purged
            assert each.publication.topic == self.published[offset - 1].topic
            assert self.wants(model, each.publication)
            assert each.attempt == model.failed.get(offset, 0) + 1
            assert each.publication.time + (each.publication.delay or 0) <= self.now, "before its time"
            assert each.lease not in model.stale
            assert all(each.lease.fence > old.fence for old in model.stale if old.offset == offset)
            self.check_key(model, offset)
            model.leases[offset] = Held(each.lease, member, each.deadline)
        assert len(model.leases) <= model.configuration.max_in_flight
        assert not (taken.deliveries and model.configuration.paused)
        return list(taken.deliveries)

    def check_key(self, model: Model, offset: int) -> None:
        key = self.published[offset - 1].key
        if model.configuration.ordered_by_key and key is not None:
            others = [each for each in model.leases if self.published[each - 1].key == key]
            assert model.out_before.issuperset(others) or offset in model.out_before, "two of a key"

    @rule(
        ordered=st.booleans(),
        hold=st.booleans(),
        fair_by=st.sampled_from(["", "key", "level:2"]),
        paused=st.booleans(),
    )
    def change_settings(self, ordered: bool, hold: bool, fair_by: str, paused: bool) -> None:
        model = self.models["changing"]
        model.configuration = replace(
            model.configuration, ordered_by_key=ordered, hold_on_dead=hold, fair_by=fair_by, paused=paused
        )
        assert not self.run(self.store.groups.put("s", model.configuration))
        model.out_before |= model.leases.keys()

    def expire(self, model: Model) -> None:
        for offset, held in list(model.leases.items()):
            if held.deadline <= self.now:
                model.fail(offset, self.first)

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        name, offsets = self.some_leases(data)
        if name:
            model = self.models[name]
            leases = [model.leases[each].lease for each in offsets]
            answers = self.run(self.store.groups.acknowledge("s", name, leases))
            for offset, answer in zip(offsets, answers, strict=True):
                assert answer
                model.end(offset)
                model.done.add(offset)

    @rule(data=st.data(), delay=st.sampled_from([None, 0, 2000]), dead=st.booleans())
    def reject(self, data: st.DataObject, delay: int | None, dead: bool) -> None:
        name, offsets = self.some_leases(data)
        if name:
            model = self.models[name]
            leases = [model.leases[each].lease for each in offsets]
            assert all(self.run(self.store.groups.reject("s", name, leases, delay=delay, dead=dead)))
            for each in offsets:
                model.fail(each, self.first, dead=dead)

    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        name, offsets = self.some_leases(data)
        if name:
            model = self.models[name]
            leases = [model.leases[each].lease for each in offsets]
            assert all(self.run(self.store.groups.extend("s", name, leases, 20_000)))
            for each in offsets:
                model.leases[each].deadline = max(model.leases[each].deadline, self.now + 20_000)

    def some_leases(self, data: st.DataObject) -> tuple[str | None, list[int]]:
        for model in self.models.values():
            self.expire(model)
        having = sorted(name for name, model in self.models.items() if model.leases)
        if not having:
            return None, []
        name = data.draw(st.sampled_from(having))
        offsets = st.lists(
            st.sampled_from(sorted(self.models[name].leases)), min_size=1, max_size=4, unique=True
        )
        return name, data.draw(offsets)

    @rule(data=st.data())
    def use_stale_tokens(self, data: st.DataObject) -> None:
        having = sorted(name for name, model in self.models.items() if model.stale)
        if having:
            name = data.draw(st.sampled_from(having))
            lease = data.draw(st.sampled_from(self.models[name].stale))
            assert self.run(self.store.groups.acknowledge("s", name, [lease])) == [False]
            assert self.run(self.store.groups.reject("s", name, [lease], dead=True)) == [False]

    @rule(data=st.data(), member=MEMBERS, lost=st.booleans())
    def leave(self, data: st.DataObject, member: str, lost: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]
        self.run((self.store.groups.lose if lost else self.store.groups.release)("s", name, member))
        for offset, held in list(model.leases.items()):
            if held.member == member:
                if lost or held.deadline <= self.now:
                    model.fail(offset, self.first)
                else:
                    model.end(offset)

    @rule(seconds=st.sampled_from([0.001, 1.0, 5.0, 10.001, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(self.contender.pass_time(seconds))
        self.now += round(seconds * 1000)
        for name, model in self.models.items():
            # Time passes for a group as somebody looks.
            self.run(self.store.groups.figures("s", name))
            self.expire(model)

    @rule(data=st.data(), redrive=st.booleans(), topic_filter=st.none() | FILTERS)
    def decide_on_the_dead(self, data: st.DataObject, redrive: bool, topic_filter: str | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.models)))
        model = self.models[name]
        letters, _ = self.run(self.store.groups.dead_letters("s", name, after=None, limit=1000))
        meant = [
            each.publication.offset
            for each in letters
            if topic_filter is None or matches(topic_filter, each.publication.topic)
        ]
        assert set(meant) <= model.dead
        act = self.store.groups.redrive if redrive else self.store.groups.discard
        assert self.run(act("s", name, topic_filter=topic_filter)) == len(meant)
        if redrive:
            for offset in meant:
                model.dead.discard(offset)
                model.sent_back.add(offset)
                model.failed[offset] = 0

    @rule(topic_filter=FILTERS, ago=st.integers(0, 20))
    def purge(self, topic_filter: str, ago: int) -> None:
        before = max(1, len(self.published) + 1 - ago)
        self.run(purge(self.store, "s", topic_filter, before))
        gone = {
            each.offset or 0
            for each in self.published
            if (each.offset or 0) < before and matches(topic_filter, each.topic)
        }
        for model in self.models.values():
            for offset in gone:
                if offset < self.first and offset not in model.sent_back | model.dead:
                    continue
                if offset in model.done:
                    continue
                if offset in model.leases:
                    model.end(offset)
                model.dead.discard(offset)
                model.sent_back.discard(offset)
                model.purged.add(offset)

    @precondition(lambda self: self.contender.durable)
    @rule(killed=st.booleans())
    def open_again(self, killed: bool) -> None:
        if killed and self.contender.kill is not None:
            self.run(self.contender.kill(self.store))
        else:
            self.run(self.store.stop())
        self.store = self.contender.make([STREAM])
        self.run(self.store.start())
        self.run(self._bounds())
        for model in self.models.values():
            for offset in list(model.leases):
                # What retention has taken while it was leased can't be had any more.
                if offset < self.first and offset not in model.sent_back:
                    model.end(offset)
                    model.gone.add(offset)

    @invariant()
    def figures_are_exact(self) -> None:
        for name, model in self.models.items():
            told = self.run(self.store.groups.figures("s", name))
            self.expire(model)
            wanted = {each.offset for each in self.published if self.wants(model, each)}
            open_ones = wanted - model.done - model.dead - model.purged - model.gone
            least = {
                each
                for each in open_ones
                if each >= self.first or each in model.sent_back | model.leases.keys()
            }
            assert len(least) <= told.depth <= len(open_ones), (name, told, least, open_ones)
            assert told.in_flight == len(model.leases)
            letters, _ = self.run(self.store.groups.dead_letters("s", name, after=None, limit=1000))
            assert told.dead == len(letters)
            assert told.dead <= model.configuration.dead_max_messages
            if model.configuration.keep_unacked:
                assert told.lost == 0


@pytest.fixture(params=WITH_CLOCKS)
def make_contender(request: pytest.FixtureRequest) -> Callable[[], Contender]:
    return lambda: CONTENDERS[request.param](request)


def test_groups_keep_their_promises(make_contender: Callable[[], Contender]) -> None:
    run_state_machine_as_test(
        lambda: GroupsMachine(make_contender()),
        settings=settings(max_examples=15, stateful_step_count=40, deadline=None),
    )
