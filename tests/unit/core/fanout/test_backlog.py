from __future__ import annotations

import pytest

from gateway.core.fanout.backlog import Backlog, Offer
from gateway.core.fanout.batch import Batch
from gateway.core.fanout.subscription import Subscription
from gateway.core.messages.commands import Overflow
from gateway.core.streams.stream import FollowedStream
from tests.unit.core.streaming import captured, followed_stream
from tests.unit.core.wire import ENCODER, batch, lines_of

ROOM = 100_000


def of_stream(stream: FollowedStream, *offsets: int) -> Batch:
    return Batch([captured(offset) for offset in offsets], ENCODER, stream)


def taken(backlog: Backlog, budget: int = ROOM) -> list[str]:
    """What comes next, as ids and as `filter-dropped` for gaps."""
    lines = lines_of(b"".join(backlog.take(budget, ENCODER.encode)))
    return [line.get("id") or f"{line['filter']}-{line['dropped']}" for line in lines]


def test_what_waits_is_counted_in_messages_and_bytes_until_it_is_taken() -> None:
    backlog, subscription = Backlog(), Subscription("t", Overflow.SPILL)
    whole = batch("t", "1", "2", "3")
    assert backlog.offer(whole, subscription, messages=10, room=ROOM) is Offer.QUEUED
    assert (backlog.messages, backlog.bytes) == (3, len(whole.joined))
    assert taken(backlog, 1) == ["1"]
    assert (backlog.messages, backlog.bytes) == (2, whole.size(1, 3))
    assert taken(backlog) == ["2", "3"]
    assert (backlog.messages, backlog.bytes, bool(backlog)) == (0, 0, False)


def test_one_order_holds_over_all_policies() -> None:
    backlog = Backlog()
    for number, overflow in enumerate(Overflow):
        subscription = Subscription(overflow.value, overflow)
        backlog.offer(batch(overflow.value, str(number)), subscription, messages=10, room=ROOM)
    assert taken(backlog) == [str(number) for number in range(len(Overflow))]


@pytest.mark.parametrize(("messages", "room"), [(2, ROOM), (9, 70)])
def test_a_prefix_of_a_streams_batch_waits_and_nothing_is_dropped(messages: int, room: int) -> None:
    backlog, subscription = Backlog(), Subscription("s/#", Overflow.SPILL)
    whole = of_stream(followed_stream(), 1, 2, 3)
    assert whole.size(0, 2) <= 70 < whole.size(0, 3)
    assert backlog.enqueue_prefix(whole, subscription, messages=messages, room=room) == 2
    assert backlog.enqueue_prefix(whole, subscription, messages=2, room=room) == 0
    assert (backlog.dropped, taken(backlog)) == (0, ["s1", "s2"])


def test_what_a_stream_holds_is_nobodys_victim() -> None:
    backlog, subscription = Backlog(), Subscription("#", Overflow.SPILL)
    backlog.enqueue_prefix(of_stream(followed_stream(), 1, 2), subscription, messages=3, room=ROOM)
    assert backlog.offer(batch("t", "old", "new"), subscription, messages=3, room=ROOM) is Offer.DROPPED
    assert taken(backlog) == ["#-1", "s1", "s2", "new"]


def test_all_is_released_to_its_streams_with_the_first_offset_of_each() -> None:
    backlog, subscription = Backlog(), Subscription("#", Overflow.SPILL)
    one, other = followed_stream("s"), followed_stream("t")
    for waiting in (of_stream(one, 4, 5), of_stream(other, 9), of_stream(one, 6)):
        backlog.enqueue_prefix(waiting, subscription, messages=10, room=ROOM)
    taken(backlog, 1)
    assert (backlog.first_waiting(one), backlog.first_waiting(other)) == (5, 9)
    assert backlog.release() == {one: 5, other: 9}
    assert (backlog.messages, backlog.bytes, bool(backlog)) == (0, 0, False)
    assert backlog.first_waiting(one) is None


@pytest.mark.parametrize("overflow", [Overflow.SPILL, Overflow.DROP_NEWEST])
def test_nothing_is_released_where_something_waits_that_no_stream_gives_back(overflow: Overflow) -> None:
    backlog = Backlog()
    stream = followed_stream()
    backlog.enqueue_prefix(of_stream(stream, 1), Subscription("s/#", Overflow.SPILL), messages=10, room=ROOM)
    if overflow is Overflow.SPILL:
        backlog.offer(batch("t", "live"), Subscription("t", overflow), messages=10, room=ROOM)
    else:
        backlog.offer(of_stream(stream, 2), Subscription("s/+", overflow), messages=10, room=ROOM)
    assert backlog.release() is None
    assert backlog.messages == 2


def test_the_gaps_of_others_stay_when_a_subscription_ends() -> None:
    backlog = Backlog()
    ended, other = Subscription("a", Overflow.DROP_NEWEST), Subscription("b", Overflow.DROP_NEWEST)
    for subscription in (ended, other):
        backlog.offer(batch(subscription.filter, "1", "2"), subscription, messages=1, room=ROOM)
    gaps = list(backlog.discard(ended, lambda topic, waiting: None))
    assert [(gap.filter, gap.dropped) for gap in gaps] == [("a", 1)]
    assert taken(backlog) == ["b-2"]


def test_what_an_ended_subscription_governed_goes_to_its_heir_in_its_place() -> None:
    backlog = Backlog()
    ended, heir = Subscription("a", Overflow.DROP_OLDEST), Subscription("#", Overflow.LATEST)
    backlog.offer(batch("a", "1"), ended, messages=9, room=ROOM)
    backlog.offer(batch("b", "2"), heir, messages=9, room=ROOM)
    assert list(backlog.discard(ended, lambda topic, waiting: heir)) == []
    # From now on it is superseded, as all that the heir governs.
    backlog.offer(batch("a", "3"), heir, messages=9, room=ROOM)
    assert taken(backlog) == ["#-1", "2", "3"]
