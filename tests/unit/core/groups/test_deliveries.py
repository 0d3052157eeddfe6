"""What a delivery remembers of itself."""

from __future__ import annotations

from gateway.core.groups.deliveries import DeliveryFailure, DeliveryState, TrackedDelivery


def test_a_lease_says_who_has_it_until_when() -> None:
    delivery = TrackedDelivery(7)
    delivery.begin_lease("m", 3, 100, 150)
    assert delivery == TrackedDelivery(7, state=DeliveryState.LEASED, due=150, member="m", fence=3, since=100)


def test_only_the_newest_failures_are_remembered_and_all_are_counted() -> None:
    delivery = TrackedDelivery(7)
    assert [delivery.fail(time, f"reason {time}") for time in range(16)] == [0] * 16
    assert delivery.fail(16, "reason 16") == 0
    assert delivery.fail(17, "reason 17") == 1
    assert delivery.attempts == 18
    assert delivery.failures == [DeliveryFailure(time, f"reason {time}") for time in range(2, 18)]


def test_a_copy_stays_as_it_is() -> None:
    delivery = TrackedDelivery(7)
    delivery.fail(1, "one")
    copy = delivery.copy()
    delivery.fail(2, "two")
    assert (copy.attempts, copy.failures) == (1, [DeliveryFailure(1, "one")])
