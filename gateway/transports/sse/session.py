"""One client of server-sent events: its subscriptions, from the request to the end of the response.

What such a client wants stands in its request; it says nothing later. So it is authenticated or refused
before it has a session, and all of its subscriptions are confirmed before the response begins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from gateway.core.session.close_codes import CloseCode
from gateway.core.session.session import Close
from gateway.errors import Unavailable
from gateway.transports.session import TransportSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.auth.principal import Principal
    from gateway.codecs.server_sent_events import ServerSentEvents
    from gateway.core.messages.commands import Subscribe
    from gateway.core.messages.events import GoAway
    from gateway.errors import GatewayError
    from gateway.transports.accepted_connection import AcceptedConnection
    from gateway.transports.services import Services
    from gateway.transports.sse.sink import EventBody, EventSink


class EventSession(TransportSession["EventSink"]):
    """The session behind one response."""

    __slots__ = ("_ended", "_expelled")

    transport: ClassVar[str] = "sse"

    def __init__(
        self,
        services: Services,
        encoder: ServerSentEvents,
        sink: EventSink,
        *,
        accepted: AcceptedConnection,
        principal: Principal,
    ) -> None:
        """Take the client in; what comes for it waits, within its bounds, until the response begins."""
        super().__init__(services, sink, encoder, accepted, principal, authenticated=True)
        self._ended: Callable[[], None] | None = None
        self._expelled: GatewayError | None = None
        now = services.clock()
        services.hub.attach(self.outbox)
        services.hub.block(self.outbox, 0, now=now)
        self._begin(now)

    # Called by the door

    async def subscribe(self, commands: Iterable[Subscribe]) -> None:
        """Subscribe to all that the client asks for.

        Raises:
            GatewayError: one of them is refused, see ``SubscribeService.subscribe``; or the client is.
            Unavailable: the node has ended the session meanwhile.
        """
        dispatcher = self._services.commands
        deferred = []
        for command in commands:
            reply = dispatcher.dispatch(command, self)
            if isinstance(reply, list):
                self._send_all(reply)
            else:
                # Somebody must have looked at its error, also if another one's comes first.
                reply.future.add_done_callback(lambda done: done.cancelled() or done.exception())
                deferred.append(reply)
        if deferred:
            await asyncio.wait([each.future for each in deferred])
        if self._connection.end is not None:
            raise self._expelled or Unavailable("the node ends this connection: try again")
        for each in deferred:
            self._conclude(each.outcome())

    def begin(self, body: EventBody, *, ended: Callable[[], None]) -> None:
        """The response has begun: write what waits, and what comes from now on; call ``ended`` at its end."""
        self._ended = ended
        self._connection.begin(body)
        self._services.delivery.resume(self.outbox)

    def connection_closed(self) -> None:
        """The response has ended, or will never begin; idempotent."""
        self._detach()
        if self._ended is not None:
            # Where the client has gone there is no goodbye: server-sent events have no codes.
            code, reason = self._connection.end or (CloseCode.BROKEN, "")
            self._services.log.closed(self.id, code=int(code), reason=reason)
            ended, self._ended = self._ended, None
            ended()

    # Called by the body

    def drain(self) -> None:
        """The server shuts down and ends what is left."""
        self._connection.close(CloseCode.RESTART, CloseCode.RESTART.reason)

    # Called by the node

    def check(self, now: float) -> float:
        """Do what time demands; return when to be asked again."""
        if (effect := self._session.expire(now)) is not None:
            self._carry_out(effect)
        else:
            # `write_timeout` ends a client that takes nothing.
            self._connection.keep_alive()
        return self._next_check(now + self._services.ping_interval)

    def send_away(self, farewell: GoAway, code: CloseCode, reason: str) -> None:
        """Say that the node goes, write all that is pending, and end; the client has nothing under way."""
        if self._connection.end is None:
            self._carry_out(Close(code, reason, farewell))

    def expel(self, code: CloseCode, error: GatewayError) -> None:
        """Tell the client ``error`` and end; where the response has yet to begin, it is the answer."""
        self._expelled = error
        super().expel(code, error)
