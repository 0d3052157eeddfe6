"""Whatever happens to logs, store and connections: no gap untold, no repeat, stream order, bounded memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import wraps

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.auth.grants import EVERYTHING
from gateway.bus.local import LocalBus
from gateway.core.fanout.hub import Hub, HubLimits
from gateway.core.fanout.outbox import Outbox
from gateway.core.messages.commands import (
    START_NEW,
    Overflow,
    Position,
    Start,
    StartKind,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.delivery import DeliveryService
from gateway.engine.following.following import Following
from gateway.engine.runtime.upkeep import Upkeep
from gateway.engine.subscribing import SubscribeService
from gateway.errors import BadCommand, StreamUnavailable

from .model_client import ModelClient
from .model_store import ModelStore
from .virtual_time import VirtualTimeLoop

STREAMS = ("s", "t")
TOPICS = ("s/a", "s/b", "s", "t/a", "t/b", "live/a")
FILTERS = ("s/#", "s/a", "+/a", "#", "t/+", "live/#")
STARTS = (
    START_NEW,
    Start(StartKind.EARLIEST),
    Start(StartKind.LAST, 3),
    Start(StartKind.LAST, 12),
    Start(StartKind.LAST_PER_TOPIC, 1),
    Start(StartKind.LAST_PER_TOPIC, 3),
    Start(StartKind.OFFSET, 4),
    Start(StartKind.TIME, 9),
)


def in_loop(method):
    """Have a rule run as the loop's only work, up to where it awaits something."""

    @wraps(method)
    def run(self, **drawn):
        self.loop.run_until_complete(method(self, **drawn))

    return run


class FollowingModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        # What a client finds wrong in a callback would only be logged.
        self.wrong: list[BaseException] = []
        self.loop.set_exception_handler(lambda _, context: self.wrong.append(context.get("exception")))
        self.number = self.failovers = 0
        self.clients: list[ModelClient] = []
        self.kept: list[dict[str, dict[str, Position]]] = [{}, {}]

    @initialize(
        latency=st.sampled_from([0.0, 0.01]), filters=st.tuples(*[st.sampled_from(["#", "s/#", "+/a"])] * 2)
    )
    @in_loop
    async def build(self, latency: float, filters: tuple[str, ...]) -> None:
        self.store = ModelStore(*STREAMS)
        self.store.latency = latency
        self.hub = Hub(HubLimits(cached_topics=3, match_cache_bytes=4000, tick_messages=8))
        self.delivery = DeliveryService(self.hub, resumed=self.resumed)
        streams = StreamMap(StreamConfiguration(name, f"{name}/#") for name in STREAMS)
        self.following = Following(streams, self.store, self.hub, self.delivery, reads=2, window_messages=5)
        self.bus = LocalBus()
        self.upkeep = Upkeep(None, self.hub, write_timeout=5.0, stalled_timeout=1e9, clock=self.loop.time)
        self.subscriber = SubscribeService(
            self.hub, self.bus, topic_limits=TopicLimits(), following=self.following
        )
        self.running = self.loop.create_task(self.following.run())
        await self.bus.start(self.delivery.deliver, self.delivery.announce_loss)
        await asyncio.sleep(0)
        for _ in self.kept:
            self.connect()
        for client, topic_filter in zip(self.clients, filters, strict=True):
            await self.ask(client, Subscribe(topic_filter))

    def resumed(self, outbox: Outbox) -> None:
        self.following.catching_up.wake(outbox)

    def connect(self) -> None:
        self.clients.append(ModelClient(self.store, self.hub, self.loop.time, self.wrong))

    # The logs

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=12), turns=st.integers(0, 8))
    @in_loop
    async def publish(self, topics: list[str], turns: int) -> None:
        self.append(topics)
        await self.turns(turns)

    @rule(
        which=st.integers(0, 1),
        before=st.lists(st.sampled_from(TOPICS), max_size=4),
        topics=st.lists(st.sampled_from(TOPICS), min_size=4, max_size=16),
    )
    @in_loop
    async def overflow(self, which: int, before: list[str], topics: list[str]) -> None:
        self.append(before)
        await self.turns(8)
        self.hub.block(self.clients[which].outbox, 0, now=self.loop.time())
        self.append(topics)
        await self.turns(8)

    def append(self, topics: list[str]) -> None:
        for topic in topics:
            self.number += 1
            publication = Publication(topic, str(self.number), time=self.number, data=b"1")
            name = topic.split("/")[0]
            if name in STREAMS:
                log = self.store.logs[name]
                # As a store's append does, that is told what its node has seen.
                if self.seen(name) > log.last:
                    log.begin_again()
                log.append(publication)
            else:
                self.bus.publish(publication)
        self.store.notify()

    def seen(self, name: str) -> int:
        tail = self.following.tails._tails[name]
        same = tail.stream.window is not None and tail.stream.window.epoch == self.store.logs[name].epoch
        return tail.seen if same else 0

    @rule(name=st.sampled_from(STREAMS), count=st.integers(1, 15))
    @in_loop
    async def trim(self, name: str, count: int) -> None:
        self.store.logs[name].trim(count)
        self.store.notify()

    @rule(name=st.sampled_from(STREAMS), from_end=st.integers(0, 12), count=st.integers(1, 3))
    @in_loop
    async def remove(self, name: str, from_end: int, count: int) -> None:
        log = self.store.logs[name]
        for offset in range(log.last - from_end, log.last - from_end + count):
            log.remove(offset)
        self.store.notify()

    @precondition(lambda self: self.number > 10)
    @rule(name=st.sampled_from(STREAMS), count=st.integers(0, 3), silent=st.booleans())
    @in_loop
    async def fail_over(self, name: str, count: int, silent: bool) -> None:
        if self.failovers == 2:
            return
        self.failovers += 1
        log = self.store.logs[name]
        log.lose_end(count)
        # Where nothing says so, only a node that has seen more can tell.
        if not silent or self.seen(name) <= log.last:
            log.begin_again()
        self.store.notify()

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    @in_loop
    async def go_away(self) -> None:
        self.store.away = not self.store.away
        self.store.notify()

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    @in_loop
    async def index_or_not(self) -> None:
        self.store.indexed = not self.store.indexed

    # The clients

    @rule(
        which=st.integers(0, 1),
        topic_filter=st.sampled_from(FILTERS),
        start=st.sampled_from(STARTS),
        resume=st.booleans(),
        overflow=st.sampled_from([Overflow.SPILL] * 3 + [Overflow.DROP_OLDEST]),
    )
    @in_loop
    async def subscribe(
        self, which: int, topic_filter: str, start: Start, resume: bool, overflow: Overflow
    ) -> None:
        positions = self.kept[which].get(topic_filter) if resume else None
        await self.ask(self.clients[which], Subscribe(topic_filter, positions, start, overflow))

    async def ask(self, client: ModelClient, command: Subscribe) -> None:
        # What a policy drops is the outbox's model; here everything that streams hold must come.
        if command.filter != "live/#":
            command = replace(command, overflow=Overflow.SPILL)
        expected = client.asked[command.filter]
        count = command.start.value if command.start.kind is StartKind.LAST_PER_TOPIC else 0
        live = not command.resume and command.start == START_NEW
        expected.append((live, command.resume or {}, count))
        try:
            answer = self.subscriber.subscribe(client.outbox, command, EVERYTHING)
            if isinstance(answer, list):
                for event in answer:
                    self.delivery.send(client.outbox, event)
            else:
                await answer
        except (BadCommand, StreamUnavailable):
            expected.pop()
        assert len(client.outbox.subscriptions) >= len(client.held)

    @rule(which=st.integers(0, 1), topic_filter=st.sampled_from(FILTERS))
    @in_loop
    async def unsubscribe(self, which: int, topic_filter: str) -> None:
        client = self.clients[which]
        if topic_filter in client.outbox.subscriptions:
            self.keep(which)
            self.delivery.flush_one(client.outbox)
            client.asked[topic_filter].clear()
            self.subscriber.unsubscribe(client.outbox, Unsubscribe(topic_filter))
            client.held.pop(topic_filter, None)

    def keep(self, which: int) -> None:
        for topic_filter, held in self.clients[which].held.items():
            self.kept[which][topic_filter] = dict(held.positions)

    @rule(which=st.integers(0, 1))
    @in_loop
    async def reconnect(self, which: int) -> None:
        self.connect_again(which)
        for topic_filter, positions in self.kept[which].items():
            await self.ask(self.clients[which], Subscribe(topic_filter, positions))

    def connect_again(self, which: int) -> None:
        self.keep(which)
        client = self.clients[which]
        self.subscriber.end(client.outbox)
        self.clients[which] = ModelClient(self.store, self.hub, self.loop.time, self.wrong)

    @rule(which=st.integers(0, 1), room=st.one_of(st.just(0), st.integers(1, 600)))
    @in_loop
    async def read_slowly(self, which: int, room: int) -> None:
        client = self.clients[which]
        client.room = room
        if room == 0:
            self.hub.block(client.outbox, 0, now=self.loop.time())

    @rule(which=st.integers(0, 1))
    @in_loop
    async def read_on(self, which: int) -> None:
        client = self.clients[which]
        if client.outbox.blocked_since is not None:
            client.room = None if client.room is None else 100
            self.delivery.resume(client.outbox)

    @rule()
    @in_loop
    async def look_after_stuck_connections(self) -> None:
        self.upkeep.close_stuck(self.loop.time())
        for which, client in enumerate(self.clients):
            if client.closed is not None:
                self.connect_again(which)

    # Time

    @rule(turns=st.integers(1, 12))
    @in_loop
    async def turn(self, turns: int) -> None:
        await self.turns(turns)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(self.store.latency)

    @rule(seconds=st.sampled_from([0.005, 0.2, 6.0, 60.0]))
    @in_loop
    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @precondition(lambda self: self.clients)
    @rule()
    @in_loop
    async def come_to_rest(self) -> None:
        self.store.away = False
        self.store.notify()
        for client in self.clients:
            client.room = None
            if client.outbox.blocked_since is not None:
                self.delivery.resume(client.outbox)
        await asyncio.sleep(60)
        for client in self.clients:
            client.check_complete()
            assert self.hub.spill_reader(client.outbox) is None
            assert not self.hub.has_parked(client.outbox)

    @invariant()
    def memory_is_bounded(self) -> None:
        if self.wrong:
            raise self.wrong[0]
        for client in self.clients:
            assert client.outbox.waiting_messages <= 6
            assert not self.running.done(), "a task of the read side has ended"
        if self.clients:
            statistics = self.following.catching_up.statistics()
            assert statistics.reading <= 2 + len(FILTERS) * len(self.clients)

    def teardown(self) -> None:
        if self.clients and not self.wrong:
            self.come_to_rest()
            self.memory_is_bounded()
        if self.clients:
            self.running.cancel()
            self.loop.run_until_complete(asyncio.wait([self.running]))
        self.loop.close()
        asyncio.set_event_loop(None)


TestFollowingModel = FollowingModel.TestCase
TestFollowingModel.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
