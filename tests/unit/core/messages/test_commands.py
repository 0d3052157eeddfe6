"""Commands as values: equal by what they say, unchangeable, and silent about credentials."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.commands import (
    START_NEW,
    Authenticate,
    Command,
    Overflow,
    Position,
    StartKind,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.publication import Publish
from tests.unit.codecs.strategies import any_command, state


@given(st.text("0123456789abcdef", min_size=16), st.none() | st.integers() | st.text("xyz", max_size=5))
def test_no_credential_is_ever_shown(token: str, ref: str | int | None) -> None:
    command = Authenticate(token, ref)
    for shown in (repr(command), str(command), f"{command}", f"{[command]}"):
        assert token not in shown
        assert repr(ref) in shown


@given(any_command)
def test_every_command_has_a_reference_and_takes_no_other_field(command: Command) -> None:
    assert isinstance(command, get_args(Command))
    assert command.ref is None or isinstance(command.ref, str | int)
    with pytest.raises((AttributeError, TypeError, FrozenInstanceError)):
        command.anything_else = 1  # type: ignore[union-attr]
    # One is made for every frame: a dictionary each would be most of what it takes.
    assert not hasattr(command, "__dict__")


@given(any_command.filter(lambda command: not isinstance(command, Publish)))
def test_what_is_shared_can_not_be_changed(command: Command) -> None:
    with pytest.raises(FrozenInstanceError):
        command.ref = "changed"


def test_what_a_command_leaves_out_has_the_protocols_defaults() -> None:
    """Spec: docs/protocol.md, "Client to gateway"."""
    subscribe = Subscribe("a/#")
    assert (subscribe.resume, subscribe.start, subscribe.overflow) == (None, START_NEW, Overflow.SPILL)
    assert START_NEW.kind is StartKind.NEW
    assert Unsubscribe("a").ref is None
    assert set(state(Publish("t")).values()) == {"t", None, False}


def test_positions_in_two_lives_of_a_stream_differ() -> None:
    assert Position("e1", 5) == Position("e1", 5)
    assert Position("e1", 5) != Position("e2", 5)
    assert len({Position("e1", 5), Position("e1", 5), Position("e1", 6)}) == 2
