"""Who is on a list, and which lists are right after a change; test_hub.py holds what comes of it."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from gateway.core.catchup.readers import HistoryReader
from gateway.core.fanout import targets as targets_module
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.subscription import Subscription, SubscriptionState
from gateway.core.fanout.targets import FilterEntry, TargetLists, Targets
from gateway.core.messages.commands import Overflow
from tests.unit.core.streaming import PlainEncoder, followed_stream
from tests.unit.core.wire import ENCODER, LineEncoder, RecordingSink


def connection(encoder: LineEncoder | PlainEncoder = ENCODER) -> Outbox:
    return Outbox(RecordingSink(), encoder, OutboxLimits())


def entry(topic_filter: str, *outboxes: Outbox, overflow: Overflow = Overflow.SPILL) -> FilterEntry:
    """A filter to which all of ``outboxes`` are subscribed, live."""
    made = FilterEntry(topic_filter)
    for outbox in outboxes:
        made.place(outbox, Subscription(topic_filter, overflow))
    return made


def reading(topic_filter: str) -> Subscription:
    subscription = Subscription(topic_filter, Overflow.SPILL, state=SubscriptionState.WAITING)
    subscription.read(HistoryReader(ENCODER, topic_filter, {}))
    return subscription


# Entries


def test_a_subscription_is_kept_where_its_state_belongs() -> None:
    outbox, made = connection(), FilterEntry("a")
    subscription = Subscription("a", Overflow.SPILL, state=SubscriptionState.WAITING)
    made.place(outbox, subscription)
    assert (made.members, made.pending) == ({}, {outbox: subscription})
    subscription.go_live()
    made.place(outbox, subscription)
    assert (made.members, made.pending) == ({outbox: subscription}, None)


@pytest.mark.parametrize("state", [SubscriptionState.LIVE, SubscriptionState.WAITING])
def test_an_entry_is_empty_once_nobody_is_left(state: SubscriptionState) -> None:
    outbox, made = connection(), FilterEntry("a")
    made.place(outbox, Subscription("a", Overflow.SPILL, state=state))
    assert not made.is_empty
    made.remove(outbox)
    assert made.is_empty
    made.remove(outbox)


def test_entries_that_have_retired_share_what_they_hold() -> None:
    one, other = FilterEntry("a"), FilterEntry("b")
    one.retire()
    other.retire()
    assert one.members is other.members
    assert one.filter == ""


# Lists


def test_a_connection_is_in_it_once_however_many_of_its_filters_match() -> None:
    one, other = connection(), connection()
    targets = Targets((entry("a/#", one, other), entry("#", one)))
    assert targets.groups == ((ENCODER, (one, other)),)
    assert targets.count == 2


def test_each_wire_format_has_a_group_of_its_own() -> None:
    plain = PlainEncoder()
    one, other, third = connection(), connection(plain), connection()
    targets = Targets((entry("a", one, other, third),))
    assert dict(targets.groups) == {ENCODER: (one, third), plain: (other,)}


def test_the_only_target_is_named_where_there_is_no_fan_out() -> None:
    one, other = connection(), connection()
    assert Targets((entry("a", one),)).only_target is one
    assert Targets((entry("a", one), entry("#", one))).only_target is one
    assert Targets((entry("a", one, other),)).only_target is None


def test_who_reads_history_is_a_target_of_live_topics_and_of_no_stream() -> None:
    live, reader = connection(), connection()
    crowd = entry("s/#", live)
    crowd.place(reader, subscription := reading("s/#"))
    targets = Targets((crowd,))
    assert targets.history_targets == ((reader, subscription),)
    assert (targets.count, targets.only_target) == (2, None)
    captured = Targets((crowd,), followed_stream())
    assert (captured.history_targets, captured.count, captured.only_target) == ((), 1, live)


def test_who_only_waits_for_its_streams_is_no_target() -> None:
    outbox = connection()
    waiting = FilterEntry("a")
    waiting.place(outbox, Subscription("a", Overflow.SPILL, state=SubscriptionState.WAITING))
    targets = Targets((waiting,))
    assert (targets.groups, targets.history_targets, targets.count) == ((), (), 0)


def test_who_has_left_the_live_path_of_a_stream_is_left_out_there() -> None:
    live, spilled = connection(), connection()
    crowd = entry("s/#", live, spilled)
    assert Targets((crowd,), followed_stream(), without={spilled}).groups == ((ENCODER, (live,)),)
    assert Targets((crowd,)).count == 2


def test_lists_of_a_stream_have_keys_of_their_own() -> None:
    crowd, stream = entry("s/#", connection()), followed_stream()
    assert Targets((crowd,)).key == (crowd,)
    assert Targets((crowd,), stream).key == (stream, (crowd,))


def test_the_policy_that_governs_depends_on_who_captured_the_topic() -> None:
    outbox = connection()
    entries = (
        entry("s/#", outbox, overflow=Overflow.SPILL),
        entry("s/a", outbox, overflow=Overflow.DISCONNECT),
        entry("#", connection(), overflow=Overflow.LATEST),
    )
    assert Targets(entries).governing(outbox).overflow is Overflow.DISCONNECT
    assert Targets(entries, followed_stream()).governing(outbox).overflow is Overflow.SPILL
    assert Targets(entries[:1]).governing(outbox).overflow is Overflow.SPILL


# Remembered lists


def test_a_change_forgets_the_lists_of_its_filter_and_no_other() -> None:
    lists = TargetLists(1 << 20)
    one, two, three = (entry(name, connection()) for name in "abc")
    for key in ((one,), (one, two), (two, three), (three,)):
        lists.make(key)
    lists.forget(two)
    assert [lists.recall(key) is not None for key in ((one,), (one, two), (two, three), (three,))] == [
        True,
        False,
        False,
        True,
    ]
    lists.tidy()
    assert lists.tidied
    assert len(lists) == 2


def test_however_many_lists_a_change_concerns_a_portion_is_let_go_at_once(monkeypatch) -> None:
    monkeypatch.setattr(targets_module, "_PORTION", 10)
    lists = TargetLists(1 << 20)
    wide, narrow = entry("#", connection()), [entry(str(number), connection()) for number in range(50)]
    for each in narrow:
        lists.make((wide, each))
        lists.make((each,))
    links = lists.touched
    lists.forget(wide)
    lists.tidy()
    assert 0 < lists.touched - links <= 13
    assert not lists.tidied
    assert not any(lists.recall((wide, each)) for each in narrow[::2])
    assert all(lists.recall((each,)) for each in narrow)
    again = lists.make((wide, narrow[1]))
    assert lists.recall((wide, narrow[1])) is again
    while not lists.tidied:
        lists.tidy()
    assert len(lists) == 51
    assert lists.recall((wide, narrow[1])) is again
    assert lists.bytes == sum(map(targets_module._size, lists._lists.values()))


@pytest.mark.parametrize(("filters", "members"), [(1, 1), (1, 5000), (300, 1), (2, 100)])
def test_what_lists_take_is_bounded_in_bytes(filters: int, members: int) -> None:
    most = 2 << 20
    lists, chosen = TargetLists(most), random.Random(3)
    crowd = [connection() for _ in range(members)]
    # With many members a few lists fill it.
    known = [entry(str(number), *crowd) for number in range(1000 if members < 1000 else 200)]
    if filters == 1:
        known += [entry(str(number), *crowd) for number in range(1000, 5000 if members == 1 else 1000)]
    dropped = 0
    tracemalloc.start()
    try:
        for number in range(20_000):
            before = len(lists)
            key = (known[number % len(known)],) if filters == 1 else tuple(chosen.sample(known, filters))
            if lists.recall(key) is None:
                lists.make(key)
            dropped += len(lists) <= before
            if dropped > len(lists):
                break
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lists.bytes <= most
    assert dropped, "it has not been full"
    assert taken <= 1.5 * most
