"""Views of last values: rules one by one, and a model of a gateway whose every interleaving they survive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.client.message import Message
from gateway.client.positions import SubscriptionStart
from gateway.client.route import Route
from gateway.client.routes import Routes
from gateway.client.state import StateFeed
from gateway.client.state_view import PendingChanges, StateChange, StateView
from gateway.core.messages.commands import START_SNAPSHOT, Overflow, Position, Subscribe
from gateway.core.messages.events import Gap, Subscribed
from gateway.errors import TooMany


def stored(topic: str, offset: int, data: Any = None, *, snapshot: bool = False) -> Message:
    return Message(topic, f"{offset}", 0, data, None, {}, None, "s", offset, data is None, snapshot)


def live(topic: str, data: Any) -> Message:
    return Message(topic, "", 0, data, None, {}, None, None, None)


def at(offset: int, epoch: str = "e") -> dict[str, Position]:
    return {"s": Position(epoch, offset)}


def whole(*messages: Message, offset: int = 9) -> StateView:
    view = StateView(max_topics=3)
    view.begin({}, snapshot=True)
    for message in messages:
        view.receive(message)
    view.begin(at(offset), snapshot=False)
    view.caught_up()
    return view


def seen(change: StateChange) -> tuple[str, Any, Any]:
    return change.topic, change.old and change.old.data, change.new and change.new.data


def test_nothing_is_shown_before_the_snapshot_is_whole_and_then_all_of_it() -> None:
    view = StateView(max_topics=9)
    view.begin({}, snapshot=True)
    assert view.receive(stored("a", 1, "x", snapshot=True)) == []
    assert view.receive(stored("b", 2, "y", snapshot=True)) == []
    assert view.receive(stored("a", 3)) == []
    assert (view.shown, view.positions, view.complete) == ({}, {}, False)
    view.begin(at(3), snapshot=False)
    assert [seen(each) for each in view.caught_up()] == [("b", None, "y")]
    assert (list(view.shown), view.positions, view.complete) == (["b"], at(3), True)


def test_what_follows_changes_the_view_and_moves_its_position() -> None:
    view = whole(stored("a", 1, "x"))
    assert [seen(each) for each in view.receive(stored("a", 10, "z"))] == [("a", "x", "z")]
    [change] = view.receive(stored("a", 11))
    assert (seen(change), change.deleted) == (("a", "z", None), True)
    assert view.receive(stored("a", 12)) == []
    assert (view.shown, view.positions) == ({}, at(12))


@pytest.mark.parametrize("reason", ["epoch", "trimmed", "purged", "overflow", "some reason of the future"])
def test_after_a_gap_the_old_view_stays_until_a_new_one_is_whole(reason: str) -> None:
    view = whole(stored("a", 1, "x"), stored("b", 2, "y"))
    assert view.pass_gap(Gap(reason, "#", stream="s", epoch="e2", offset=1)) == ([], True)
    assert view.pass_gap(Gap(reason, "#", stream="s")) == ([], False)  # it has been asked for already
    view.receive(stored("c", 10, "passed over"))
    view.begin({}, snapshot=True)
    view.receive(stored("b", 2, "y", snapshot=True))
    view.receive(stored("c", 3, "z"))
    assert (sorted(view.shown), view.positions, view.following) == (["a", "b"], at(9), False)
    view.begin(at(3, "e2"), snapshot=False)
    # "b" is the same publication: nothing of it has changed.
    assert [seen(each) for each in view.caught_up()] == [("c", None, "z"), ("a", "x", None)]
    assert (sorted(view.shown), view.positions, view.following) == (["b", "c"], at(3, "e2"), True)


def test_a_new_epoch_while_it_is_built_takes_back_what_came_of_that_stream() -> None:
    view = StateView(max_topics=9)
    view.begin({}, snapshot=True)
    view.receive(stored("a", 1, "of the former life"))
    view.receive(live("b", "stays"))
    assert view.pass_gap(Gap("epoch", "#", stream="s", epoch="e2", offset=0)) == ([], False)
    view.caught_up()
    assert list(view.shown) == ["b"]


def test_what_no_stream_holds_is_forgotten_where_something_of_it_may_be_lost() -> None:
    for lose in (
        lambda view: view.begin(at(9), snapshot=False),  # resumed on a new connection
        lambda view: view.pass_gap(Gap("bus"))[0],
    ):
        view = whole(stored("a", 1, "x"), live("b", "y"))
        assert [seen(each) for each in lose(view)] == [("b", "y", None)]
        assert (list(view.shown), view.following) == (["a"], True)


def test_more_topics_than_allowed_are_an_error_in_either_view() -> None:
    messages = [stored(topic, 1, "x") for topic in "abc"]
    view = whole(*messages)
    view.receive(stored("c", 2, "y"))
    with pytest.raises(TooMany, match="max_topics=3"):
        view.receive(stored("d", 3, "z"))
    with pytest.raises(TooMany, match="max_topics=3"):
        whole(*messages, stored("d", 3, "z"))


def test_waiting_changes_of_a_topic_are_one_that_says_how_many_it_is() -> None:
    pending = PendingChanges()
    first, second, third = (stored("a", number, number) for number in (1, 2, 3))
    pending.add(StateChange("a", first, second))
    pending.add(StateChange("b", None, first))
    pending.add(StateChange("a", second, third))
    pending.add(StateChange("b", first, None))
    assert (len(pending), pending.take()) == (1, StateChange("a", first, third, merged=1))


# A gateway with one stream and live topics, and one connection whose frames come one by one.

TOPICS = ("a", "b", "c", "live/d", "live/e")
State = dict[str, Any]


@dataclass
class ModelGateway:
    """Gives a subscription what docs/protocol.md says, a frame for each ``step``."""

    routes: Routes
    states: dict[tuple[str, int], State] = field(default_factory=lambda: {("1", 0): {}})
    log: list[Message] = field(default_factory=list)
    live: State = field(default_factory=dict)
    epoch: int = 1
    reading: bool = False
    following: bool = False
    begun_with_snapshot: bool = False
    snapshot_from: int | None = None
    through: int = 0
    position: int = 0

    @property
    def state(self) -> State:
        return self.states[str(self.epoch), len(self.log)]

    def last_values(self) -> dict[str, Message]:
        values: dict[str, Message] = {}
        for message in self.log:
            values.pop(message.topic, None)
            if not message.deleted:
                values[message.topic] = message
        return values

    def publish(self, topic: str, data: int | None) -> None:
        if topic.startswith("live/"):
            self.live[topic] = data
            if self.reading or self.following:
                self.routes.deliver(live(topic, data), "#" if self.reading else None)
            return
        message = stored(topic, len(self.log) + 1, data)
        state = {**self.state, topic: data}
        self.log.append(message)
        self.states[str(self.epoch), len(self.log)] = {
            name: value for name, value in state.items() if value is not None
        }
        if self.following:
            self.routes.deliver(message, None)

    def answer(self, route: Route, command: Subscribe, *, trimmed: bool) -> None:
        resume = (command.resume or {}).get("s")
        kept = resume == Position(str(self.epoch), resume.offset) if resume else False
        recovered = None if resume is None else kept and not trimmed
        self.reading, self.following = True, False
        self.begun_with_snapshot = not recovered
        if recovered:
            assert resume is not None
            self.snapshot_from, self.position = None, resume.offset
        else:
            self._begin_snapshot(len(self.log))
        begun = {"s": Position(str(self.epoch), self.position)}
        self.routes.confirm(route, Subscribed("#", begun, recovered))

    def _begin_snapshot(self, offset: int) -> None:
        self.snapshot_from, self.through, self.position = 0, offset, offset

    def step(self) -> None:
        if not self.reading:
            return
        if self.snapshot_from is not None:
            values = self.last_values().values()
            left = [each for each in values if self.snapshot_from < (each.offset or 0) <= self.through]
            if left:
                message = min(left, key=lambda each: each.offset or 0)
                self.snapshot_from = message.offset
                assert message.offset is not None
                value = stored(message.topic, message.offset, message.data, snapshot=True)
                self.routes.deliver(value, "#")
                return
            self.snapshot_from = None
        if self.position < len(self.log):
            self.position += 1
            self.routes.deliver(self.log[self.position - 1], "#")
        else:
            self.reading, self.following = False, True
            self.routes.caught_up("#")

    def new_epoch(self, kept: int) -> None:
        """Goes on with the first ``kept`` publications."""
        had = self.position if self.reading else len(self.log)
        kept = min(kept, len(self.log))
        state = self.states[str(self.epoch), kept]
        del self.log[kept:]
        self.epoch += 1
        for offset in range(kept):
            self.states[str(self.epoch), offset] = self.states[str(self.epoch - 1), offset]
        self.states[str(self.epoch), kept] = state
        behind = min(had, kept)
        if self.reading and self.begun_with_snapshot:
            self._begin_snapshot(kept)
            behind = kept
        if self.reading or self.following:
            self.position, told = behind, Gap("epoch", "#", stream="s", epoch=str(self.epoch), offset=behind)
            if self.following:
                self.reading, self.following = True, False
                self.begun_with_snapshot = False
            self.routes.gap(told)

    def disconnect(self) -> None:
        self.reading = self.following = False
        self.routes.disconnected()


PUBLISH = st.tuples(st.just("publish"), st.sampled_from(TOPICS), st.integers(0, 3))
ASK = st.tuples(st.just("ask"), st.booleans())
OPERATIONS = st.one_of(
    # As often as there are branches: most of the time a view is about to be whole, or is.
    PUBLISH,
    PUBLISH,
    PUBLISH,
    st.tuples(st.just("publish"), st.sampled_from(TOPICS[:3]), st.none()),
    ASK,
    ASK,
    st.just(("step",)),
    st.just(("step",)),
    st.just(("steps",)),
    st.just(("steps",)),
    st.just(("disconnect",)),
    st.tuples(st.just("new_epoch"), st.integers(0, 6)),
    st.tuples(st.just("gap"), st.sampled_from(["trimmed", "purged", "overflow"])),
    st.just(("bus_gap",)),
)


class Followed:
    """A state on the model gateway, with a reader of changes that takes them now and then."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.gateway = ModelGateway(self.routes)
        self.feed = StateFeed(max_topics=100, begin_anew=self.begin_anew, leave=lambda: None)
        start = SubscriptionStart(START_SNAPSHOT)
        self.route = self.routes.attach("#", self.feed, overflow=Overflow.SPILL, beginning=start)
        self.changes = self.feed.follow()
        self.copy: State = {}

    def begin_anew(self) -> None:
        if self.routes.begin_anew(self.route):
            self.routes.want(self.route)

    def do(self, name: str, *arguments: Any) -> None:
        getattr(self, name)(*arguments)

    def publish(self, topic: str, data: int | None) -> None:
        self.gateway.publish(topic, data)

    def ask(self, trimmed: bool) -> None:
        if isinstance(step := self.routes.next_step(), Route):
            self.gateway.answer(step, step.ask(1), trimmed=trimmed)

    def step(self) -> None:
        self.gateway.step()

    def steps(self) -> None:
        while self.gateway.reading:
            self.gateway.step()

    def disconnect(self) -> None:
        self.gateway.disconnect()

    def new_epoch(self, kept: int) -> None:
        self.gateway.new_epoch(kept)

    def gap(self, reason: str) -> None:
        if self.gateway.reading or self.gateway.following:
            self.routes.gap(Gap(reason, "#", stream="s"))

    def bus_gap(self) -> None:
        # Lost between the nodes: what a live topic was published is not what anybody got.
        self.gateway.live["live/d"] = "lost"
        self.routes.gap(Gap("bus"))

    @property
    def current(self) -> bool:
        return self.route.live and not self.route.catching_up and self.feed.view.following

    def check(self) -> None:
        view = self.feed.view
        held = {topic: each.data for topic, each in view.shown.items() if each.stream}
        if view.complete:
            position = view.positions["s"]
            # Never half of anything: it is a state that there was.
            assert held == self.gateway.states[position.epoch, position.offset]
        else:
            assert view.shown == {}
        if self.current:
            assert held == self.gateway.state
            live = {topic: each.data for topic, each in view.shown.items() if not each.stream}
            assert live.items() <= self.gateway.live.items()

    def take_changes(self) -> None:
        pending = self.changes._pending
        while pending:
            change = pending.take()
            assert (change.old and change.old.data) == self.copy.pop(change.topic, None)
            if change.new is not None:
                self.copy[change.topic] = change.new.data
        assert self.copy == {topic: each.data for topic, each in self.feed.view.shown.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(OPERATIONS, st.booleans()), min_size=20, max_size=80))
def test_a_view_is_always_a_state_that_was_and_where_it_is_complete_the_one_that_is(
    operations: list[tuple[tuple[Any, ...], bool]],
) -> None:
    followed = Followed()
    for operation, take in operations:
        followed.do(*operation)
        followed.check()
        if take:
            followed.take_changes()
    # Whatever has happened, it comes to be complete.
    for last in (("ask", False), ("steps",)) * 2:
        followed.do(*last)
        followed.check()
    assert followed.current
    followed.take_changes()
