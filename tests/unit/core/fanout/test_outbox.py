from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.fanout.backlog import Offer
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.subscription import Subscription
from gateway.core.messages.commands import Overflow
from gateway.core.messages.events import Pong
from gateway.core.topics.grammar import matches
from gateway.errors import OutboxClosed
from tests.unit.core.wire import ENCODER, LineEncoder, RecordingSink, batch, lines_of, publication


def blocked_outbox(*subscriptions: Subscription, messages: int = 3, size: int = 10_000) -> Outbox:
    outbox = Outbox(
        RecordingSink(), LineEncoder(), OutboxLimits(messages=messages, bytes=size, lane_bytes=100)
    )
    for subscription in subscriptions:
        outbox.subscriptions[subscription.filter] = subscription
    outbox.block(0, now=1.0)
    return outbox


def taken(outbox: Outbox, budget: int = 1_000_000) -> list[str]:
    """What comes out, as ids and as `filter-dropped` for gaps."""
    outbox.unblock()
    lines = []
    while frames := outbox.take(budget):
        lines += lines_of(frames)
    return [line.get("id") or f"{line.get('filter')}-{line.get('dropped')}" for line in lines]


def offer_many(outbox: Outbox, subscription: Subscription, count: int, topic: str = "t") -> list[Offer]:
    return [outbox.offer(batch(topic, str(number)), subscription) for number in range(1, count + 1)]


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.SPILL])
def test_drop_oldest_keeps_the_newest_and_tells_the_gap_first(overflow: Overflow) -> None:
    subscription = Subscription("t", overflow)
    outbox = blocked_outbox(subscription)
    assert offer_many(outbox, subscription, 5)[-2:] == [Offer.DROPPED, Offer.DROPPED]
    assert taken(outbox) == ["t-2", "3", "4", "5"]


def test_drop_newest_keeps_the_oldest_and_tells_the_gap_where_it_lies() -> None:
    subscription = Subscription("t", Overflow.DROP_NEWEST)
    outbox = blocked_outbox(subscription)
    offer_many(outbox, subscription, 5)
    assert taken(outbox) == ["1", "2", "3", "t-2"]


def test_latest_keeps_one_of_each_topic() -> None:
    subscription = Subscription("#", Overflow.LATEST)
    outbox = blocked_outbox(subscription)
    for topic, label in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")]:
        outbox.offer(batch(topic, label), subscription)
    assert outbox.waiting_messages == 2
    assert taken(outbox) == ["#-2", "b1", "a3"]


def test_latest_with_too_many_topics_loses_the_oldest_of_them() -> None:
    subscription = Subscription("#", Overflow.LATEST)
    outbox = blocked_outbox(subscription)
    for number in range(5):
        outbox.offer(batch(f"t{number}", str(number)), subscription)
    assert taken(outbox) == ["#-2", "2", "3", "4"]


def test_disconnect_overflows() -> None:
    subscription = Subscription("t", Overflow.DISCONNECT)
    outbox = blocked_outbox(subscription)
    assert offer_many(outbox, subscription, 4)[-1] is Offer.OVERFLOWED


def test_a_policy_drops_only_what_it_governs() -> None:
    keep, drop = Subscription("keep", Overflow.DROP_NEWEST), Subscription("drop", Overflow.DROP_OLDEST)
    outbox = blocked_outbox(keep, drop)
    offer_many(outbox, keep, 3, "keep")
    assert outbox.offer(batch("drop", "x"), drop) is Offer.DROPPED
    assert taken(outbox) == ["drop-1", "1", "2", "3"]


def test_the_transports_buffer_counts() -> None:
    subscription = Subscription("t", Overflow.DROP_NEWEST)
    outbox = blocked_outbox(subscription, messages=100, size=1000)
    outbox.block(990, now=1.0)
    assert outbox.offer(batch(), subscription) is Offer.DROPPED


def test_one_big_publication_evicts_several() -> None:
    subscription = Subscription("t", Overflow.DROP_OLDEST)
    size = len(publication().frame(LineEncoder()))
    outbox = blocked_outbox(subscription, messages=100, size=4 * size)
    offer_many(outbox, subscription, 4)
    assert outbox.offer(batch("t", "9" * (2 * size)), subscription) is Offer.DROPPED
    assert taken(outbox)[0] == "t-3"


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        (Overflow.DROP_OLDEST, ["t-3", "4", "5", "6"]),
        (Overflow.SPILL, ["t-3", "4", "5", "6"]),
        (Overflow.DROP_NEWEST, ["1", "2", "3", "t-3"]),
        (Overflow.LATEST, ["t-5", "6"]),
    ],
)
def test_a_batch_loses_what_its_messages_would_have_lost_one_by_one(
    overflow: Overflow, expected: list[str]
) -> None:
    subscription = Subscription("t", overflow)
    outbox = blocked_outbox(subscription)
    outbox.offer(batch("t", "1", "2"), subscription)
    outbox.offer(batch("t", "3", "4", "5", "6"), subscription)
    assert taken(outbox) == expected


def test_replies_pass_what_waits() -> None:
    subscription = Subscription("t", Overflow.SPILL)
    outbox = blocked_outbox(subscription)
    offer_many(outbox, subscription, 2)
    assert outbox.reply(Pong()) is False
    outbox.unblock()
    assert lines_of(outbox.take(10_000))[0] == {"event": "Pong"}


def test_a_full_lane_says_so_and_is_free_after_take() -> None:
    outbox = blocked_outbox()
    while not outbox.lane_full:
        outbox.reply(Pong())
    outbox.unblock()
    assert outbox.take(1)
    assert not outbox.lane_full


def test_it_is_direct_only_when_nothing_is_left() -> None:
    subscription = Subscription("t", Overflow.SPILL)
    outbox = blocked_outbox(subscription)
    offer_many(outbox, subscription, 3)
    outbox.unblock()
    assert not outbox.direct
    while outbox.take(1):
        assert not outbox.direct
    assert outbox.direct


def test_take_gives_at_least_one_frame_whatever_the_budget() -> None:
    subscription = Subscription("t", Overflow.SPILL)
    outbox = blocked_outbox(subscription)
    offer_many(outbox, subscription, 3)
    assert taken(outbox, budget=1) == ["1", "2", "3"]


def test_what_was_pending_when_it_was_blocked_goes_first() -> None:
    subscription = Subscription("t", Overflow.SPILL)
    outbox = Outbox(RecordingSink(), ENCODER, OutboxLimits())
    outbox.append(publication("t", "0").frame(outbox.encoder))
    outbox.block(0, now=0.0)
    offer_many(outbox, subscription, 1)
    assert taken(outbox) == ["0", "1"]


def test_release_lets_go_of_what_only_that_subscription_wanted() -> None:
    one, both = Subscription("a", Overflow.DROP_OLDEST), Subscription("#", Overflow.LATEST)
    outbox = blocked_outbox(one, both, messages=10)
    outbox.offer(batch("a", "1"), one)
    outbox.offer(batch("b", "2"), both)
    del outbox.subscriptions["#"]
    outbox.discard(both)
    assert taken(outbox) == ["1"]


def test_release_hands_over_to_the_subscription_that_still_matches() -> None:
    one, other = Subscription("a", Overflow.DROP_OLDEST), Subscription("#", Overflow.LATEST)
    outbox = blocked_outbox(one, other, messages=10)
    offer_many(outbox, one, 3, "a")
    del outbox.subscriptions["a"]
    outbox.discard(one)
    outbox.offer(batch("a", "4"), other)
    # The newest of those that were handed over is superseded; the others were accepted under another policy.
    assert taken(outbox) == ["#-1", "1", "2", "4"]


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_release_still_tells_the_gap(overflow: Overflow) -> None:
    subscription = Subscription("t", overflow)
    outbox = blocked_outbox(subscription)
    offer_many(outbox, subscription, 5)
    del outbox.subscriptions["t"]
    outbox.discard(subscription)
    assert taken(outbox) == ["t-2"]


def test_a_closed_outbox_takes_nothing() -> None:
    outbox = blocked_outbox()
    outbox.close()
    assert outbox.reply(Pong()) is False
    with pytest.raises(OutboxClosed):
        outbox.offer(batch(), Subscription("t", Overflow.SPILL))
    assert outbox.take(100) == b""
    assert not outbox.direct


POLICIES = [Overflow.SPILL, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST]
FILTERS = ["a", "b", "+", "#", "c/+"]
TOPICS = ["a", "b", "c/d", "c/e"]


@given(
    policies=st.dictionaries(st.sampled_from(FILTERS), st.sampled_from(POLICIES), min_size=1),
    steps=st.lists(
        st.one_of(st.tuples(st.sampled_from(TOPICS), st.integers(1, 5)), st.integers(1, 200)), max_size=60
    ),
    messages=st.integers(1, 6),
    size=st.integers(60, 400),
)
def test_nothing_is_lost_untold_nor_out_of_order(
    policies: dict[str, Overflow], steps: list[tuple[str, int] | int], messages: int, size: int
) -> None:
    """Steps are batches to publish, and budgets to take with; the model is two lists and two counters."""
    outbox = Outbox(RecordingSink(), ENCODER, OutboxLimits(messages=messages, bytes=size))
    for topic_filter, overflow in policies.items():
        outbox.subscriptions[topic_filter] = Subscription(topic_filter, overflow)
    outbox.block(0, now=0.0)
    offered: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    received: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    governed: dict[str, int] = dict.fromkeys(policies, 0)
    told: dict[str, int] = dict.fromkeys(policies, 0)
    got: dict[str, int] = dict.fromkeys(policies, 0)
    governor_of: dict[str, str] = {}

    def take(budget: int) -> bytes:
        outbox.unblock()
        frames = outbox.take(budget)
        for line in lines_of(frames):
            if "id" in line:
                received[line["topic"]].append(line["id"])
                got[governor_of[line["id"]]] += 1
            else:
                assert line["dropped"] > 0
                told[line["filter"]] += line["dropped"]
        return frames

    for number, step in enumerate(steps):
        if isinstance(step, int):
            take(step)
            outbox.block(0, now=0.0)
        elif (governor := outbox.governing(step[0])) is not None:
            topic, count = step
            assert matches(governor.filter, topic)
            labels = [f"{number}.{index}" for index in range(count)]
            outbox.offer(batch(topic, *labels), governor)
            offered[topic] += labels
            governed[governor.filter] += count
            governor_of |= dict.fromkeys(labels, governor.filter)
            assert outbox.waiting_messages <= messages
            assert outbox.waiting_bytes <= size
    while take(100):
        pass
    assert outbox.direct
    for topic in TOPICS:
        rest = iter(offered[topic])
        assert all(label in rest for label in received[topic]), "received is no subsequence of offered"
    assert {each: got[each] + told[each] for each in policies} == governed
