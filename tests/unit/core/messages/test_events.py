"""Events as values: which of them answer a command, and what each of them leaves open."""

from __future__ import annotations

from inspect import signature
from typing import get_args

import pytest
from hypothesis import given

from gateway.core.messages.commands import Position
from gateway.core.messages.events import (
    Acked,
    Authenticated,
    CaughtUp,
    Consuming,
    Delivery,
    Event,
    Failure,
    Gap,
    GoAway,
    Pong,
    Published,
    Released,
    Subscribed,
    Unsubscribed,
    Welcome,
)
from tests.unit.codecs.strategies import any_event

REPLIES = {Authenticated, Subscribed, Unsubscribed, Published, Consuming, Released, Acked, Pong, Failure}
UNASKED = {Welcome, CaughtUp, Delivery, Gap, GoAway}


def fields_of(event: type[Event]) -> list[str]:
    return [*signature(event).parameters]


def test_every_event_either_answers_a_command_or_comes_unasked() -> None:
    """Spec: docs/protocol.md, "Gateway to client": each reply repeats its command's ``ref``."""
    assert set(get_args(Event)) == REPLIES | UNASKED
    assert {each for each in get_args(Event) if "ref" in fields_of(each)} == REPLIES


@given(any_event)
def test_an_event_that_many_connections_share_can_not_be_changed(event: Event) -> None:
    with pytest.raises(AttributeError):
        setattr(event, fields_of(type(event))[0], "changed")
    assert not hasattr(event, "__dict__")


def test_replies_that_say_nothing_of_positions_share_none() -> None:
    one, other = Subscribed("a"), Subscribed("b")
    assert one.positions == {}
    assert one.positions is not other.positions
    assert Subscribed("a", {"s": Position("e", 1)}).positions == {"s": Position("e", 1)}


def test_a_refusal_lets_the_session_go_on_unless_it_says_otherwise() -> None:
    assert not Failure("bad_command", "why").fatal


def test_a_gap_tells_only_what_is_known_of_it() -> None:
    gap = Gap("interrupted")
    assert {getattr(gap, each) for each in fields_of(Gap)} == {"interrupted", None}
