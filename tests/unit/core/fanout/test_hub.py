from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.fanout import outbox as outbox_module
from gateway.core.fanout import subscriptions as subscriptions_module
from gateway.core.fanout import targets as targets_module
from gateway.core.fanout.hub import Hub, HubLimits
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.targets import _size
from gateway.core.messages.commands import Overflow
from gateway.core.messages.events import Pong
from gateway.core.messages.publication import Publication
from gateway.core.topics import filter_index
from gateway.core.topics.grammar import matches
from gateway.errors import NotFound, TooMany
from tests.unit.core.wire import LineEncoder, RecordingSink, publication

ENCODER = LineEncoder()


def connect(
    hub: Hub, *filters: str, overflow: Overflow = Overflow.SPILL, limits: OutboxLimits | None = None
) -> Outbox:
    outbox = Outbox(RecordingSink(), ENCODER, limits or OutboxLimits())
    hub.attach(outbox)
    for topic_filter in filters:
        hub.subscribe(outbox, topic_filter, overflow)
    return outbox


def write_all(hub: Hub, limit: int = 100) -> int:
    """What the engine does at the end of a tick; returns how many writes it took."""
    writes = 0
    while outboxes := hub.take_writes(limit):
        for outbox in outboxes:
            if outbox.direct and outbox.pending:
                outbox.sink.write(outbox.take_replies())
                writes += 1
    return writes


def ids(outbox: Outbox) -> list[str]:
    assert isinstance(outbox.sink, RecordingSink)
    return outbox.sink.ids()


def test_every_matching_connection_gets_it_once_however_many_of_its_filters_match() -> None:
    hub = Hub()
    one, two, other = connect(hub, "a/+", "a/#", "a/b"), connect(hub, "#"), connect(hub, "b")
    hub.deliver(publication("a/b"))
    write_all(hub)
    assert (ids(one), ids(two), ids(other)) == (["1"], ["1"], [])


def test_a_tick_is_one_write_per_connection_in_acceptance_order() -> None:
    hub = Hub()
    one, two = connect(hub, "#"), connect(hub, "a")
    for number, topic in enumerate(["a", "b", "a", "a", "b"]):
        hub.deliver(publication(topic, str(number)))
    assert write_all(hub) == 2
    assert ids(one) == ["0", "1", "2", "3", "4"]
    assert ids(two) == ["0", "2", "3"]


def test_frames_are_encoded_once_for_all_targets() -> None:
    class CountingEncoder(LineEncoder):
        encoded = 0

        def encode_message(self, publication: Publication) -> bytes:
            self.encoded += 1
            return super().encode_message(publication)

    hub, encoder = Hub(), CountingEncoder()
    outboxes = [Outbox(RecordingSink(), encoder, OutboxLimits()) for _ in range(50)]
    for outbox in outboxes:
        hub.attach(outbox)
        hub.subscribe(outbox, "#")
    hub.deliver(publication())
    write_all(hub)
    assert encoder.encoded == 1
    assert all(ids(outbox) == ["1"] for outbox in outboxes)


def test_each_wire_format_gets_its_own_frames() -> None:
    class OtherEncoder(LineEncoder):
        def encode_message(self, publication: Publication) -> bytes:
            return super().encode_message(publication).upper()

    hub = Hub()
    one = connect(hub, "#")
    other = Outbox(RecordingSink(), OtherEncoder(), OutboxLimits())
    hub.attach(other)
    hub.subscribe(other, "#")
    hub.deliver(publication("t", "x"))
    write_all(hub)
    assert ids(one) == ["x"]
    assert b'"ID": "X"' in other.sink.written  # type: ignore[attr-defined]


def test_a_subscription_gets_what_comes_after_it_and_nothing_from_before() -> None:
    hub = Hub()
    early = connect(hub, "t")
    hub.deliver(publication("t", "before"))
    late = connect(hub, "t")
    hub.deliver(publication("t", "after"))
    write_all(hub)
    assert (ids(early), ids(late)) == (["before", "after"], ["after"])


def test_unsubscribing_keeps_what_was_accepted_before() -> None:
    hub = Hub()
    outbox = connect(hub, "t")
    hub.deliver(publication("t", "before"))
    assert hub.unsubscribe(outbox, "t") is True
    hub.deliver(publication("t", "after"))
    write_all(hub)
    assert ids(outbox) == ["before"]


def test_the_first_and_the_last_interest_are_reported() -> None:
    hub = Hub()
    one, two = connect(hub), connect(hub)
    assert hub.subscribe(one, "t") is True
    assert hub.subscribe(two, "t") is False
    assert hub.unsubscribe(one, "t") is False
    assert hub.detach(two) == ["t"]
    assert hub.detach(two) == []


def test_subscribing_again_replaces_the_policy_only() -> None:
    hub = Hub()
    outbox = connect(hub, "t")
    hub.subscribe(outbox, "t", Overflow.LATEST)
    assert outbox.subscriptions["t"].overflow is Overflow.LATEST
    assert hub.statistics().subscriptions == 1
    hub.deliver(publication("t"))
    write_all(hub)
    assert ids(outbox) == ["1"]


def test_subscriptions_of_a_connection_are_bounded() -> None:
    hub = Hub(HubLimits(subscriptions=2))
    outbox = connect(hub, "a", "b")
    with pytest.raises(TooMany, match="2 subscriptions"):
        hub.subscribe(outbox, "c")
    hub.subscribe(outbox, "a", Overflow.LATEST)


def test_unsubscribing_what_is_not_subscribed_is_not_found() -> None:
    hub = Hub()
    with pytest.raises(NotFound):
        hub.unsubscribe(connect(hub, "a"), "b")


def test_replies_and_publications_share_the_write() -> None:
    hub = Hub()
    outbox = connect(hub, "t")
    hub.reply(outbox, Pong())
    hub.deliver(publication("t"))
    assert write_all(hub) == 1


def test_a_tick_that_grows_to_its_bound_asks_to_be_written() -> None:
    hub = Hub(HubLimits(tick_bytes=1000, tick_messages=5))
    outbox, _other = connect(hub, "t", "u"), connect(hub, "t", "u")
    asked = [hub.deliver(publication("tu"[number % 2], str(number))) for number in range(5)]
    assert asked == [False, False, False, False, True]
    write_all(hub)
    assert hub.deliver(publication("t", "6")) is False
    assert hub.deliver(publication("t", "7", data=b"1" * 1000)) is True
    write_all(hub)
    assert ids(outbox) == ["0", "1", "2", "3", "4", "6", "7"]


def test_a_tick_of_lone_subscribers_asks_to_be_written_too() -> None:
    hub = Hub(HubLimits(tick_messages=3))
    connect(hub, "t"), connect(hub, "u")
    assert [hub.deliver(publication("tu"[number % 2], str(number))) for number in range(3)] == [
        False,
        False,
        True,
    ]


def test_a_blocked_connection_waits_while_the_others_go_on() -> None:
    hub = Hub()
    slow, fast = connect(hub, "t"), connect(hub, "t")
    hub.block(slow, 0, now=5.0)
    assert hub.blocked_before(5.1) == [slow]
    assert hub.blocked_before(5.0) == []
    hub.deliver(publication("t"))
    write_all(hub)
    assert (ids(slow), ids(fast)) == ([], ["1"])
    hub.deliver(publication("t", "2"))
    hub.unblock(slow)
    slow.sink.write(slow.take(1000))
    assert slow.take(1000) == b""
    hub.deliver(publication("t", "3"))
    write_all(hub)
    assert (ids(slow), ids(fast)) == (["1", "2", "3"], ["1", "2", "3"])
    assert hub.statistics().blocked == 0


def test_a_slow_consumer_whose_policy_is_to_disconnect_is_reported_once() -> None:
    hub = Hub()
    outbox = connect(hub, "t", overflow=Overflow.DISCONNECT, limits=OutboxLimits(messages=1))
    hub.block(outbox, 0, now=0.0)
    for label in "123":
        hub.deliver(publication("t", label))
    hub.flush_run()
    assert hub.take_overflowed() == [outbox]
    assert hub.take_overflowed() == []


def test_drops_are_counted_by_policy() -> None:
    hub = Hub()
    for overflow in (Overflow.DROP_OLDEST, Overflow.LATEST):
        outbox = connect(hub, "t", overflow=overflow, limits=OutboxLimits(messages=2))
        hub.block(outbox, 0, now=0.0)
    for label in "12345":
        hub.deliver(publication("t", label))
    hub.flush_run()
    dropped = hub.statistics().dropped
    assert dropped[Overflow.DROP_OLDEST] == 3
    assert dropped[Overflow.LATEST] == 4


def test_remembered_target_lists_are_bounded_and_stay_right() -> None:
    hub = Hub(HubLimits(match_cache_bytes=2 * 2500))
    outboxes = [connect(hub, f"t{number}", "all") for number in range(3)]
    for _ in range(2):
        for topic in ("t0", "t1", "all", "t2"):
            hub.deliver(publication(topic, topic))
    write_all(hub)
    assert [ids(outbox) for outbox in outboxes] == [
        [label for label in ["t0", "t1", "all", "t2"] * 2 if label in {f"t{number}", "all"}]
        for number in range(3)
    ]


def test_a_detached_connection_leaves_nothing_behind() -> None:
    hub = Hub()
    outbox = connect(hub, "a/#", "b", "+/c")
    hub.deliver(publication("b"))
    hub.block(outbox, 0, now=0.0)
    hub.detach(outbox)
    write_all(hub)
    statistics = hub.statistics()
    assert (statistics.connections, statistics.subscriptions, statistics.filters, statistics.blocked) == (
        0,
        0,
        0,
        0,
    )
    assert len(hub._targets) == 0
    assert hub._targets.bytes == 0


def test_slices_share_between_a_large_fan_out_and_a_small_conversation() -> None:
    hub = Hub()
    crowd = [connect(hub, "news") for _ in range(100)]
    chat = connect(hub, "chat")
    hub.deliver(publication("news"))
    first = hub.take_writes(10)
    hub.deliver(publication("chat"))
    assert chat in hub.take_writes(10)
    rest = first + [outbox for _ in range(10) for outbox in hub.take_writes(10)]
    assert set(crowd) <= {*rest, *crowd}
    assert hub.unwritten == 0


def test_a_tick_goes_on_while_something_of_it_is_unwritten() -> None:
    hub = Hub(HubLimits(tick_messages=3))
    crowd = [connect(hub, "news") for _ in range(4)]
    assert not hub.deliver(publication("news"))
    assert not hub.deliver(publication("news"))
    hub.put_back(hub.take_writes(4)[1:])
    assert hub.unwritten == 3
    assert hub.deliver(publication("news"))

    write_all(hub)
    assert not hub.deliver(publication("news"))
    assert [len(ids(outbox)) for outbox in crowd[1:]] == [3, 3, 3]


class HubModel(RuleBasedStateMachine):
    """The hub against a list per connection: everyone gets all that it matches, in order, once.

    With room for little, and what a change makes wrong or a connection leaves behind let go one by one.
    """

    TOPICS = ("a", "a/b", "a/c", "$x", "b")
    FILTERS = ("a", "a/+", "a/#", "#", "+", "$x", "+/b")

    def __init__(self) -> None:
        super().__init__()
        self.contexts = ExitStack()
        for module, name, value in (
            (targets_module, "_PORTION", 1),
            (subscriptions_module, "_LEAVING_AT_ONCE", 1),
            (filter_index, "CHANGED_NODES", 2),
        ):
            self.contexts.enter_context(mock.patch.object(module, name, value))
        self.outboxes: list[Outbox] = []
        self.expected: dict[Outbox, list[str]] = defaultdict(list)
        self.number = 0

    @initialize(most_bytes=st.sampled_from([1000, 5000, 1 << 20]), cached_topics=st.integers(1, 4))
    def build(self, most_bytes: int, cached_topics: int) -> None:
        limits = HubLimits(cached_topics=cached_topics, match_cache_bytes=most_bytes, tick_messages=4)
        self.hub = Hub(limits)

    def teardown(self) -> None:
        self.contexts.close()

    @rule()
    def attach(self) -> None:
        if len(self.outboxes) < 4:
            self.outboxes.append(connect(self.hub))

    @precondition(lambda self: self.outboxes)
    @rule(data=st.data(), topic_filter=st.sampled_from(FILTERS))
    def subscribe(self, data: st.DataObject, topic_filter: str) -> None:
        self.hub.subscribe(data.draw(st.sampled_from(self.outboxes)), topic_filter)

    @precondition(lambda self: any(outbox.subscriptions for outbox in self.outboxes))
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        outbox = data.draw(st.sampled_from([each for each in self.outboxes if each.subscriptions]))
        self.hub.unsubscribe(outbox, data.draw(st.sampled_from(sorted(outbox.subscriptions))))

    @precondition(lambda self: self.outboxes)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        write_all(self.hub)
        outbox = data.draw(st.sampled_from(self.outboxes))
        assert ids(outbox) == self.expected.pop(outbox, [])
        self.outboxes.remove(outbox)
        self.hub.detach(outbox)

    @precondition(lambda self: self.hub.leaving)
    @rule()
    def let_leave(self) -> None:
        self.hub.let_leave()

    @rule(topic=st.sampled_from(TOPICS))
    def publish(self, topic: str) -> None:
        self.number += 1
        for outbox in self.outboxes:
            if any(matches(topic_filter, topic) for topic_filter in outbox.subscriptions):
                self.expected[outbox].append(str(self.number))
        if self.hub.deliver(publication(topic, str(self.number))):
            write_all(self.hub)

    @rule(limit=st.integers(1, 4), in_time=st.integers(0, 4))
    def write_a_slice(self, limit: int, in_time: int) -> None:
        outboxes = self.hub.take_writes(limit)
        self.hub.put_back(outboxes[in_time:])
        for outbox in outboxes[:in_time]:
            if outbox.direct and outbox.pending:
                outbox.sink.write(outbox.take_replies())

    @rule()
    def write(self) -> None:
        write_all(self.hub)
        for outbox in self.outboxes:
            assert ids(outbox) == self.expected[outbox]

    @invariant()
    def counts_agree(self) -> None:
        statistics = self.hub.statistics()
        assert statistics.connections == len(self.outboxes)
        held = [each.subscriptions for each in self.outboxes] + [
            each for _, each in self.hub._subscriptions._leaving
        ]
        assert statistics.subscriptions == sum(map(len, held))
        assert statistics.filters == len({each for subscriptions in held for each in subscriptions})
        lists = self.hub._targets
        assert lists.bytes == sum(map(_size, lists._lists.values()))


TestHubModel = HubModel.TestCase
TestHubModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(2, 7))
def test_slices_write_every_touched_connection_once(sizes: list[int], limit: int) -> None:
    hub = Hub()
    crowds = {
        f"t{number}": [connect(hub, f"t{number}") for _ in range(size)] for number, size in enumerate(sizes)
    }
    taken = []
    for topic in crowds:
        hub.deliver(publication(topic))
        part = hub.take_writes(limit)
        assert len(part) <= limit
        taken += part
    while part := hub.take_writes(limit):
        taken += part
    assert sorted(map(id, taken)) == sorted(id(outbox) for crowd in crowds.values() for outbox in crowd)


def test_what_waits_is_held_to_the_index_and_not_to_each_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    outbox = connect(hub, "a/#", "a/+", *(f"b/{number}" for number in range(500)))
    hub.block(outbox, 0, now=0.0)
    for number in range(100):
        hub.deliver(publication(f"a/{number}", str(number)))
    hub.flush_run()
    monkeypatch.setattr(outbox_module, "matches", None)
    hub.unsubscribe(outbox, "a/#")
    assert outbox.waiting_messages == 100
    hub.unsubscribe(outbox, "a/+")
    assert outbox.waiting_messages == 0
