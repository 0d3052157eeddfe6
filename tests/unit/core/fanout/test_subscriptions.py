from __future__ import annotations

import pytest

from gateway.core.fanout.hub import Hub
from gateway.core.fanout.limits import HubLimits
from gateway.core.fanout.outbox import Outbox
from gateway.core.fanout.subscription import Subscription, SubscriptionState
from gateway.core.fanout.subscriptions import Subscriptions, live_filters
from gateway.core.messages.commands import Overflow
from gateway.core.streams.stream import FollowedStream
from gateway.errors import TooManyShapes
from tests.unit.core.streaming import connection, followed_stream

WAITING, LIVE = SubscriptionState.WAITING, SubscriptionState.LIVE


def subscribed(
    subscriptions: Subscriptions,
    outbox: Outbox,
    topic_filter: str,
    *streams: FollowedStream,
    state: SubscriptionState = LIVE,
) -> bool:
    """Whether it was the first with its filter."""
    return subscriptions.add(outbox, Subscription(topic_filter, Overflow.SPILL, streams, state=state))


def lists_kept(subscriptions: Subscriptions, topic: str) -> bool:
    """Whether the list of ``topic`` is still right; made if it was not."""
    entries = subscriptions.match(topic)
    if subscriptions.lists.recall(entries) is not None:
        return True
    subscriptions.lists.make(entries)
    return False


def test_the_first_and_the_last_with_a_filter_are_told() -> None:
    subscriptions, hub = Subscriptions(HubLimits()), Hub()
    one, other = connection(hub), connection(hub)
    assert subscribed(subscriptions, one, "a/#")
    assert not subscribed(subscriptions, other, "a/#")
    assert not subscriptions.remove(one, "a/#")
    assert subscriptions.remove(other, "a/#")
    assert (subscriptions.match("a/b"), subscriptions.subscriptions) == ((), 0)


def test_a_subscription_replaced_is_counted_once() -> None:
    subscriptions, outbox = Subscriptions(HubLimits()), connection(Hub())
    subscribed(subscriptions, outbox, "a")
    subscribed(subscriptions, outbox, "a")
    assert subscriptions.subscriptions == 1


def test_to_wait_for_streams_makes_no_list_wrong() -> None:
    subscriptions, hub = Subscriptions(HubLimits()), Hub()
    live, late = connection(hub), connection(hub)
    subscribed(subscriptions, live, "a")
    lists_kept(subscriptions, "a")
    subscribed(subscriptions, late, "a", state=WAITING)
    assert lists_kept(subscriptions, "a")
    late.subscriptions["a"].go_live()
    subscriptions.move(late, late.subscriptions["a"])
    assert not lists_kept(subscriptions, "a")


@pytest.mark.parametrize("after", [LIVE, WAITING])
def test_to_replace_who_is_live_makes_its_lists_wrong(after: SubscriptionState) -> None:
    subscriptions, outbox = Subscriptions(HubLimits()), connection(Hub())
    subscribed(subscriptions, outbox, "a")
    lists_kept(subscriptions, "a")
    subscribed(subscriptions, outbox, "a", state=after)
    # The list holds connections alone: who stays live in it stays as it is.
    assert lists_kept(subscriptions, "a") is (after is LIVE)


def test_a_stream_knows_its_live_members_once_each() -> None:
    subscriptions, hub, stream = Subscriptions(HubLimits()), Hub(), followed_stream()
    one, waiting, elsewhere = (connection(hub) for _ in range(3))
    subscribed(subscriptions, one, "s/#", stream)
    subscribed(subscriptions, one, "s/a", stream)
    subscribed(subscriptions, waiting, "s/#", stream, state=WAITING)
    subscribed(subscriptions, elsewhere, "t")
    assert subscriptions.live_members(stream) == [one]
    assert live_filters(one, stream) == ("s/#", "s/a")
    assert live_filters(waiting, stream) == ()
    for topic_filter in ("s/#", "s/a"):
        subscriptions.remove(one, topic_filter)
    assert subscriptions.live_members(stream) == []


def test_a_connection_wants_of_a_stream_what_its_live_filters_there_match() -> None:
    subscriptions, hub, stream = Subscriptions(HubLimits()), Hub(), followed_stream()
    outbox, other = connection(hub), connection(hub)
    subscribed(subscriptions, outbox, "s/a", stream)
    subscribed(subscriptions, outbox, "s/c", stream, state=WAITING)
    subscribed(subscriptions, other, "s/#", stream)
    wants = subscriptions.picker(outbox, stream)
    assert [topic for topic in ("s/a", "s/b", "s/c") if wants(topic)] == ["s/a"]
    assert not subscriptions.picker(outbox, followed_stream("t"))("s/a")


def test_the_shapes_of_one_connection_are_bounded_and_come_free_again() -> None:
    subscriptions, hub = Subscriptions(HubLimits(shapes=2)), Hub()
    outbox = connection(hub)
    for topic_filter in ("+/a", "+/b", "a/+"):
        subscriptions.check(outbox, topic_filter)
        subscribed(subscriptions, outbox, topic_filter)
    subscriptions.check(outbox, "b/+")
    with pytest.raises(TooManyShapes):
        subscriptions.check(outbox, "+/+")
    subscriptions.check(connection(hub), "+/+")
    del outbox.subscriptions["a/+"]
    subscriptions.remove(outbox, "a/+")
    subscriptions.check(outbox, "+/+")
