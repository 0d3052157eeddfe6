"""Groups in Redis do what those do that decide with the core, step by step, whichever node is asked."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import RedisStoreLimits
from gateway.streams.memory import MemoryStore
from gateway.streams.redis import groups
from gateway.streams.redis.store import RedisStore
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.streams.groups.base import GroupStore, Lease
    from tests.redis_process import RunningRedis

STREAM = StreamConfiguration("s", "#", max_age=1e9)
# A log in Redis goes by real time: what is compared with it is so far apart that this makes no difference.
SECONDS = 1000

MEMBERS = st.sampled_from(["a", "b", "c"])
PLACE = st.integers(0, 7)
DELAY = st.sampled_from([None, None, 0, 500 * SECONDS, 5000 * SECONDS])
CONFIGURATIONS = st.builds(
    GroupConfiguration,
    name=st.just("g"),
    filter=st.sampled_from(["#", "s/#", "s/+/x"]),
    ack_wait=st.sampled_from([1000.0, 3000.0]),
    max_deliver=st.sampled_from([0, 1, 2, 3]),
    backoff=st.sampled_from([(), (500.0,), (0.0, 2000.0)]),
    max_in_flight=st.sampled_from([2, 5, 100]),
    ordered_by_key=st.booleans(),
    hold_on_dead=st.booleans(),
    fair_by=st.sampled_from(["", "key", "level:2"]),
    dead_max_messages=st.sampled_from([2, 100]),
)
STEPS = st.one_of(
    st.tuples(
        st.just("append"),
        st.sampled_from(["s/1/x", "s/2/x", "s/3/y", "t/1/x"]),
        st.sampled_from([None, "k", "l", "k/\0m"]),
        st.sampled_from([None, None, None, 1550 * SECONDS]),
    ),
    st.tuples(st.just("take"), st.lists(MEMBERS, min_size=1, max_size=6)),
    st.tuples(st.just("ack"), st.lists(PLACE, min_size=1, max_size=3)),
    st.tuples(st.just("nack"), PLACE, DELAY, st.booleans()),
    st.tuples(st.just("extend"), PLACE, st.sampled_from([0, 7000 * SECONDS])),
    st.tuples(st.just("give_back"), PLACE),
    st.tuples(st.just("release"), MEMBERS),
    st.tuples(st.just("lose"), MEMBERS),
    st.tuples(st.just("pass"), st.sampled_from([300 * SECONDS, 700 * SECONDS, 4000 * SECONDS])),
    st.tuples(st.just("redrive"), st.sampled_from([None, "s/1/x"])),
    st.tuples(st.just("discard"), st.sampled_from([None, "s/2/x"])),
)


@dataclass
class Clock:
    now: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def __call__(self) -> int:
        return self.now


@dataclass
class Both:
    """The same group in both stores."""

    model: MemoryStore
    nodes: tuple[RedisStore, ...]
    clock: Clock
    runner: asyncio.Runner
    leases: list[tuple[Lease, Lease]] = field(default_factory=list)
    asked: int = 0
    first: int = 0
    fence: int = 0

    @property
    def groups(self) -> GroupStore:
        """Another node each time."""
        self.asked += 1
        return self.nodes[self.asked % len(self.nodes)].groups

    async def begin(self, configuration: GroupConfiguration) -> None:
        self.leases.clear()
        self.fence = 0
        self.first = (await self.model.bounds("s")).last + 1
        assert await self.model.groups.put("s", configuration)
        assert await self.groups.put("s", configuration)

    async def end(self) -> None:
        await self.model.groups.delete("s", "g")
        await self.groups.delete("s", "g")

    async def do(self, step: tuple[Any, ...]) -> None:
        await getattr(self, f"do_{step[0]}")(*step[1:])

    async def do_append(self, topic: str, key: str | None, delay: int | None) -> None:
        # Redis gives its own time to what is appended, the model that of the clock.
        ahead = self.clock.now - time.time_ns() // 1_000_000
        later = None if delay is None else delay + ahead
        one = await self.model.append("s", Publication(topic, "1", 0, b"1", key=key, delay=delay))
        other = await self.nodes[0].append("s", Publication(topic, "1", 0, b"1", key=key, delay=later))
        assert one.offset == other.offset

    async def do_take(self, members: list[str]) -> None:
        expected = await self.model.groups.take("s", "g", members)
        taken = await self.groups.take("s", "g", members)
        for one, other in zip(expected.deliveries, taken.deliveries, strict=False):
            self.leases.append((one.lease, other.lease))
            assert other.lease.fence > self.fence
            self.fence = other.lease.fence
        assert [
            (each.lease.offset, each.member, each.attempt, each.deadline) for each in taken.deliveries
        ] == [(each.lease.offset, each.member, each.attempt, each.deadline) for each in expected.deliveries]

    def chosen(self, places: list[int]) -> tuple[list[Lease], list[Lease]]:
        pairs = [self.leases[-1 - each] for each in places if each < len(self.leases)]
        return [one for one, _ in pairs], [other for _, other in pairs]

    async def do_ack(self, places: list[int]) -> None:
        one, other = self.chosen(places)
        expected = await self.model.groups.acknowledge("s", "g", one)
        assert await self.groups.acknowledge("s", "g", other) == expected

    async def do_nack(self, place: int, delay: int | None, dead: bool) -> None:
        one, other = self.chosen([place])
        expected = await self.model.groups.reject("s", "g", one, delay=delay, dead=dead)
        assert await self.groups.reject("s", "g", other, delay=delay, dead=dead) == expected

    async def do_extend(self, place: int, by: int) -> None:
        one, other = self.chosen([place])
        expected = await self.model.groups.extend("s", "g", one, by)
        assert await self.groups.extend("s", "g", other, by) == expected

    async def do_give_back(self, place: int) -> None:
        one, other = self.chosen([place])
        await self.model.groups.give_back("s", "g", one)
        await self.groups.give_back("s", "g", other)

    async def do_release(self, member: str) -> None:
        await self.model.groups.release("s", "g", member)
        await self.groups.release("s", "g", member)

    async def do_lose(self, member: str) -> None:
        await self.model.groups.lose("s", "g", member)
        await self.groups.lose("s", "g", member)

    async def do_pass(self, milliseconds: int) -> None:
        self.clock.now += milliseconds

    async def do_redrive(self, topic_filter: str | None) -> None:
        expected = await self.model.groups.redrive("s", "g", topic_filter=topic_filter)
        assert await self.groups.redrive("s", "g", topic_filter=topic_filter, dry_run=True) == expected
        assert await self.groups.redrive("s", "g", topic_filter=topic_filter) == expected

    async def do_discard(self, topic_filter: str | None) -> None:
        expected = await self.model.groups.discard("s", "g", topic_filter=topic_filter)
        assert await self.groups.discard("s", "g", topic_filter=topic_filter) == expected

    async def agree(self) -> None:
        """What is told of the groups is the same."""
        expected = await self.model.groups.figures("s", "g")
        told = await self.groups.figures("s", "g")
        # How far a group reads ahead is its own matter: what it hasn't read is neither delayed nor parked.
        assert replace(told, oldest=None, delayed=0, parked=0) == replace(
            expected, oldest=None, delayed=0, parked=0
        )
        assert (told.oldest is None) == (told.depth == 0)
        expected_dead, _ = await self.model.groups.dead_letters("s", "g", after=None, limit=100)
        dead, more = await self.groups.dead_letters("s", "g", after=None, limit=100)
        assert more is None
        assert [
            (
                each.publication.offset,
                each.publication.topic,
                each.attempts,
                each.reason,
                each.first_failed,
                each.last_failed,
            )
            for each in dead
        ] == [
            (
                each.publication.offset,
                each.publication.topic,
                each.attempts,
                each.reason,
                each.first_failed,
                each.last_failed,
            )
            for each in expected_dead
        ]
        for offset in range(self.first, (await self.model.bounds("s")).last + 2):
            one = await self.model.groups.explain("s", "g", offset)
            other = await self.groups.explain("s", "g", offset)
            unread = {"waiting", "parked", "delayed"}
            if one.state in unread and other.state in unread and not other.attempts:
                continue
            assert other == one


@pytest.fixture(scope="module", params=[1, 2])
def both(module_redis_server: RunningRedis, request: pytest.FixtureRequest) -> Iterator[Both]:
    """With all leases in runs, and with those of larger calls alone."""
    clock = Clock()
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patching:
        patching.setattr(groups, "_RUN", request.param)
        loop = runner.get_loop()
        asyncio.set_event_loop(loop)

        async def make() -> tuple[MemoryStore, tuple[RedisStore, ...]]:
            prefix = secrets.token_hex(4)
            model = MemoryStore([STREAM], clock=clock)
            nodes = tuple(
                RedisStore(
                    module_redis_server.url,
                    [STREAM],
                    prefix=prefix,
                    limits=RedisStoreLimits(timeout=HANG_SECONDS / 2),
                    clock=clock,
                )
                for _ in range(2)
            )
            for each in (model, *nodes):
                await each.start()
            return model, nodes

        model, nodes = runner.run(make())
        yield Both(model, nodes, clock, runner)

        async def stop() -> None:
            for each in (model, *nodes):
                await each.stop()

        runner.run(stop())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(configuration=CONFIGURATIONS, steps=st.lists(STEPS, min_size=5, max_size=40))
def test_every_step_ends_as_the_core_says(
    both: Both, configuration: GroupConfiguration, steps: list[tuple[Any, ...]]
) -> None:
    async def run() -> None:
        await both.begin(configuration)
        try:
            for step in steps:
                await both.do(step)
            await both.agree()
        finally:
            await both.end()

    both.runner.run(run())
