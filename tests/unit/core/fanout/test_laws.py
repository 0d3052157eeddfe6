"""What waits, who is a target and who subscribes, whatever is done to them in whatever order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.core.fanout.backlog import Backlog, Offer
from gateway.core.fanout.limits import HubLimits
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.subscription import Subscription
from gateway.core.fanout.subscriptions import Subscriptions
from gateway.core.fanout.targets import FilterEntry, Targets
from gateway.core.messages.commands import Overflow
from gateway.core.topics.grammar import matches
from tests.unit.core.wire import ENCODER, LineEncoder, RecordingSink, batch, lines_of

PLENTY = 10**6
LOSING = [Overflow.SPILL, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST]
FORMATS = [LineEncoder(), LineEncoder()]
WIDER = ("a/b", "a/+", "#")
FILTERS = ["a", "b", "a/b", "a/+", "a/#", "+/b", "#"]
TOPICS = ["a", "b", "a/b", "a/c", "$x"]


# What waits


class Connection:
    """A backlog with a subscription of each policy, and what came out of it."""

    def __init__(self, *, messages: int = 3, room: int = PLENTY) -> None:
        self.backlog = Backlog()
        self.bounds = {"messages": messages, "room": room}
        self.subscriptions = {policy: Subscription(policy.value, policy) for policy in Overflow}
        self.lines: list[dict[str, Any]] = []

    def offer(self, policy: Overflow, topic: str, *labels: str) -> Offer:
        return self.backlog.offer(batch(topic, *labels), self.subscriptions[policy], **self.bounds)

    def take(self, budget: int = PLENTY) -> list[dict[str, Any]]:
        lines = lines_of(b"".join(self.backlog.take(budget, ENCODER.encode)))
        self.lines += lines
        return lines

    def take_all(self) -> list[str]:
        while self.backlog:
            self.take()
        return [line["id"] for line in self.lines if "id" in line]

    def told(self) -> Counter[str]:
        """How many were told to be lost, by filter."""
        told: Counter[str] = Counter()
        for line in self.lines:
            if "dropped" in line:
                told[line["filter"]] += line["dropped"]
        return told


OFFERS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(LOSING), st.sampled_from("ab"), st.integers(1, 5)),
        st.integers(1, 400),  # so many bytes are taken
    ),
    max_size=30,
)


@given(OFFERS, st.integers(1, 6), st.integers(40, 300))
def test_whatever_is_mixed_it_is_bounded_in_order_and_every_loss_is_told(
    history: list[Any], messages: int, room: int
) -> None:
    connection = Connection(messages=messages, room=room)
    offered: Counter[str] = Counter()
    count = 0
    for each in history:
        if isinstance(each, int):
            if connection.backlog:
                assert connection.take(each), "at least one frame"
        else:
            policy, topic, size = each
            labels = [str(count + number) for number in range(size)]
            count += size
            offered[policy.value] += size
            before = connection.backlog.dropped
            offer = connection.offer(policy, topic, *labels)
            assert (offer is Offer.DROPPED) == (connection.backlog.dropped > before)
        assert connection.backlog.messages <= messages
        assert connection.backlog.bytes <= room
    given_ids = [int(each) for each in connection.take_all()]
    assert given_ids == sorted(set(given_ids)), "in the order of acceptance, once each"
    assert (connection.backlog.messages, connection.backlog.bytes) == (0, 0)
    lost = connection.told()
    assert sum(lost.values()) == connection.backlog.dropped == count - len(given_ids)
    assert all(lost[name] <= offered[name] for name in lost)


# Who is a target


def connect(formats: list[int]) -> list[Outbox]:
    return [Outbox(RecordingSink(), FORMATS[number], OutboxLimits()) for number in formats]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sets(st.sampled_from(WIDER))), max_size=8),
    st.sets(st.sampled_from(WIDER), min_size=1),
)
def test_everybody_whose_filter_matches_is_a_target_once(
    members: list[tuple[int, set[str]]], matching: set[str]
) -> None:
    outboxes = connect([number for number, _ in members])
    entries = {name: FilterEntry(name) for name in WIDER}
    for outbox, (_, filters) in zip(outboxes, members, strict=True):
        for name in filters:
            entries[name].place(outbox, Subscription(name, Overflow.SPILL))
    targets = Targets(tuple(entries[name] for name in WIDER if name in matching))
    wanted = [box for box, (_, filters) in zip(outboxes, members, strict=True) if filters & matching]
    found = [(encoder, outbox) for encoder, group in targets.groups for outbox in group]
    assert sorted(map(id, (outbox for _, outbox in found))) == sorted(map(id, wanted))
    assert all(outbox.encoder is encoder for encoder, outbox in found)
    assert len({id(encoder) for encoder, _ in targets.groups}) == len(targets.groups)
    assert targets.count == len(wanted)


@given(st.permutations(list(Overflow)))
def test_the_policy_that_loses_least_governs_in_whatever_order_filters_came(order: list[Overflow]) -> None:
    """Spec: docs/protocol.md, "Overflow"."""
    (outbox,) = connect([0])
    entries = [FilterEntry(policy.value) for policy in order]
    for entry, policy in zip(entries, order, strict=True):
        entry.place(outbox, Subscription(entry.filter, policy))
    assert Targets(tuple(entries)).governing(outbox).overflow is Overflow.DISCONNECT
    left = tuple(each for each in entries if each.filter != "disconnect")
    assert Targets(left).governing(outbox).overflow in {Overflow.SPILL, Overflow.DROP_OLDEST}


# Who subscribes


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions(HubLimits())
        self.outboxes = connect([0, 0, 0])
        self.held: dict[tuple[int, str], Subscription] = {}

    def holders(self, topic_filter: str) -> int:
        return sum(name == topic_filter for _, name in self.held)

    @rule(number=st.integers(0, 2), topic_filter=st.sampled_from(FILTERS), policy=st.sampled_from(Overflow))
    def add(self, number: int, topic_filter: str, policy: Overflow) -> None:
        subscription = Subscription(topic_filter, policy)
        first = self.subscriptions.add(self.outboxes[number], subscription)
        assert first == (self.holders(topic_filter) == 0)
        self.held[number, topic_filter] = subscription
        self.outboxes[number].subscriptions[topic_filter] = subscription

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.held:
            number, topic_filter = data.draw(st.sampled_from(sorted(self.held)))
            del self.held[number, topic_filter]
            self.outboxes[number].subscriptions.pop(topic_filter, None)
            last = self.subscriptions.remove(self.outboxes[number], topic_filter)
            assert last == (self.holders(topic_filter) == 0)

    @invariant()
    def a_topic_finds_every_live_subscription_that_matches(self) -> None:
        assert self.subscriptions.subscriptions == len(self.held)
        assert self.subscriptions.statistics().filters == len({name for _, name in self.held})
        for topic in TOPICS:
            for number, outbox in enumerate(self.outboxes):
                wanted = {name for holder, name in self.held if holder == number and matches(name, topic)}
                found = self.subscriptions.matching(outbox)(topic)
                assert {each.filter for each in found} == wanted
                assert all(self.held[number, each.filter] is each for each in found)


TestSubscriptions = Model.TestCase
TestSubscriptions.settings = settings(max_examples=40, stateful_step_count=25)
