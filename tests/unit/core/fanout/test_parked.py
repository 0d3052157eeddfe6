from __future__ import annotations

from gateway.core.catchup.readers import HistoryReader
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.parked import CatchUp, ParkedReaders
from tests.unit.core.streaming import ENCODER, connection


def reader() -> HistoryReader:
    return HistoryReader(ENCODER, "a", {})


def test_they_come_back_once_in_the_order_in_which_they_were_parked() -> None:
    outbox, parked = connection(Hub()), ParkedReaders()
    one, other = reader(), reader()
    parked.park(outbox, one)
    parked.park(outbox, other)
    assert outbox in parked
    assert parked.take(outbox) == [CatchUp(outbox, one), CatchUp(outbox, other)]
    assert outbox not in parked
    assert parked.take(outbox) == []


def test_nothing_is_kept_for_a_connection_that_has_ended() -> None:
    hub = Hub()
    early, late = connection(hub), connection(hub)
    hub.park(early, reader())
    for outbox in (early, late):
        hub.detach(outbox)
    hub.park(late, reader())
    assert not hub.has_parked(early)
    assert not hub.has_parked(late)
