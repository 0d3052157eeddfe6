"""A request that lasts ends with whatever ends sessions: at once, with the reason, and never twice."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gateway.auth.claims import LEEWAY_SECONDS
from gateway.auth.principal import Principal
from gateway.core.cluster.block_list import BlockList
from gateway.core.messages.events import GoAway
from gateway.core.session.close_codes import CloseCode
from gateway.engine import lasting
from gateway.engine.administration import Administration, GuardedAuthenticator
from gateway.engine.lasting import LastingRequest, LastingRequests
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.sessions import Sessions
from gateway.errors import GatewayError, NotPermitted, SubjectBlocked, TokenExpired, Unavailable
from tests.unit.engine.test_administration import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = 1000.0
ANN = Principal("ann")


class Door:
    """Requests on one node, with clocks that are moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        clock = lambda: self.now  # noqa: E731 - read again and again
        told = SimpleNamespace(time=clock, time_ns=lambda: int(self.now * 1_000_000_000))
        monkeypatch.setattr(lasting, "time", told)
        self.blocks = BlockList()
        self.sessions = Sessions(limit=100, clock=clock, refusals=Refusals())
        guard = GuardedAuthenticator(Keys(), self.blocks, Refusals(), clock=clock, wall_clock=clock)
        self.requests = LastingRequests(self.sessions, guard, clock=clock, wall_clock=clock)

    def begin(self, principal: Principal = ANN, *, patient: bool = False) -> LastingRequest:
        return self.requests.begin(principal, "127.0.0.1:5", patient=patient)

    def block(self, subject: str = "ann") -> None:
        self.blocks.block(subject, 60, node="n", time=1, now=self.now)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


async def pieces(door: Door) -> AsyncIterator[bytes]:
    """A body that brings three pieces; with the second its sender is blocked."""
    yield b"one"
    door.block()
    yield b"two"
    yield b"three"


def test_it_is_in_the_register_until_its_context_is_left(door: Door) -> None:
    with door.begin() as one, door.begin() as other:
        assert set(door.sessions.open) == {one.id, other.id}
        facts = one.facts()
        assert (facts.session, facts.subject, facts.peer) == (one.id, "ann", "127.0.0.1:5")
        assert (facts.transport, facts.connected) == ("http", 1_000_000)
    assert door.sessions.open == {}


async def test_what_it_waits_for_comes_as_long_as_it_may_go_on(door: Door) -> None:
    with door.begin() as request:
        assert await request.wait(asyncio.sleep(0, "there")) == "there"
        request.confirm()
        assert request.ended is None


async def test_an_error_of_what_it_waits_for_is_its_own(door: Door) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with door.begin() as request:
        with pytest.raises(ZeroDivisionError):
            await request.wait(fail())
        assert await request.wait(asyncio.sleep(0, 1)) == 1


@pytest.mark.parametrize("way", ["session", "subject", "drain", "abort", "expiry"])
async def test_whatever_ends_sessions_ends_its_wait(door: Door, way: str) -> None:
    principal = Principal("ann", expires=int((NOW + 60) * 1000))
    local = Administration(door.sessions)
    with door.begin(principal) as request:
        waiting = asyncio.create_task(request.wait(asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        if way == "session":
            assert local.disconnect_session(request.id)
        elif way == "subject":
            assert await local.disconnect_subjects({"ann"}) == 1
        elif way == "drain":
            request.send_away(GoAway("draining", 1000), 1001, "drains")
        elif way == "abort":
            request.abort()
        else:
            door.now += 60 + LEEWAY_SECONDS
            request.check(door.now)
        error = {
            "session": NotPermitted,
            "subject": SubjectBlocked,
            "drain": Unavailable,
            "abort": Unavailable,
            "expiry": TokenExpired,
        }[way]
        with pytest.raises(error):
            await waiting
        with pytest.raises(error):
            request.confirm()
        with pytest.raises(error):
            await request.wait(asyncio.sleep(0))
    assert door.sessions.open == {}


async def test_the_first_reason_stays(door: Door) -> None:
    with door.begin() as request:
        first = NotPermitted("first")
        request.expel(CloseCode.BLOCKED, first)
        request.abort()
        assert request.ended is first


async def test_who_gives_up_waiting_is_no_end_of_the_request(door: Door) -> None:
    with door.begin() as request:
        waiting = asyncio.create_task(request.wait(asyncio.sleep(60)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert request.ended is None
        assert await request.wait(asyncio.sleep(0, 1)) == 1


async def test_no_piece_of_a_body_is_taken_once_its_sender_is_blocked(door: Door) -> None:
    with door.begin() as request:
        body = request.each(pieces(door))
        assert await anext(body) == b"one"
        with pytest.raises(SubjectBlocked):
            await anext(body)
        assert isinstance(request.ended, SubjectBlocked)


def test_a_credential_is_looked_at_when_it_ends_and_now_and_then(door: Door) -> None:
    with door.begin() as endless, door.begin(Principal("ann", int((NOW + 10) * 1000))) as short:
        assert endless.check(NOW + 1000) == NOW + 1060
        end = NOW + 10 + LEEWAY_SECONDS
        assert short.next_check(NOW) == pytest.approx(end)
        assert short.check(end - 1) == pytest.approx(end)
        assert short.ended is None
        assert short.check(end + 0.001) > end
        assert isinstance(short.ended, TokenExpired)


def test_nothing_begins_for_who_is_kept_out(door: Door) -> None:
    door.block()
    with pytest.raises(SubjectBlocked):
        door.begin()
    with pytest.raises(TokenExpired):
        door.begin(Principal("bob", expires=int((NOW - LEEWAY_SECONDS) * 1000)))
    assert door.sessions.open == {}


def test_while_the_node_drains_only_what_ends_by_itself_begins(door: Door) -> None:
    door.sessions.draining = True
    with pytest.raises(Unavailable):
        door.begin()
    with door.begin(patient=True):
        assert len(door.sessions.open) == 1


def test_what_ends_by_itself_is_given_its_time_once(door: Door) -> None:
    with door.begin(patient=True) as request:
        farewell = GoAway("draining", 1000)
        request.send_away(farewell, 1001, "drains")
        assert request.ended is None
        request.send_away(farewell, 1001, "drains")
        assert isinstance(request.ended, GatewayError)
