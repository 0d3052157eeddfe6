from __future__ import annotations

from itertools import product

import pytest

from gateway.core.catchup.readers import HistoryReader
from gateway.core.fanout.subscription import TRANSITIONS, Subscription, SubscriptionState, governing
from gateway.core.messages.commands import Overflow
from tests.unit.core.streaming import ENCODER

WAITING, READING, LIVE = SubscriptionState


def subscription_in(state: SubscriptionState) -> Subscription:
    """A subscription that has come to ``state`` by itself."""
    made = Subscription("a/#", Overflow.SPILL, state=WAITING)
    if state is READING:
        made.read(HistoryReader(ENCODER, "a/#", {}))
    elif state is LIVE:
        made.go_live()
    return made


def enter(subscription: Subscription, state: SubscriptionState) -> None:
    if state is READING:
        subscription.read(HistoryReader(ENCODER, "a/#", {}))
    else:
        subscription.go_live()


def test_every_state_has_its_line_in_the_table() -> None:
    assert set(TRANSITIONS) == set(SubscriptionState)
    assert TRANSITIONS[WAITING] == {READING, LIVE}
    assert TRANSITIONS[READING] == {LIVE}
    assert not TRANSITIONS[LIVE], "who is live asks anew, and gets another subscription"


@pytest.mark.parametrize(("before", "after"), list(product(SubscriptionState, (READING, LIVE))))
def test_it_goes_only_where_the_table_lets_it(before: SubscriptionState, after: SubscriptionState) -> None:
    subscription = subscription_in(before)
    if after in TRANSITIONS[before]:
        enter(subscription, after)
        assert subscription.state is after
    else:
        with pytest.raises(AssertionError):
            enter(subscription, after)
        assert subscription.state is before


@pytest.mark.parametrize("end", ["go_live", "end_reader"])
def test_its_reader_ends_once(end: str) -> None:
    subscription = subscription_in(READING)
    reader = subscription.reader
    assert reader is not None
    assert not reader.ended
    getattr(subscription, end)()
    assert reader.ended
    assert subscription.reader is None


def test_the_one_that_loses_least_governs() -> None:
    each = [Subscription(overflow.value, overflow) for overflow in Overflow]
    order = []
    while each:
        order.append(governing(each).overflow)
        each = [other for other in each if other.overflow is not order[-1]]
    # `spill` is `drop_oldest` for what no stream holds, and then the filter decides.
    assert order == [
        Overflow.DISCONNECT,
        Overflow.DROP_OLDEST,
        Overflow.SPILL,
        Overflow.DROP_NEWEST,
        Overflow.LATEST,
    ]


def test_what_a_stream_captured_spills_whatever_else_was_asked() -> None:
    spill, disconnect = Subscription("z", Overflow.SPILL), Subscription("a", Overflow.DISCONNECT)
    assert governing([disconnect, spill], captured=True) is spill
    assert governing([disconnect, spill]) is disconnect


def test_equal_policies_are_told_apart_by_their_filter_in_any_order() -> None:
    one, other = Subscription("a", Overflow.LATEST), Subscription("b", Overflow.LATEST)
    assert governing([one, other]) is governing([other, one]) is one
