from __future__ import annotations

import time

import anyio
import anyio.lowlevel
import orjson

from gateway.app.node import GatewayNode
from gateway.auth.principal import Principal
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.events import Pong
from gateway.core.messages.publication import Publication
from gateway.errors import Unauthenticated
from gateway.settings import Limits, Settings
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.websocket.session import WebSocketSession
from tests.unit.transports.recording_connection import RecordingConnection


def connect(limits: Limits | None = None) -> tuple[GatewayNode, WebSocketSession, RecordingConnection]:
    gateway = GatewayNode(Settings(limits=limits or Limits()))
    return gateway, *open_session(gateway)


def open_session(gateway: GatewayNode) -> tuple[WebSocketSession, RecordingConnection]:
    services, connection = gateway._services(), RecordingConnection()
    accepted = AcceptedConnection.now(services.admission.enter("127.0.0.1"), "127.0.0.1:1", None)
    return WebSocketSession(services, connection, accepted), connection


def send(session: WebSocketSession, **command: object) -> None:
    session.message_received(1, orjson.dumps(command))


async def test_a_full_lane_stops_reading_until_it_is_written() -> None:
    _, session, connection = connect(Limits(commands_per_second=1000000))
    session.writable_changed(writable=False)
    for _ in range(3):
        sent = 0
        while connection.reading:
            send(session, op="ping", ref="x" * 100)
            sent += 1
            assert sent < 1000
        session.writable_changed(writable=True)
        assert connection.reading
        session.writable_changed(writable=False)


async def test_a_lane_that_a_gap_has_filled_stops_reading_too() -> None:
    gateway, session, connection = connect(Limits(outbox_messages=1))
    send(session, op="subscribe", filter="gaps")
    session.writable_changed(writable=False)
    for number in range(3):
        gateway.hub.deliver(Publication("gaps", f"{number}", time=0, data=b"1"))
    gateway.hub.flush_run()
    fill_lane(gateway, session.outbox, but=30)
    assert connection.reading
    # The gap, untold so far, is put before the reply and fills the lane by itself.
    send(session, op="subscribe", filter="gaps")
    assert not connection.reading
    session.writable_changed(writable=True)
    assert connection.reading
    session.writable_changed(writable=False)
    fill_lane(gateway, session.outbox, but=1)
    send(session, op="ping")
    assert not connection.reading


def fill_lane(gateway: GatewayNode, outbox: Outbox, *, but: int) -> None:
    """Queue replies up to ``but`` bytes below the lane's bound."""
    envelope = len(outbox.encoder.encode(Pong(ref="x" * 200))) - 200
    while (missing := OutboxLimits().lane_bytes - but - outbox._lane_bytes) > 0:
        size = missing if missing < 1000 else 500
        gateway.hub.reply(outbox, Pong(ref="x" * (size - envelope)))


async def test_the_reason_of_a_close_is_told_to_a_blocked_client() -> None:
    _, session, connection = connect(Limits(bad_frames_per_minute=1))
    session.writable_changed(writable=False)
    session.message_received(1, b"one")
    session.message_received(1, b"two")
    assert connection.closed is not None
    assert connection.closed[0] == 4400
    assert [event.get("fatal") for event in connection.events()] == [None, False, True]


class OneToken:
    """Accepts ``right`` alone."""

    required = True
    anonymous = None

    async def authenticate(self, token: str) -> Principal:
        if token != "right":
            raise Unauthenticated("wrong token")
        return Principal("alice", 1_800_000_000_000)

    def confirm(self, principal: Principal) -> None: ...


def connect_unauthenticated() -> tuple[WebSocketSession, RecordingConnection]:
    gateway = GatewayNode(Settings())
    gateway._authenticator = OneToken()
    return open_session(gateway)


async def answered(connection: RecordingConnection, count: int) -> list[dict[str, object]]:
    """All events after ``welcome``, once there are ``count``."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()
        if len(events := connection.events()) > count:
            return events[1:]
    raise AssertionError(connection.events())


async def test_nothing_but_auth_and_ping_before_authentication() -> None:
    session, connection = connect_unauthenticated()
    send(session, op="subscribe", filter="a", ref=1)
    send(session, op="publish", topic="a", data=1)
    send(session, op="ping", ref=2)
    send(session, op="auth", token="right", ref=3)
    assert not connection.reading  # what follows waits for the answer
    refused, silent, pong, admitted = await answered(connection, 4)
    assert connection.events()[0]["authenticated"] is False
    assert (refused["code"], refused["ref"]) == ("unauthenticated", 1)
    assert silent["code"] == "unauthenticated"
    assert pong == {"op": "pong", "ref": 2}
    assert admitted == {"op": "authenticated", "subject": "alice", "expires": 1_800_000_000_000, "ref": 3}
    assert connection.reading
    send(session, op="subscribe", filter="a", ref=4)
    assert (await answered(connection, 5))[-1]["op"] == "subscribed"


async def test_the_third_wrong_token_closes_with_4401() -> None:
    session, connection = connect_unauthenticated()
    for attempt in range(1, 4):
        send(session, op="auth", token="wrong", ref=attempt)
        answer = (await answered(connection, attempt))[-1]
        assert (answer["code"], answer["ref"]) == ("unauthenticated", attempt)
        assert answer["fatal"] is (attempt == 3)
    assert connection.closed is not None
    assert connection.closed[0] == 4401


async def test_no_authentication_in_time_closes_with_4409() -> None:
    session, connection = connect_unauthenticated()
    session.check(time.monotonic() + Limits().auth_timeout - 1)
    assert connection.closed is None
    session.check(time.monotonic() + Limits().auth_timeout + 1)
    assert connection.closed is not None
    assert connection.closed[0] == 4409
    assert (await answered(connection, 1))[-1]["fatal"] is True


async def test_who_reads_nothing_can_not_have_what_waits_looked_through_again_and_again() -> None:
    gateway, session, connection = connect(Limits(commands_per_second=1000000))
    for number in range(100):
        send(session, op="subscribe", filter="a/#" if not number else f"b/{number}")
    send(session, op="subscribe", filter="a/+")
    gateway._delivery.flush()
    session.writable_changed(writable=False)
    for number in range(50):
        gateway.hub.deliver(Publication(f"a/{number}", f"{number}", time=0, data=b"1"))
    gateway.hub.flush_run()
    send(session, op="unsubscribe", filter="a/#")
    assert not connection.reading
    assert "a/#" in session.outbox.subscriptions
    session.writable_changed(writable=True)
    assert connection.reading
    assert "a/#" not in session.outbox.subscriptions
    gateway._delivery.flush()
    ops = [event["op"] for event in connection.events()]
    assert ops[-51:] == ["message"] * 50 + ["unsubscribed"]


async def test_who_reads_nothing_and_has_little_waiting_unsubscribes_at_once() -> None:
    gateway, session, connection = connect()
    send(session, op="subscribe", filter="a/#")
    session.writable_changed(writable=False)
    gateway.hub.deliver(Publication("a/1", "1", time=0, data=b"1"))
    gateway.hub.flush_run()
    send(session, op="unsubscribe", filter="a/#")
    assert connection.reading
    assert not session.outbox.subscriptions
