from __future__ import annotations

import pytest

from gateway.client.mailbox import Item, Mailbox
from gateway.client.message import Message
from gateway.client.positions import FROM_NOW, Positions, SubscriptionStart
from gateway.client.read_gate import ReadGate
from gateway.client.route import Route
from gateway.client.routes import Routes
from gateway.core.messages.commands import START_NEW, Overflow, Position, Start, StartKind, Subscribe
from gateway.core.messages.events import CaughtUp, Gap, Subscribed
from gateway.errors import Conflict

SPILL = Overflow.SPILL
EARLIEST = SubscriptionStart(Start(StartKind.EARLIEST))


def message(offset: int | None, stream: str | None = "s") -> Message:
    return Message("a", "1", 0, None, None, {}, None, stream if offset else None, offset)


def mailbox(beginning: SubscriptionStart = FROM_NOW) -> Mailbox:
    return Mailbox("a", ReadGate(), size=100, reserve=0, positions=Positions(beginning.resume))


def held(box: Mailbox) -> list[Item]:
    return list(box._items)


def asked(routes: Routes) -> Subscribe:
    """Take the one step there is, as the wire would."""
    step = routes.next_step()
    assert isinstance(step, Route)
    assert routes.next_step() is None
    return step.ask(1)


def subscribed(offset: int, *, recovered: bool | None = None, epoch: str = "e") -> Subscribed:
    return Subscribed("a", {"s": Position(epoch, offset)}, recovered)


def test_history_is_asked_for_and_then_live_messages_come() -> None:
    routes, box = Routes(), mailbox()
    route = routes.attach("a", box, overflow=SPILL, beginning=EARLIEST)
    assert asked(routes) == Subscribe("a", None, EARLIEST.start, ref=1)
    routes.confirm(route, subscribed(0))
    assert routes.deliver(message(2), None) == 0  # it comes with the history
    assert routes.deliver(message(1), "a") == 1
    assert routes.deliver(message(2), "a") == 1
    assert not routes.caught_up("a")
    assert routes.deliver(message(3), None) == 1
    assert held(box) == [message(1), message(2), CaughtUp("a"), message(3)]


def test_a_live_message_at_or_before_the_position_is_skipped() -> None:
    routes, box = Routes(), mailbox()
    route = routes.attach("a", box, overflow=SPILL)
    asked(routes)
    routes.confirm(route, subscribed(7))
    assert routes.deliver(message(7), None) == 0
    assert routes.deliver(message(8), None) == 1
    assert routes.deliver(message(None), None) == 1


def test_a_reconnect_resumes_behind_what_was_received() -> None:
    routes, box = Routes(), mailbox()
    route = routes.attach("a", box, overflow=SPILL)
    assert asked(routes) == Subscribe("a", ref=1)
    routes.confirm(route, subscribed(7))
    routes.deliver(message(8), None)
    routes.disconnected()
    assert asked(routes) == Subscribe("a", {"s": Position("e", 8)}, START_NEW, ref=1)
    routes.confirm(route, subscribed(8, recovered=True))
    routes.deliver(message(9), "a")
    routes.caught_up("a")
    assert [item for item in held(box) if isinstance(item, Message | Gap)] == [message(8), message(9)]


def test_only_earliest_goes_on_being_asked_for() -> None:
    for beginning, start in (
        (EARLIEST, EARLIEST.start),
        (SubscriptionStart(Start(StartKind.LAST, 3)), START_NEW),
    ):
        routes, box = Routes(), mailbox()
        route = routes.attach("a", box, overflow=SPILL, beginning=beginning)
        asked(routes)
        routes.disconnected()
        assert asked(routes) == Subscribe("a", None, beginning.start, ref=1)  # never answered
        routes.confirm(route, subscribed(5))
        routes.disconnected()
        assert asked(routes) == Subscribe("a", {"s": Position("e", 5)}, start, ref=1)


def test_what_is_not_recovered_is_told_before_the_position_moves() -> None:
    beginning = SubscriptionStart(resume={"s": Position("e", 4)})
    routes, box = Routes(), mailbox(beginning)
    route = routes.attach("a", box, overflow=SPILL, beginning=beginning)
    asked(routes)
    routes.confirm(route, subscribed(0, recovered=False, epoch="e2"))
    routes.gap(gap := Gap("epoch", "a", stream="s", epoch="e2"))
    routes.deliver(message(1), "a")
    assert box.positions.current() == {"s": Position("e", 4)}
    assert held(box)[1:] == [gap, message(1)]
    routes.disconnected()
    assert asked(routes).resume == {"s": Position("e2", 1)}


def test_a_reconnect_that_recovers_not_all_is_told() -> None:
    routes, box = Routes(), mailbox()
    route = routes.attach("a", box, overflow=SPILL)
    asked(routes)
    routes.confirm(route, subscribed(1))
    routes.disconnected()
    asked(routes)
    routes.confirm(route, Subscribed("a", {}, recovered=False))
    assert held(box)[1:] == [Gap("reconnect", filter="a")]
    routes.disconnected()
    assert asked(routes) == Subscribe("a", ref=1)


def test_history_is_not_shared() -> None:
    for first, second in ((EARLIEST, FROM_NOW), (FROM_NOW, EARLIEST)):
        routes = Routes()
        routes.attach("a", mailbox(), overflow=SPILL, beginning=first)
        with pytest.raises(Conflict, match="'a' is subscribed to already"):
            routes.attach("a", mailbox(), overflow=SPILL, beginning=second)


def test_one_who_joins_later_begins_where_the_others_are() -> None:
    routes, one, two = Routes(), mailbox(), mailbox()
    route = routes.attach("a", one, overflow=SPILL)
    asked(routes)
    routes.confirm(route, subscribed(1))
    routes.deliver(message(2), None)
    routes.attach("a", two, overflow=SPILL)
    assert one.positions.current() == {"s": Position("e", 1)}
    assert two.positions.current() == {"s": Position("e", 2)}


def test_other_options_wait_for_the_history() -> None:
    routes, one = Routes(), mailbox()
    route = routes.attach("a", one, overflow=SPILL)
    asked(routes)
    routes.confirm(route, subscribed(1))
    routes.disconnected()
    asked(routes)
    routes.confirm(route, subscribed(1, recovered=True))
    routes.attach("a", mailbox(), overflow=Overflow.LATEST)
    assert routes.next_step() is None
    assert routes.caught_up("a")
    assert asked(routes) == Subscribe("a", overflow=Overflow.LATEST, ref=1)
    routes.deliver(message(2), None)
    routes.confirm(route, subscribed(1))  # no beginning: it was live all the time
    assert route.received.current() == {"s": Position("e", 2)}


def test_what_is_gone_catches_up_with_nothing() -> None:
    assert not Routes().caught_up("a")


SNAPSHOT = SubscriptionStart(Start(StartKind.SNAPSHOT))


def test_a_snapshot_that_broke_off_begins_anew_and_one_that_is_whole_is_resumed() -> None:
    routes, box = Routes(), mailbox(SNAPSHOT)
    route = routes.attach("a", box, overflow=SPILL, beginning=SNAPSHOT)
    assert asked(routes) == Subscribe("a", None, SNAPSHOT.start, SPILL, 1)
    routes.confirm(route, subscribed(9))
    routes.deliver(message(4), "a")
    routes.deliver(message(12), "a")
    assert box.positions.current() == {}, "a program that keeps them would skip what it has never had"
    routes.disconnected()
    assert asked(routes) == Subscribe("a", None, SNAPSHOT.start, SPILL, 1)
    routes.confirm(route, subscribed(12))
    routes.deliver(message(4), "a")
    routes.caught_up("a")
    routes.disconnected()
    assert asked(routes) == Subscribe("a", {"s": Position("e", 12)}, SNAPSHOT.start, SPILL, 1)
    routes.confirm(route, subscribed(12, recovered=True))
    routes.deliver(message(13), "a")
    routes.disconnected()
    assert asked(routes).resume == {"s": Position("e", 13)}


async def test_positions_are_told_once_the_loop_has_taken_the_whole_snapshot() -> None:
    routes, box = Routes(), mailbox(SNAPSHOT)
    route = routes.attach("a", box, overflow=SPILL, beginning=SNAPSHOT)
    asked(routes)
    routes.confirm(route, subscribed(9))
    routes.deliver(message(4), "a")
    routes.caught_up("a")
    assert await box.take() == message(4)
    assert box.positions.current() == {}
    assert await box.take() == CaughtUp("a")
    assert box.positions.current() == {"s": Position("e", 9)}
