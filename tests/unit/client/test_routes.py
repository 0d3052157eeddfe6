from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.client.mailbox import Item, Mailbox
from gateway.client.message import Message
from gateway.client.read_gate import ReadGate
from gateway.client.route import Route
from gateway.client.routes import Leave, Routes
from gateway.core.messages.commands import Overflow
from gateway.core.messages.events import Gap, Subscribed
from gateway.core.topics.grammar import matches
from gateway.errors import BadFilter, NotPermitted, Unavailable

SPILL = Overflow.SPILL
SUBSCRIBED = Subscribed("t")


def message(topic: str) -> Message:
    return Message(topic, "1", 0, None, None, {}, None, None, None)


def mailbox() -> Mailbox:
    return Mailbox("t", ReadGate(), size=100, reserve=0)


def held(box: Mailbox) -> list[Item]:
    return list(box._items)


def sent(routes: Routes) -> list[str]:
    """Take every step there is, as the wire would see it."""
    steps = []
    while (step := routes.next_step()) is not None:
        steps.append(("-" if isinstance(step, Leave) else "+") + step.filter)
        if isinstance(step, Route):
            step.ask(1)
    return steps


def live(routes: Routes, topic_filter: str, box: Mailbox) -> Route:
    route = routes.attach(topic_filter, box, overflow=SPILL)
    sent(routes)
    routes.confirm(route, SUBSCRIBED)
    return route


def test_a_message_goes_to_every_filter_that_matches_and_to_no_other() -> None:
    routes, boxes = Routes(), {name: mailbox() for name in ("a/+", "a/#", "a/b", "c")}
    for name, box in boxes.items():
        live(routes, name, box)
    assert routes.deliver(message("a/b"), None) == 3
    assert [len(box) for box in boxes.values()] == [1, 1, 1, 0]


def test_history_goes_to_its_filter_alone() -> None:
    routes, one, two = Routes(), mailbox(), mailbox()
    live(routes, "a/#", one)
    live(routes, "a/b", two)
    assert routes.deliver(message("a/b"), "a/#") == 1
    assert (len(one), len(two)) == (1, 0)
    assert routes.deliver(message("a/b"), "gone") == 0


def test_nothing_is_delivered_before_the_gateway_has_confirmed() -> None:
    routes, box = Routes(), mailbox()
    route = routes.attach("a", box, overflow=SPILL)
    assert routes.deliver(message("a"), None) == 0
    assert not route.settled.is_set()
    sent(routes)
    routes.confirm(route, SUBSCRIBED)
    assert route.settled.is_set()
    assert routes.deliver(message("a"), None) == 1


def test_subscriptions_to_one_filter_share_it_on_the_wire() -> None:
    routes, one, two = Routes(), mailbox(), mailbox()
    route = live(routes, "a", one)
    assert routes.attach("a", two, overflow=SPILL) is route
    assert sent(routes) == []
    assert routes.deliver(message("a"), None) == 2
    assert routes.detach(route, one) is None
    assert sent(routes) == []
    assert routes.detach(route, two) is not None
    assert sent(routes) == ["-a"]
    assert len(routes) == 0
    assert routes.detach(route, two) is None


def test_another_overflow_policy_is_asked_for_and_delivery_goes_on() -> None:
    routes, one, two = Routes(), mailbox(), mailbox()
    route = live(routes, "a", one)
    routes.attach("a", two, overflow=Overflow.LATEST)
    assert (sent(routes), route.overflow) == (["+a"], Overflow.LATEST)
    assert routes.deliver(message("a"), None) == 2
    assert not routes.refuse(route, BadFilter("too late"))
    assert routes.deliver(message("a"), None) == 2


def test_leaving_and_coming_back_is_seen_in_that_order() -> None:
    routes, one, two = Routes(), mailbox(), mailbox()
    old = live(routes, "a", one)
    routes.detach(old, one)
    new = routes.attach("a", two, overflow=SPILL)
    routes.confirm(old, SUBSCRIBED)
    assert routes.deliver(message("a"), None) == 0
    assert sent(routes) == ["-a", "+a"]
    routes.confirm(new, SUBSCRIBED)
    assert routes.deliver(message("a"), None) == 1
    assert len(one) == 0


def test_what_was_never_asked_for_needs_no_farewell() -> None:
    routes, box = Routes(), mailbox()
    assert routes.detach(routes.attach("a", box, overflow=SPILL), box) is None
    assert sent(routes) == []


def test_a_reconnect_asks_again_and_tells_those_who_were_live() -> None:
    routes, old, new = Routes(), mailbox(), mailbox()
    route = live(routes, "a", old)
    routes.disconnected()
    assert not route.settled.is_set()
    routes.attach("a", new, overflow=SPILL)
    routes.disconnected()
    assert routes.deliver(message("a"), None) == 0
    assert sent(routes) == ["+a"]
    routes.confirm(route, SUBSCRIBED)
    routes.deliver(message("a"), None)
    assert held(old) == [Gap("reconnect", filter="a"), message("a")]
    assert held(new) == [message("a")]


def test_a_lost_connection_lets_those_go_who_wait_for_a_farewell() -> None:
    routes, box = Routes(), mailbox()
    done = routes.detach(live(routes, "a", box), box)
    assert done is not None
    routes.disconnected()
    assert done.is_set()
    assert sent(routes) == []


def test_a_refusal_ends_the_subscription() -> None:
    routes, box = Routes(), mailbox()
    route = routes.attach("a", box, overflow=SPILL)
    sent(routes)
    error = Unavailable("not now")
    assert not routes.refuse(route, error)
    assert (route.failure, route.settled.is_set(), len(routes)) == (error, True, 0)


def test_a_passing_refusal_after_a_reconnect_is_asked_again() -> None:
    routes, box = Routes(), mailbox()
    route = live(routes, "a", box)
    routes.disconnected()
    sent(routes)
    assert routes.refuse(route, Unavailable("not now"))
    assert sent(routes) == []
    routes.want(route)
    assert sent(routes) == ["+a"]
    assert not routes.refuse(route, BadFilter("never"))
    routes.want(route)
    assert sent(routes) == []


def test_gaps_go_to_their_filter_or_to_everyone() -> None:
    routes, one, two = Routes(), mailbox(), mailbox()
    live(routes, "a", one)
    live(routes, "b", two)
    assert routes.gap(Gap("overflow", filter="b", dropped=2)) == 1
    assert routes.gap(Gap("bus")) == 2
    assert (len(one), len(two)) == (1, 2)


FILTERS = st.sampled_from(["a", "a/b", "a/+", "+/b", "#", "a/#", "$x", "$x/#"])
TOPICS = st.sampled_from(["a", "a/b", "b/b", "$x", "$x/y", "a/b/c"])


@given(st.lists(st.tuples(st.booleans(), FILTERS), max_size=30), TOPICS)
def test_routing_equals_matching_each_filter(steps: list[tuple[bool, str]], topic: str) -> None:
    routes, present = Routes(), dict[str, tuple[Route, Mailbox]]()
    for attach, name in steps:
        routes.deliver(message(topic), None)
        if attach and name not in present:
            box = mailbox()
            present[name] = (live(routes, name, box), box)
        elif not attach and name in present:
            routes.detach(*present.pop(name))
    before = {name: len(box) for name, (_, box) in present.items()}
    routes.deliver(message(topic), None)
    got = {name for name, (_, box) in present.items() if len(box) > before[name]}
    assert got == {name for name in present if matches(name, topic)}


def test_what_the_gateway_ends_is_over_and_not_asked_for_again() -> None:
    routes, one, other = Routes(), mailbox(), mailbox()
    route = live(routes, "a", one)
    live(routes, "b", other)
    routes.ended("a")
    routes.ended("begun/by/the/application")
    assert isinstance(one._failure, NotPermitted)
    assert routes.deliver(message("a"), None) == 0
    assert routes.detach(route, one) is None
    routes.disconnected()
    assert sent(routes) == ["+b"]


def test_an_end_that_came_late_does_not_end_what_is_asked_for_anew() -> None:
    routes, one, other = Routes(), mailbox(), mailbox()
    routes.detach(live(routes, "a", one), one)
    route = routes.attach("a", other, overflow=SPILL)
    routes.ended("a")
    assert sent(routes) == ["-a", "+a"]
    routes.confirm(route, SUBSCRIBED)
    assert routes.deliver(message("a"), None) == 1
