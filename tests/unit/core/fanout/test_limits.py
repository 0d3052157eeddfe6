"""The hub's bounds hold at the hub, and what it has by default fits together."""

from __future__ import annotations

from dataclasses import fields

import pytest

from gateway.core.fanout.hub import Hub
from gateway.core.fanout.limits import HubLimits
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import Overflow
from gateway.errors import TooMany
from tests.unit.core.wire import LineEncoder, RecordingSink, publication


def subscribed(limits: HubLimits, *filters: str) -> tuple[Hub, Outbox]:
    hub, outbox = Hub(limits), Outbox(RecordingSink(), LineEncoder(), OutboxLimits())
    hub.attach(outbox)
    for each in filters:
        hub.subscribe(outbox, each, Overflow.SPILL)
    return hub, outbox


def test_a_connection_has_a_bounded_number_of_subscriptions() -> None:
    hub, outbox = subscribed(HubLimits(subscriptions=2), "a", "b")
    with pytest.raises(TooMany):
        hub.subscribe(outbox, "c", Overflow.SPILL)
    hub.subscribe(outbox, "a", Overflow.LATEST)
    hub.unsubscribe(outbox, "a")
    hub.subscribe(outbox, "c", Overflow.SPILL)


@pytest.mark.parametrize("limits", [HubLimits(tick_messages=5), HubLimits(tick_bytes=1000)])
def test_a_tick_says_when_it_has_grown_to_its_bound(limits: HubLimits) -> None:
    hub, _ = subscribed(limits, "#")
    grown = [bool(hub.deliver(publication("a", str(number), b"1" * 100))) for number in range(100)]
    assert True in grown
    assert not grown[0]


def test_by_default_every_bound_leaves_room() -> None:
    limits = HubLimits()
    assert all(getattr(limits, field.name) > 0 for field in fields(limits))
    assert limits.shapes <= limits.subscriptions
    assert limits.tick_bytes <= OutboxLimits().bytes
