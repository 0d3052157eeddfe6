from __future__ import annotations

import pytest

from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox
from gateway.core.messages.commands import Overflow
from tests.unit.core.streaming import bring, captured, connection, followed_stream
from tests.unit.core.wire import publication


def blocked(hub: Hub, *, messages: int = 2, now: float = 0.0) -> Outbox:
    outbox = connection(hub, messages=messages)
    hub.block(outbox, 0, now=now)
    return outbox


@pytest.mark.parametrize(
    ("overflow", "dropped"),
    [(Overflow.DROP_OLDEST, 2), (Overflow.DROP_NEWEST, 2), (Overflow.SPILL, 2), (Overflow.LATEST, 3)],
)
def test_what_is_lost_is_counted_under_the_policy_that_governs(overflow: Overflow, dropped: int) -> None:
    hub = Hub()
    hub.subscribe(blocked(hub), "t", overflow)
    for number in range(4):
        hub.deliver(publication("t", str(number)))
        hub.flush_run()
    counts = hub.statistics().dropped
    assert {policy: count for policy, count in counts.items() if count} == {overflow: dropped}
    assert hub.take_overflowed() == []


def test_a_slow_consumer_is_named_once_the_fan_out_is_over() -> None:
    hub = Hub()
    outbox, other = blocked(hub, messages=1), connection(hub)
    for each in (outbox, other):
        hub.subscribe(each, "t", Overflow.DISCONNECT)
    hub.deliver(publication("t", "1"))
    hub.deliver(publication("t", "2"))
    hub.flush_run()
    assert hub.take_overflowed() == [outbox]
    assert hub.take_overflowed() == []
    assert hub.statistics().dropped[Overflow.DISCONNECT] == 2


def test_the_longest_blocked_are_found_by_when_it_began() -> None:
    hub = Hub()
    early, late = blocked(hub, now=1.0), blocked(hub, now=3.0)
    hub.block(early, 10, now=5.0)  # again: it has taken nothing in between
    assert hub.blocked_before(1.0) == []
    assert hub.blocked_before(2.0) == [early]
    assert hub.blocked_before(9.0) == [early, late]
    hub.unblock(early)
    assert hub.blocked_before(9.0) == [late]
    hub.detach(late)
    assert hub.statistics().blocked == 0


def test_what_there_is_no_room_for_is_left_to_the_stream_from_its_first_offset_on() -> None:
    hub, stream = Hub(), followed_stream()
    outbox = blocked(hub, messages=2)
    hub.subscribe(outbox, "s/#", Overflow.SPILL, (stream,))
    bring(hub, stream, *map(captured, range(1, 6)))
    hub.flush_run()
    reader = hub.spill_reader(outbox)
    assert reader is not None
    assert reader.positions[stream].offset == 2
    assert (outbox.waiting_messages, sum(hub.statistics().dropped.values())) == (2, 0)
