"""A view made of a snapshot and what follows is the state, whenever it may be looked at.

Publishers, deletions and those who join take any turns; logs are trimmed, fail over and go away; connections
read slowly, break and come back. A client keeps a view as docs/protocol.md tells it to.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.auth.grants import EVERYTHING
from gateway.bus.local import LocalBus
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import START_NEW, START_SNAPSHOT, Position, Subscribe
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits, matches
from gateway.engine.delivery import DeliveryService
from gateway.engine.following.following import Following
from gateway.engine.subscribing import SubscribeService
from gateway.errors import StreamUnavailable

from .model_client import ENCODER
from .model_store import ModelStore
from .test_following_model import in_loop
from .virtual_time import VirtualTimeLoop

STREAMS = ("s", "t")
"""Those with last values; ``log`` keeps none."""
TOPICS = ("s/a", "s/b", "s/c", "s/d", "t/a", "t/b", "log/a", "live/a")
FILTERS = ("s/#", "s/a", "+/a", "#", "live/#", "log/#")
MESSAGES = st.lists(st.tuples(st.sampled_from(TOPICS), st.booleans()), min_size=1, max_size=10)


@dataclass
class View:
    """What a client shows of one filter.

    Attributes:
        topics: by topic what is shown, a publication's id.
        positions: by stream where that stands.
        whole: it may be looked at.
        broken: something is missing for good: it has to be asked for again.
    """

    topics: dict[str, str] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    whole: bool = False
    broken: bool = False


class ViewClient:
    """One connection, and the views that it keeps."""

    def __init__(self, store: ModelStore, hub: Hub, clock: Any, wrong: list[BaseException]) -> None:
        self.store, self.hub, self.clock, self.wrong = store, hub, clock, wrong
        self.outbox = Outbox(self, ENCODER, OutboxLimits(messages=6, bytes=2000))
        hub.attach(self.outbox)
        self.views: dict[str, View] = {}
        self.kept: dict[str, View] = {}
        """Of an earlier connection, by filter, until the answer says whether they go on."""
        self.room: int | None = None
        self.closed: int | None = None
        self.gone = False

    def write(self, frames: bytes) -> None:
        for line in frames.splitlines():
            frame = json.loads(line)
            try:
                getattr(self, f"on_{frame['op']}")(frame)
                self.check_all()
            except Exception as error:
                # Who writes takes it for a broken connection.
                self.wrong.append(error)
                raise
        if self.room is not None:
            self.room -= len(frames)
            if self.room <= 0:
                self.hub.block(self.outbox, 0, now=self.clock())

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    def on_subscribed(self, frame: dict[str, Any]) -> None:
        positions = {name: Position(**at) for name, at in frame["positions"].items()}
        kept = self.kept.pop(frame["filter"], None)
        goes_on = kept is not None and frame["recovered"]
        if kept is not None and goes_on:
            assert positions.items() >= kept.positions.items(), "it goes on somewhere else"
        self.views[frame["filter"]] = View(kept.topics if kept is not None and goes_on else {}, positions)

    def on_caught_up(self, frame: dict[str, Any]) -> None:
        view = self.views[frame["filter"]]
        assert not view.whole
        view.whole = True

    def on_gap(self, frame: dict[str, Any]) -> None:
        if (topic_filter := frame.get("filter")) is None or (name := frame.get("stream")) is None:
            return
        view = self.views[topic_filter]
        if frame["reason"] == "epoch" and not view.whole and name in STREAMS:
            view.topics = {topic: each for topic, each in view.topics.items() if topic[0] != name}
        elif name in STREAMS:
            view.broken = True
        if frame["reason"] == "epoch":
            view.positions[name] = Position(frame["epoch"], frame["offset"])

    def on_message(self, frame: dict[str, Any]) -> None:
        if "filter" in frame:
            view = self.views[frame["filter"]]
            assert matches(frame["filter"], frame["topic"])
            assert not view.whole or "stream" not in frame, "history after caught_up"
            self.take(view, frame)
            return
        for topic_filter, view in self.views.items():
            if view.whole and matches(topic_filter, frame["topic"]):
                self.take(view, frame)

    def take(self, view: View, frame: dict[str, Any]) -> None:
        if (name := frame.get("stream")) is None:
            return
        position, offset, topic = view.positions[name], frame["offset"], frame["topic"]
        if frame.get("snapshot"):
            assert name in STREAMS
            assert topic not in view.topics, "a topic has one value in a snapshot"
            assert offset <= position.offset, "a value from behind the position"
            view.topics[topic] = frame["id"]
            return
        if offset <= position.offset:
            assert view.whole, f"{topic} {offset} has come before"
            return
        view.positions[name] = Position(position.epoch, offset)
        view.topics.pop(topic, None)
        if not frame.get("deleted"):
            view.topics[topic] = frame["id"]

    def check_all(self) -> None:
        for topic_filter, view in self.views.items():
            if view.whole and not view.broken:
                for name in view.positions:
                    if name in STREAMS:
                        self.check(topic_filter, view, name)

    def check(self, topic_filter: str, view: View, name: str) -> None:
        log, position = self.store.logs[name], view.positions[name]
        shown = {topic: each for topic, each in view.topics.items() if topic[0] == name}
        values = log.values(position.epoch, position.offset, topic_filter).items()
        state = {topic: each.id for topic, each in values}
        assert shown == state, f"{topic_filter} at {position}: {shown}, and not {state}"


class SnapshotModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        self.wrong: list[BaseException] = []
        self.loop.set_exception_handler(lambda _, context: self.wrong.append(context.get("exception")))
        self.number = self.failovers = 0
        self.clients: list[ViewClient] = []

    @initialize(latency=st.sampled_from([0.0, 0.01]), messages=MESSAGES)
    @in_loop
    async def build(self, latency: float, messages: list[tuple[str, bool]]) -> None:
        self.store = ModelStore(*STREAMS, "log")
        self.store.latency = latency
        self.hub = Hub()
        self.delivery = DeliveryService(self.hub, resumed=self.resumed)
        streams = StreamMap(
            [
                *(StreamConfiguration(name, f"{name}/#", last_values=True) for name in STREAMS),
                StreamConfiguration("log", "log/#"),
            ]
        )
        self.following = Following(streams, self.store, self.hub, self.delivery, reads=2, window_messages=5)
        self.bus = LocalBus()
        self.subscriber = SubscribeService(
            self.hub, self.bus, topic_limits=TopicLimits(), following=self.following
        )
        self.running = self.loop.create_task(self.following.run())
        await self.bus.start(self.delivery.deliver, self.delivery.announce_loss)
        self.append(messages)
        await asyncio.sleep(0)
        self.clients = [self.client() for _ in range(2)]
        # Streams are followed whoever joins: so that tails have their own pace.
        keeper = self.client()
        await self.ask(keeper, Subscribe("s/none", start=START_NEW))

    def client(self) -> ViewClient:
        return ViewClient(self.store, self.hub, self.loop.time, self.wrong)

    def resumed(self, outbox: Outbox) -> None:
        self.following.catching_up.wake(outbox)

    # The logs

    @rule(messages=MESSAGES, turns=st.integers(0, 6))
    @in_loop
    async def publish(self, messages: list[tuple[str, bool]], turns: int) -> None:
        self.append(messages)
        await self.turns(turns)

    def append(self, messages: list[tuple[str, bool]]) -> None:
        for topic, deleted in messages:
            self.number += 1
            data = None if deleted else b"1"
            publication = Publication(topic, str(self.number), self.number, data, deleted=deleted)
            name = topic.split("/")[0]
            if name not in self.store.logs:
                self.bus.publish(publication)
                continue
            log = self.store.logs[name]
            if self.seen(name) > log.last:
                log.begin_again()
            log.append(publication)
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

    @precondition(lambda self: self.number > 10)
    @rule(name=st.sampled_from(STREAMS), count=st.integers(0, 3))
    @in_loop
    async def fail_over(self, name: str, count: int) -> None:
        if self.failovers < 2:
            self.failovers += 1
            log = self.store.logs[name]
            before = log.epoch, log.history[log.epoch]
            log.lose_end(count)
            log.begin_again()
            # What the new life lost, those who look at the old one have seen.
            log.history[before[0]] = before[1]
            self.store.notify()

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    @in_loop
    async def go_away(self) -> None:
        self.store.away = not self.store.away
        self.store.notify()

    # The clients

    @rule(which=st.integers(0, 1), topic_filter=st.sampled_from(FILTERS), turns=st.integers(0, 6))
    @in_loop
    async def join(self, which: int, topic_filter: str, turns: int) -> None:
        await self.come_back(which)
        await self.ask(self.clients[which], Subscribe(topic_filter, start=START_SNAPSHOT))
        await self.turns(turns)

    async def ask(self, client: ViewClient, command: Subscribe) -> None:
        try:
            answer = self.subscriber.subscribe(client.outbox, command, EVERYTHING)
            if isinstance(answer, list):
                for event in answer:
                    self.delivery.send(client.outbox, event)
            else:
                await answer
        except StreamUnavailable:
            client.kept.pop(command.filter, None)

    @rule(which=st.integers(0, 1))
    @in_loop
    async def disconnect(self, which: int) -> None:
        """Stay away for whatever happens next."""
        self.end(self.clients[which])

    @rule(which=st.integers(0, 1))
    @in_loop
    async def reconnect(self, which: int) -> None:
        self.end(self.clients[which])
        await self.come_back(which)

    def end(self, client: ViewClient) -> None:
        if not client.gone:
            client.gone = True
            self.subscriber.end(client.outbox)

    async def come_back(self, which: int) -> None:
        """Go on with what was whole, and begin anew what was not."""
        before = self.clients[which]
        if not before.gone:
            return
        client = self.clients[which] = self.client()
        for topic_filter, view in before.views.items():
            resume = view.positions if view.whole and not view.broken else None
            if resume:
                client.kept[topic_filter] = view
            await self.ask(client, Subscribe(topic_filter, resume, START_SNAPSHOT))

    @rule(which=st.integers(0, 1), room=st.one_of(st.just(0), st.integers(1, 600)))
    @in_loop
    async def read_slowly(self, which: int, room: int) -> None:
        client = self.clients[which]
        client.room = room
        if room == 0 and not client.gone:
            self.hub.block(client.outbox, 0, now=self.loop.time())

    @rule(which=st.integers(0, 1))
    @in_loop
    async def read_on(self, which: int) -> None:
        client = self.clients[which]
        if client.outbox.blocked_since is not None and not client.gone:
            client.room = None if client.room is None else 100
            self.delivery.resume(client.outbox)

    # Time

    @rule(turns=st.integers(1, 12))
    @in_loop
    async def turn(self, turns: int) -> None:
        await self.turns(turns)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(self.store.latency)

    @precondition(lambda self: self.clients)
    @rule()
    @in_loop
    async def come_to_rest(self) -> None:
        self.store.away = False
        self.store.notify()
        for which in range(len(self.clients)):
            await self.come_back(which)
        for client in self.clients:
            client.room = None
            if client.outbox.blocked_since is not None:
                self.delivery.resume(client.outbox)
        await asyncio.sleep(60)
        for client in self.clients:
            for topic_filter, view in list(client.views.items()):
                if view.broken:
                    await self.ask(client, Subscribe(topic_filter, start=START_SNAPSHOT))
        await asyncio.sleep(60)
        self.nothing_went_wrong()
        for client in self.clients:
            for topic_filter, view in client.views.items():
                assert view.whole, f"{topic_filter} never caught up"
                assert not view.broken
                for name in STREAMS:
                    log = self.store.logs[name]
                    values = log.values(log.epoch, log.last, topic_filter).items()
                    shown = {topic: each for topic, each in view.topics.items() if topic[0] == name}
                    assert shown == {topic: each.id for topic, each in values}

    @invariant()
    def nothing_went_wrong(self) -> None:
        if self.wrong:
            raise self.wrong[0]
        assert not self.clients or not self.running.done(), "a task of the read side has ended"

    def teardown(self) -> None:
        if self.clients and not self.wrong:
            self.come_to_rest()
            self.nothing_went_wrong()
        if self.clients:
            self.running.cancel()
            self.loop.run_until_complete(asyncio.wait([self.running]))
        self.loop.close()
        asyncio.set_event_loop(None)


TestSnapshotModel = SnapshotModel.TestCase
TestSnapshotModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_view_of_a_former_epoch_begins_anew_where_its_snapshot_is() -> None:
    state = SnapshotModel()
    try:
        state.build(latency=0.0, messages=[("t/a", False)] * 3 + [("s/a", False)])
        state.join(which=1, topic_filter="+/a", turns=0)
        state.come_to_rest()
        state.disconnect(which=1)
        state.fail_over(name="t", count=0)
        state.turn(turns=12)
        state.reconnect(which=1)
        state.come_to_rest()
    finally:
        state.teardown()
