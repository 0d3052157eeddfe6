"""One WebSocket client of ``gateway.v1``: frames in to the session, its effects carried out.

The same class behind both ways out: the lean protocol calls it from ``data_received``, the ASGI
endpoint from its coroutine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.auth.grants import NOTHING
from gateway.auth.principal import Principal
from gateway.core.messages.commands import (
    Acknowledge,
    Authenticate,
    Command,
    Consume,
    Extend,
    Publish,
    Reject,
    Release,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.events import Acked, Event, GoAway, Published, Welcome
from gateway.core.session.session import Close, CloseCode, Effect, Reply, Session, SessionState, failure
from gateway.engine.authentication import answer
from gateway.errors import BadFrame, GatewayError, InternalError, NotFound, NotPermitted
from gateway.transports.websocket.reply_channel import ReplyChannel

if TYPE_CHECKING:
    from gateway.core.cluster.info import ConnectionInfo
    from gateway.core.messages.commands import Reference
    from gateway.engine.publishing import Receipt
    from gateway.transports.accepted_connection import AcceptedConnection
    from gateway.transports.services import Services
    from gateway.transports.websocket.connection import Connection

_TEXT = 1
_NOBODY = Principal(grants=NOTHING)
"""Who a connection is that has yet to authenticate."""

_IN_FLIGHT = 256
"""Publishes of one connection that may await another node's answer; then it isn't read."""


class WebSocketSession(ReplyChannel):
    """Glue between one connection, its session and its outbox; decides nothing.

    Attributes:
        principal: who is connected.
    """

    __slots__ = (
        "_arrival",
        "_in_flight",
        "_leaving",
        "_pinged_at",
        "_postponed",
        "_task",
        "principal",
    )

    def __init__(self, services: Services, connection: Connection, arrival: AcceptedConnection) -> None:
        now = services.clock()
        principal = arrival.principal or services.authentication.anonymous
        authenticated = principal is not None
        super().__init__(
            services,
            connection,
            Session(arrival.session, services.session_limits, authenticated=authenticated, now=now),
        )
        self._arrival = arrival
        self._in_flight = 0
        self._leaving: tuple[int, str] | None = None
        self._pinged_at: float | None = None
        self._postponed: Subscribe | Unsubscribe | None = None
        self._task: asyncio.Task[None] | None = None
        self.principal = principal or _NOBODY
        if principal is not None:
            self._session.admit(now, remaining=services.authentication.remaining(principal))
        services.hub.attach(self._outbox)
        services.sessions.attach(self, check_at=self._next_check(now + services.ping_interval))
        self._send(Welcome(arrival.session, services.node, authenticated, services.limits))

    @property
    def id(self) -> str:
        """The session's name."""
        return self._session.id

    @property
    def subject(self) -> str | None:
        """Whom the connection speaks for; None while it is anonymous."""
        return self.principal.subject

    def facts(self) -> ConnectionInfo:
        """What administrators see of it."""
        buffered = self._connection.buffered_bytes()
        return self._arrival.facts(
            self._outbox, transport="websocket", subject=self.subject, buffered_bytes=buffered
        )

    # Called by the connection

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Take one complete message from the client."""
        services = self._services
        now = services.clock()
        try:
            if opcode != _TEXT:
                raise BadFrame("a command is a text frame, this one is binary")
            command = services.codec.decode(payload)
        except GatewayError as error:
            self._carry_out(self._session.refuse(error, error.ref, now))
        else:
            effect = self._session.receive(command, now)
            if type(effect) is Publish:
                self._publish(effect)
            else:
                self._carry_out(effect)

    def writable_changed(self, writable: bool) -> None:
        """The transport stopped taking, or takes again."""
        if not writable:
            now = self._services.clock()
            self._services.hub.block(self._outbox, self._connection.buffered_bytes(), now=now)
            return
        self._services.delivery.resume(self._outbox)
        self._go_on()
        if self._lane_held and not self._outbox.lane_full:
            self._lane_held = False
            self._release()

    def connection_closed(self, code: int, reason: str) -> None:
        """The connection has ended, whoever ended it."""
        services = self._services
        services.subscriber.end(self._outbox)
        services.sessions.detach(self)
        self._arrival.place.leave()
        self._session.close()
        if self._task is not None:
            self._task.cancel()
        services.log.closed(self._session.id, code=int(code), reason=reason)

    def drain(self) -> None:
        """The server shuts down and closes what is left."""
        self._leave(CloseCode.RESTART, "restart")

    # Called by the node

    def check(self, now: float) -> float:
        """Do what time demands; return when to be asked again."""
        services, connection = self._services, self._connection
        if (effect := self._session.expire(now)) is not None:
            self._carry_out(effect)
            return self._next_check(now + services.ping_interval)
        # Nothing can be asked of a client that can't be written to: `write_timeout` ends it.
        if not connection.writable:
            self._pinged_at = None
            return self._next_check(now + services.ping_interval)
        heard = connection.last_received
        if self._pinged_at is not None and heard < self._pinged_at:
            connection.abort()
            return now + services.ping_interval
        if now - heard < services.ping_interval:
            self._pinged_at = None
            return self._next_check(heard + services.ping_interval)
        self._pinged_at = now
        connection.ping()
        return self._next_check(now + services.pong_timeout)

    def send_away(self, farewell: GoAway, code: int, reason: str) -> None:
        """Say that the node goes; close once what the client has published is answered.

        Said twice, it closes at once.
        """
        if self._leaving is None:
            self._send(farewell)
            self._services.delivery.flush_one(self._outbox)
        self._leave(code, reason)

    def expel(self, code: CloseCode, error: GatewayError) -> None:
        """Tell the client ``error`` and close."""
        self._session.close()
        self._carry_out(Close(code, error.told, failure(error, None, fatal=True)))

    def abort(self) -> None:
        """End at once."""
        self._connection.abort()

    def _leave(self, code: int, reason: str) -> None:
        first, self._leaving = self._leaving is None, (code, reason)
        self._session.leave()
        if not (first and self._in_flight):
            self._services.delivery.flush_one(self._outbox)
            self._connection.close(code, reason)

    def _next_check(self, at: float) -> float:
        deadline = self._session.deadline
        return at if deadline is None else min(at, deadline)

    # Effects

    def _carry_out(self, effect: Effect) -> None:
        if type(effect) is Reply:
            if effect.limit is not None:
                self._services.refusals.count(effect.limit)
            self._send(effect.event)
        elif type(effect) is Close:
            if effect.limit is not None:
                self._services.refusals.count(effect.limit)
            if effect.event is not None:
                self._send(effect.event)
                self._services.delivery.flush_one(self._outbox)
            self._connection.close(effect.code, effect.reason)
        elif (type(effect) is Subscribe or type(effect) is Unsubscribe) and self._outbox.crowded:
            # A client that doesn't read what it has must not make the node look through it again and again.
            self._postponed = effect
            self._hold()
        else:
            try:
                self._carry_out_command(effect)  # type: ignore[arg-type]  # what is left of Effect is Command
            except GatewayError as error:
                self._send(failure(error, effect.ref))  # type: ignore[union-attr]

    def _carry_out_command(self, command: Command) -> None:
        match command:
            case Publish():
                self._publish(command)
            case Subscribe():
                self._subscribe(command)
            case Unsubscribe():
                self._send(self._services.subscriber.unsubscribe(self._outbox, command))
            case Authenticate():
                self._authenticate(command)
            case Consume() | Release():
                if not self.principal.grants.may_consume(command.stream, command.group):
                    self._services.refusals.count("grant")
                    raise NotPermitted("no grant to consume from this group")
                raise NotFound(f"stream {command.stream!r} is not configured")
            case Acknowledge() | Reject() | Extend():
                # A token that no lease bears has run out, whatever it once was.
                if command.ref is not None:
                    self._send(Acked((), command.deliveries, ref=command.ref))
            case _:
                raise InternalError(f"no way to carry out {type(command).__name__}")

    def _go_on(self) -> None:
        """Carry out the command that had to wait for what waits, if that has been written."""
        command = self._postponed
        if command is not None and not self._outbox.crowded:
            self._postponed = None
            self._carry_out(command)
            self._release()

    def _publish(self, command: Publish) -> None:
        ref = command.ref
        try:
            receipt = self._services.publisher.submit(command, self.principal)
        except GatewayError as error:
            self._send(failure(error, ref))
            return
        if isinstance(receipt, asyncio.Future):
            self._in_flight += 1
            if self._in_flight == _IN_FLIGHT:
                self._hold()
            receipt.add_done_callback(lambda future: self._published(future, ref))
        elif ref is not None:
            self._send(Published(receipt.id, receipt.stream, receipt.offset, ref=ref))

    def _published(self, future: asyncio.Future[Receipt], ref: Reference) -> None:
        if self._in_flight == _IN_FLIGHT:
            self._release()
        self._in_flight -= 1
        if not self._failed(future, ref) and ref is not None:
            receipt = future.result()
            self._send(Published(receipt.id, receipt.stream, receipt.offset, ref=ref))
        if self._leaving is not None and not self._in_flight:
            self._leave(*self._leaving)

    def _subscribe(self, command: Subscribe) -> None:
        events = self._services.subscriber.subscribe(self._outbox, command, self.principal.grants)
        if isinstance(events, list):
            self._send_all(events)
        else:
            self._hold()
            events.add_done_callback(lambda future: self._subscribed(future, command.ref))

    def _subscribed(self, future: asyncio.Future[list[Event]], ref: Reference) -> None:
        if not self._failed(future, ref):
            self._send_all(future.result())
        self._release()

    def _authenticate(self, command: Authenticate) -> None:
        self._hold()
        # The event loop keeps only a weak reference to a task.
        self._task = asyncio.get_running_loop().create_task(self._check_credential(command))

    async def _check_credential(self, command: Authenticate) -> None:
        authentication, now = self._services.authentication, self._services.clock
        former = self.principal if self._session.state is not SessionState.UNAUTHENTICATED else None
        try:
            principal = await authentication.authenticate(command.token)
            ended = await authentication.take_on(principal, former, self._outbox, self._arrival.place)
        except GatewayError as error:
            self._carry_out(self._session.deny(error, command.ref))
        except Exception as error:  # noqa: BLE001 - the client must not wait for ever
            self._tell(error, command.ref)
        else:
            self.principal = principal
            self._session.admit(now(), remaining=authentication.remaining(principal))
            if self._session.deadline is not None:
                self._services.sessions.check_by(self, self._session.deadline)
            self._send_all([*ended, answer(principal, command)])
        finally:
            self._task = None
            self._release()
