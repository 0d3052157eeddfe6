"""One client of server-sent events: its subscriptions, from the request to the end of the response.

What such a client wants stands in its request; it says nothing later. So it is authenticated or refused
before it has a session, and all of its subscriptions are confirmed before the response begins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.fanout.outbox import Outbox
from gateway.core.messages.events import Event, GoAway, Welcome
from gateway.core.session.session import Close, CloseCode, Reply, Session, failure
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.auth.principal import Principal
    from gateway.codecs.server_sent_events import ServerSentEvents
    from gateway.core.cluster.info import ConnectionInfo
    from gateway.core.messages.commands import Subscribe
    from gateway.errors import GatewayError
    from gateway.transports.accepted_connection import AcceptedConnection
    from gateway.transports.services import Services
    from gateway.transports.sse.sink import EventBody, EventSink

_BY_CLIENT = 1006
"""What the log says where the client has gone: server-sent events have no codes, and no goodbye."""


class EventSession:
    """Glue between one response, its session and its outbox; decides nothing.

    Attributes:
        arrival: who came, and from where.
    """

    __slots__ = ("_ended", "_expelled", "_outbox", "_principal", "_services", "_session", "_sink", "arrival")

    def __init__(
        self,
        services: Services,
        encoder: ServerSentEvents,
        sink: EventSink,
        *,
        arrival: AcceptedConnection,
        principal: Principal,
    ) -> None:
        """Take the client in; what comes for it waits, within its bounds, until the response begins."""
        now = services.clock()
        self._services = services
        self.arrival = arrival
        self._principal = principal
        self._sink = sink
        self._ended: Callable[[], None] | None = None
        self._expelled: GatewayError | None = None
        self._session = Session(arrival.session, services.session_limits, authenticated=True, now=now)
        self._session.admit(now, remaining=services.authentication.remaining(principal))
        self._outbox = Outbox(sink, encoder, services.outbox_limits)
        services.hub.attach(self._outbox)
        services.hub.block(self._outbox, 0, now=now)
        services.sessions.attach(self, check_at=self._next_check(now))
        self._send(Welcome(arrival.session, services.node, True, services.limits))

    @property
    def id(self) -> str:
        """The session's name."""
        return self._session.id

    @property
    def subject(self) -> str | None:
        """Whom the client speaks for; None while it is anonymous."""
        return self._principal.subject

    def facts(self) -> ConnectionInfo:
        """What administrators see of it."""
        buffered = self._sink.buffered_bytes()
        return self.arrival.facts(
            self._outbox, transport="sse", subject=self.subject, buffered_bytes=buffered
        )

    # Called by the door

    async def subscribe(self, commands: Iterable[Subscribe]) -> None:
        """Subscribe to all that the client asks for.

        Raises:
            GatewayError: one of them is refused, see ``Subscriber.subscribe``; or the client is.
            Unavailable: the node has ended the session meanwhile.
        """
        subscriber, grants = self._services.subscriber, self._principal.grants
        awaited = []
        for command in commands:
            answer = subscriber.subscribe(self._outbox, command, grants)
            if isinstance(answer, list):
                self._send_all(answer)
            else:
                # Somebody must have looked at its error, also if another one's comes first.
                answer.add_done_callback(lambda done: done.cancelled() or done.exception())
                awaited.append(answer)
        if awaited:
            await asyncio.wait(awaited)
        if self._sink.end is not None:
            raise self._expelled or Unavailable("the node ends this connection: try again")
        for answer in awaited:
            self._send_all(answer.result())

    def begin(self, body: EventBody, *, ended: Callable[[], None]) -> None:
        """The response has begun: write what waits, and what comes from now on; call ``ended`` at its end."""
        self._ended = ended
        self._sink.begin(body)
        self._services.delivery.resume(self._outbox)

    def connection_closed(self) -> None:
        """The response has ended, or will never begin; idempotent."""
        services = self._services
        services.subscriber.end(self._outbox)
        services.sessions.detach(self)
        self.arrival.place.leave()
        self._session.close()
        if self._ended is not None:
            code, reason = self._sink.end or (_BY_CLIENT, "")
            services.log.closed(self._session.id, code=int(code), reason=reason)
            ended, self._ended = self._ended, None
            ended()

    # Called by the body

    def writable_changed(self, writable: bool) -> None:
        """The response takes no more, or takes again."""
        services = self._services
        if writable:
            services.delivery.resume(self._outbox)
        else:
            services.hub.block(self._outbox, self._sink.buffered_bytes(), now=services.clock())

    def drain(self) -> None:
        """The server shuts down and ends what is left."""
        self._sink.close(CloseCode.RESTART, "restart")

    # Called by the node

    def check(self, now: float) -> float:
        """Do what time demands; return when to be asked again."""
        effect = self._session.expire(now)
        if type(effect) is Reply:
            self._send(effect.event)
        elif type(effect) is Close:
            self._end(effect.code, effect.reason, effect.event)
        else:
            # `write_timeout` ends a client that takes nothing.
            self._sink.keep_alive()
        return self._next_check(now)

    def send_away(self, farewell: GoAway, code: int, reason: str) -> None:
        """Say that the node goes, write all that is pending, and end; the client has nothing under way."""
        if self._sink.end is None:
            self._end(code, reason, farewell)

    def expel(self, code: CloseCode, error: GatewayError) -> None:
        """Tell the client ``error`` and end."""
        self._expelled = error
        self._session.close()
        self._end(code, error.told, failure(error, None, fatal=True))

    def abort(self) -> None:
        """End at once."""
        self._sink.abort()

    def _next_check(self, now: float) -> float:
        at, deadline = now + self._services.ping_interval, self._session.deadline
        return at if deadline is None else min(at, deadline)

    def _end(self, code: int, reason: str, last: Event | None) -> None:
        if last is not None:
            self._send(last)
            self._services.delivery.flush_one(self._outbox)
        self._sink.close(code, reason)

    def _send(self, event: Event) -> None:
        self._services.delivery.send(self._outbox, event)

    def _send_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._send(event)
