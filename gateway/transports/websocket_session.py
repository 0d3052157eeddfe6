"""One WebSocket client of ``gateway.v1``: frames in to the session, its effects carried out.

The same class behind both ways out: the lean protocol calls it from ``data_received``, the ASGI
endpoint from its coroutine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.auth.principal import ANONYMOUS, Principal
from gateway.core.commands import (
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
from gateway.core.events import Acked, Authenticated, Event, GoAway, Published, Welcome
from gateway.core.outbox import Outbox
from gateway.core.session import Close, CloseCode, Effect, Reply, Session, failure
from gateway.errors import BadFrame, GatewayError, InternalError, NotFound

if TYPE_CHECKING:
    from gateway.core.commands import Reference
    from gateway.engine.publishing import Receipt
    from gateway.transports.services import Services
    from gateway.transports.takeover import Connection

_TEXT = 1
_IN_FLIGHT = 256
"""Publishes of one connection that may await another node's answer; then it isn't read."""


class WebSocketSession:
    """Glue between one connection, its session and its outbox; decides nothing.

    Attributes:
        principal: who is connected.
    """

    __slots__ = (
        "_connection",
        "_holds",
        "_in_flight",
        "_lane_held",
        "_outbox",
        "_pinged_at",
        "_services",
        "_session",
        "_task",
        "principal",
    )

    def __init__(
        self, services: Services, connection: Connection, session_id: str, principal: Principal | None
    ) -> None:
        now = services.clock()
        authenticated = principal is not None or not services.authenticator.required
        self._services = services
        self._connection = connection
        self._session = Session(session_id, services.session_limits, authenticated=authenticated, now=now)
        self._outbox = Outbox(connection, services.codec, services.outbox_limits)
        self._holds = 0
        self._in_flight = 0
        self._lane_held = False
        self._pinged_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.principal = principal or ANONYMOUS
        services.hub.attach(self._outbox)
        deadline = self._session.deadline
        services.sessions.attach(self, check_at=deadline or now + services.ping_interval)
        self._send(Welcome(session_id, services.node, authenticated, services.limits))

    @property
    def id(self) -> str:
        """The session's name."""
        return self._session.id

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
        if self._lane_held and not self._outbox.lane_full:
            self._lane_held = False
            self._release()

    def connection_closed(self, code: int, reason: str) -> None:
        """The connection has ended, whoever ended it."""
        services = self._services
        services.subscriber.end(self._outbox)
        services.sessions.detach(self)
        self._session.close()
        if self._task is not None:
            self._task.cancel()
        services.log.closed(self._session.id, code=int(code), reason=reason)

    def drain(self) -> None:
        """The server shuts down and closes what is left."""
        self._connection.close(CloseCode.RESTART, "restart")

    # Called by the node

    def check(self, now: float) -> float:
        """Do what time demands; return when to be asked again."""
        services, connection = self._services, self._connection
        if (effect := self._session.expire(now)) is not None:
            self._carry_out(effect)
            return now + services.ping_interval
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
        """Say that the node goes, write all that is pending, and close."""
        self._send(farewell)
        self._services.delivery.flush_one(self._outbox)
        self._connection.close(code, reason)

    def abort(self) -> None:
        """End at once."""
        self._connection.abort()

    def _next_check(self, at: float) -> float:
        deadline = self._session.deadline
        return at if deadline is None else min(at, deadline)

    # Effects

    def _carry_out(self, effect: Effect) -> None:
        if type(effect) is Reply:
            self._send(effect.event)
        elif type(effect) is Close:
            if effect.event is not None:
                self._send(effect.event)
                self._services.delivery.flush_one(self._outbox)
            self._connection.close(effect.code, effect.reason)
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
                raise NotFound(f"stream {command.stream!r} is not configured")
            case Acknowledge() | Reject() | Extend():
                # A token that no lease bears has run out, whatever it once was.
                if command.ref is not None:
                    self._send(Acked((), command.deliveries, ref=command.ref))
            case _:
                raise InternalError(f"no way to carry out {type(command).__name__}")

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
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, GatewayError):
            self._send(failure(error, ref))
        elif error is not None:
            self._services.log.failed(self._session.id, error)
            self._send(failure(InternalError("internal error"), ref))
        elif ref is not None:
            receipt = future.result()
            self._send(Published(receipt.id, receipt.stream, receipt.offset, ref=ref))

    def _subscribe(self, command: Subscribe) -> None:
        events = self._services.subscriber.subscribe(self._outbox, command)
        if isinstance(events, list):
            self._send_all(events)
        else:
            self._hold()
            events.add_done_callback(lambda future: self._subscribed(future, command.ref))

    def _subscribed(self, future: asyncio.Future[list[Event]], ref: Reference) -> None:
        if not future.cancelled():
            error = future.exception()
            if isinstance(error, GatewayError):
                self._send(failure(error, ref))
            elif error is not None:
                self._services.log.failed(self._session.id, error)
                self._send(failure(InternalError("internal error"), ref))
            else:
                self._send_all(future.result())
        self._release()

    def _authenticate(self, command: Authenticate) -> None:
        self._hold()
        # The event loop keeps only a weak reference to a task.
        self._task = asyncio.get_running_loop().create_task(self._check_credential(command))

    async def _check_credential(self, command: Authenticate) -> None:
        try:
            principal = await self._services.authenticator.authenticate(command.token)
        except GatewayError as error:
            self._carry_out(self._session.deny(error, command.ref))
        else:
            self.principal = principal
            self._session.admit()
            self._send(Authenticated(principal.subject, principal.expires, ref=command.ref))
        finally:
            self._task = None
            self._release()

    # Out, and reading on or not

    def _send(self, event: Event) -> None:
        outbox = self._outbox
        self._services.delivery.send(outbox, event)
        # Kept apart from `lane_full`: a gap told by the outbox itself can fill the lane as well.
        if outbox.lane_full and not self._lane_held:
            self._lane_held = True
            self._hold()

    def _send_all(self, events: list[Event]) -> None:
        for event in events:
            self._send(event)

    def _hold(self) -> None:
        self._holds += 1
        if self._holds == 1:
            self._connection.pause_reading()

    def _release(self) -> None:
        self._holds -= 1
        if self._holds == 0:
            self._connection.resume_reading()
