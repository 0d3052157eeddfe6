"""``GET /v1/events``: server-sent events, for clients that want to listen and no more.

Spec: docs/http.md, "Server-sent events".
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.auth.requests import peer_of
from gateway.codecs.event_ids import LONGEST_ID, largest_id
from gateway.codecs.server_sent_events import EventWriter, RecentEvents, retry
from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import START_SNAPSHOT
from gateway.engine.following.following import asks_history
from gateway.errors import BadCommand, Unavailable
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.http.takeover import EXTENSION
from gateway.transports.sse.asgi_body import AsgiEventBody
from gateway.transports.sse.query import EventQuery
from gateway.transports.sse.session import EventSession
from gateway.transports.sse.sink import EventSink

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from gateway.auth.principal import Principal
    from gateway.codecs.server_sent_events import ServerSentEvents
    from gateway.core.messages.commands import Subscribe
    from gateway.transports.http.takeover import ResponseTakeover
    from gateway.transports.services import Services

EVENTS_PATH: Final = "/v1/events"

# Told to each client by chance: those of a node that died must not all come to another one at once.
_RETRY_MILLISECONDS: Final = (1000, 4000)
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # nginx would keep events until it has some kilobytes of them.
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """Counts since the start, and ``open`` now.

    Attributes:
        open: responses that go on.
        opened: responses that have begun.
        resumed: those of clients that came back with an id.
        unreadable: ids among them that could not be read.
    """

    open: int
    opened: int
    resumed: int
    unreadable: int


class EventDoor:
    """Admits clients, or refuses them before the response begins, and hands them to a session."""

    def __init__(self, services: Services, encoder: ServerSentEvents) -> None:
        """Serve in ``encoder``'s format."""
        self._services = services
        self._encoder = encoder
        self._recent = RecentEvents()
        self._open = self._opened = self._resumed = self._unreadable = 0

    def routes(self) -> list[Route]:
        """The route of the endpoint."""
        return [Route(EVENTS_PATH, self.open, methods=["GET"])]

    def statistics(self) -> EventStatistics:
        """A snapshot for metrics and tests."""
        return EventStatistics(self._open, self._opened, self._resumed, self._unreadable)

    async def open(self, request: Request) -> Response:
        """Answer one request; every error is raised as a ``GatewayError``, before the response begins.

        While the node drains the answer is a stream that ends at once: an ``EventSource`` that is answered
        anything but 200 gives up for good, one whose stream ends comes back.
        """
        services = self._services
        if services.sessions.draining:
            return _come_back(services.sessions.retry_after())
        services.sessions.check_room()
        host, peer = peer_of(request.scope)
        quota = services.admission.enter(host)
        try:
            principal = await services.principals.require(
                request.scope, ways="Authorization: Bearer, or a cookie"
            )
            quota.identify(principal.subject)
            query = EventQuery.read(request)
            subscriptions = self._subscriptions(query)
            accepted = AcceptedConnection.now(quota, peer, principal)
            session = self._session(accepted, principal, subscriptions)
        except BaseException:
            quota.leave()
            raise
        try:
            await session.subscribe(subscriptions)
        except BaseException as error:
            session.connection_closed()
            if isinstance(error, Unavailable) and services.sessions.draining:
                return _come_back(services.sessions.retry_after())
            raise
        if request.method == "HEAD":
            session.connection_closed()
            return _Headers()
        self._resumed += query.resumes
        self._unreadable += query.resumes and query.point is None
        return EventResponse(self, session)

    async def keep(self, session: EventSession, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the response until it is taken over or ends."""
        takeover: ResponseTakeover | None = scope.get("extensions", {}).get(EXTENSION)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            await send({"type": "http.response.body", "body": _first_line(), "more_body": True})
            body = None if takeover is None else takeover.take_over_response(session)
            self._begin(session, "asgi" if body is None else "direct")
            if body is None:
                portable = AsgiEventBody(receive, send, session)
                session.begin(portable, ended=self._ended)
                await portable.run()
            else:
                session.begin(body, ended=self._ended)
        except BaseException:
            session.abort()
            session.connection_closed()
            raise

    def _begin(self, session: EventSession, way: str) -> None:
        self._open += 1
        self._opened += 1
        accepted = session.accepted
        self._services.log.opened(
            accepted.session, transport="sse", way=way, peer=accepted.peer, subject=session.subject
        )

    def _ended(self) -> None:
        self._open -= 1

    def _subscriptions(self, query: EventQuery) -> list[Subscribe]:
        met = {each: self._services.subscriber.streams(each) for each in query.filters}
        if largest_id(met) > LONGEST_ID:
            raise BadCommand(
                "these filters meet more streams than the id of an event has room for: ask for fewer or more "
                "precise ones, or use a WebSocket"
            )
        return [query.subscribe(each, met) for each in met]

    def _session(
        self, accepted: AcceptedConnection, principal: Principal, subscriptions: list[Subscribe]
    ) -> EventSession:
        replaying = [each.filter for each in subscriptions if asks_history(each)]
        snapshots = [each.filter for each in subscriptions if each.start == START_SNAPSHOT]
        point = ResumePoint([each.filter for each in subscriptions], replaying=replaying, snapshots=snapshots)
        sink = EventSink(EventWriter(point, self._recent))
        return EventSession(self._services, self._encoder, sink, accepted=accepted, principal=principal)


class EventResponse(Response):
    """A response whose session stands, ready to begin."""

    def __init__(self, door: EventDoor, session: EventSession) -> None:
        super().__init__()
        self._door = door
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write it until it is taken over or ends."""
        await self._door.keep(self._session, scope, receive, send)


class _Headers(Response):
    """The answer to ``HEAD``: what ``GET`` would begin with."""

    def __init__(self) -> None:
        super().__init__()
        self.raw_headers = list(_HEADERS)


def _come_back(milliseconds: int) -> Response:
    response = Response(retry(milliseconds) + b"\n")
    response.raw_headers += _HEADERS
    return response


def _first_line() -> bytes:
    return retry(random.randint(*_RETRY_MILLISECONDS)) + b"\n"  # noqa: S311 - jitter is no secret
