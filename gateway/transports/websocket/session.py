"""One WebSocket client: frames in to the session, commands on to their use cases, replies back in order.

The same class behind both ways out: the lean protocol calls it from ``data_received``, the ASGI
endpoint from its coroutine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.auth.grants import NOTHING
from gateway.auth.principal import Principal
from gateway.core.messages.commands import Command, Subscribe, Unsubscribe
from gateway.core.session.close_codes import CloseCode
from gateway.core.session.session import Close, Reply, failure
from gateway.engine.commands import published_later
from gateway.errors import BadFrame, GatewayError, InternalError
from gateway.transports.session import TransportSession

if TYPE_CHECKING:
    from gateway.codecs.base import Codec
    from gateway.core.messages.events import Event, GoAway
    from gateway.engine.commands import DeferredReply
    from gateway.transports.accepted_connection import AcceptedConnection
    from gateway.transports.services import Services
    from gateway.transports.websocket.connection import Connection

_NOBODY = Principal(grants=NOTHING)
"""Who a connection is that has yet to authenticate."""

_IN_FLIGHT = 256
"""Publishes of one connection that may await another node's answer; then it isn't read."""

_KINDS = {1: "text", 2: "binary"}

_GOODBYES = frozenset((CloseCode.NORMAL, 1005, CloseCode.GOING_AWAY))
"""Close codes of a connection that its client ended as it should; 1005: a close frame without a code."""


class WebSocketSession(TransportSession["Connection"]):
    """The session behind one WebSocket.

    Every reason not to read the client holds once and releases once; it is read while nothing holds.
    """

    __slots__ = (
        "_holds",
        "_in_flight",
        "_lane_held",
        "_leaving",
        "_pinged_at",
        "_postponed",
        "_task",
    )

    transport: ClassVar[str] = "websocket"

    def __init__(
        self,
        services: Services,
        connection: Connection,
        accepted: AcceptedConnection,
        codec: Codec | None = None,
    ) -> None:
        """Speak ``codec``, or the node's own where it is None."""
        principal = accepted.principal or services.authentication.anonymous
        super().__init__(
            services,
            connection,
            codec or services.codec,
            accepted,
            principal or _NOBODY,
            authenticated=principal is not None,
        )
        connection.write_for(self.outbox)
        self._holds = 0
        self._lane_held = False
        self._in_flight = 0
        self._leaving: tuple[int, str] | None = None
        self._pinged_at: float | None = None
        self._postponed: Subscribe | Unsubscribe | None = None
        self._task: asyncio.Task[Any] | None = None
        services.hub.attach(self.outbox)
        self._begin(services.clock())

    # Called by the connection

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Take one complete message from the client."""
        services = self._services
        now = services.clock()
        codec: Codec = self.outbox.encoder  # type: ignore[assignment]  # as it was given, see above
        # What comes most often by far takes a way with few calls, as long as nothing about it is special.
        plain = codec.read_plain_publish(payload)
        if plain is None or opcode != codec.opcode or not self._session.admits_plain_publish(now):
            self._receive(codec, opcode, payload, now)
            return
        topic, data = plain
        try:
            receipt = services.commands.publish_plain(topic, data, self.principal)
        except GatewayError as error:
            self._send(failure(error, None))
        else:
            if receipt is not None:
                self._defer(published_later(receipt, None))

    def _receive(self, codec: Codec, opcode: int, payload: bytes, now: float) -> None:
        try:
            if opcode != codec.opcode:
                raise BadFrame(f"a command is a {_KINDS[codec.opcode]} frame, this one is {_KINDS[opcode]}")
            command = codec.decode(payload)
        except GatewayError as error:
            self._carry_out(self._session.refuse(error, error.ref, now))
            return
        effect = self._session.receive(command, now)
        if type(effect) is Reply or type(effect) is Close:
            self._carry_out(effect)
        elif (type(effect) is Subscribe or type(effect) is Unsubscribe) and self.outbox.crowded:
            # A client that doesn't read what it has must not make the node look through it again and again.
            self._postponed = effect
            self._hold()
        else:
            self._dispatch(effect)  # type: ignore[arg-type]  # what is left of Effect is Command

    def more_to_read(self) -> None:
        """More follows in a later turn."""
        self._services.delivery.gather()

    def writable_changed(self, writable: bool) -> None:
        """The transport stopped taking, or takes again."""
        super().writable_changed(writable)
        if not writable:
            return
        self._dispatch_postponed()
        if self._lane_held and not self.outbox.lane_full:
            self._lane_held = False
            self._release()

    def connection_closed(self, code: int, reason: str) -> None:
        """The connection has ended, whoever ended it."""
        # A client that says goodbye, or was sent away, has not failed at what it was doing.
        self._detach(lost=self._leaving is None and code not in _GOODBYES)
        if self._task is not None:
            self._task.cancel()
        self._services.log.closed(self.id, code=int(code), reason=reason)

    def drain(self) -> None:
        """The server shuts down and closes what is left."""
        self._leave(CloseCode.RESTART, CloseCode.RESTART.reason)

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
        last = connection.last_received
        if self._pinged_at is not None and last < self._pinged_at:
            connection.abort()
            return now + services.ping_interval
        if now - last < services.ping_interval:
            self._pinged_at = None
            return self._next_check(last + services.ping_interval)
        self._pinged_at = now
        connection.ping()
        return self._next_check(now + services.pong_timeout)

    def send_away(self, farewell: GoAway, code: CloseCode, reason: str) -> None:
        """Say that the node goes; close once what the client has published is answered.

        Said twice, it closes at once.
        """
        if self._leaving is None:
            self._send(farewell)
            self._services.delivery.flush_one(self.outbox)
        self._leave(code, reason)

    def _leave(self, code: int, reason: str) -> None:
        first, self._leaving = self._leaving is None, (code, reason)
        self._session.leave()
        # Its answers are refused from now on, and it may take its time to go.
        self._services.consumer.end(self.outbox, lost=False)
        if not (first and self._in_flight):
            self._services.delivery.flush_one(self.outbox)
            self._connection.close(code, reason)

    # Commands

    def _dispatch(self, command: Command) -> None:
        try:
            reply = self._services.commands.dispatch(command, self)
        except GatewayError as error:
            self._send(failure(error, command.ref))
        else:
            self._answer(reply)

    def _answer(self, reply: list[Event] | DeferredReply) -> None:
        if type(reply) is list:
            for event in reply:
                self._send(event)
        else:
            self._defer(reply)  # type: ignore[arg-type]  # what is left

    def _dispatch_postponed(self) -> None:
        """Carry out the command that had to wait for what waits, if that has been written."""
        command = self._postponed
        if command is not None and not self.outbox.crowded:
            self._postponed = None
            self._dispatch(command)
            self._release()

    def _defer(self, reply: DeferredReply) -> None:
        if reply.exclusive:
            self._hold()
            if isinstance(reply.future, asyncio.Task):
                self._task = reply.future
        else:
            self._in_flight += 1
            if self._in_flight == _IN_FLIGHT:
                self._hold()
        reply.future.add_done_callback(lambda _: self._conclude_deferred(reply))

    def _conclude_deferred(self, reply: DeferredReply) -> None:
        if not reply.exclusive:
            if self._in_flight == _IN_FLIGHT:
                self._release()
            self._in_flight -= 1
        # A reply that was cancelled is nobody's any more.
        if not reply.future.cancelled():
            try:
                outcome = reply.outcome()
            except Exception as error:  # noqa: BLE001 - the client must not wait for ever
                self._send(failure(self._told(error), reply.ref))
            else:
                self._conclude(outcome)
        if reply.exclusive:
            self._task = None
            self._release()
        elif self._leaving is not None and not self._in_flight:
            self._leave(*self._leaving)

    def _told(self, error: Exception) -> GatewayError:
        if isinstance(error, GatewayError):
            return error
        self._services.log.failed(self.id, error)
        return InternalError("internal error")

    # What is sent, and when the client may be read

    def _send(self, event: Event) -> None:
        outbox = self.outbox
        self._services.delivery.send(outbox, event)
        # Kept apart from `lane_full`: a gap told by the outbox itself can fill the lane as well.
        if outbox.lane_full and not self._lane_held:
            self._lane_held = True
            self._hold()

    def _hold(self) -> None:
        self._holds += 1
        if self._holds == 1:
            self._connection.pause_reading()

    def _release(self) -> None:
        self._holds -= 1
        if self._holds == 0:
            self._connection.resume_reading()


# Here and not with its connection: a class that was compiled has no subclass that wasn't.
class InProcessSession(WebSocketSession):
    """The session behind a connection in process; all the rest is as with a WebSocket."""

    __slots__ = ()

    transport: ClassVar[str] = "in_process"
