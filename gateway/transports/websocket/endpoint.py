"""``/v1/ws``: the handshake, and which way the connection is kept from then on.

Spec: docs/protocol.md, "Handshake".
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.routing import WebSocketRoute

from gateway.auth.principal import Principal
from gateway.auth.requests import peer_of
from gateway.core.session.close_codes import CloseCode
from gateway.errors import BadCommand, GatewayError, SubjectBlocked, TokenExpired
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.http.denial import deny
from gateway.transports.websocket.asgi_connection import AsgiSink
from gateway.transports.websocket.connection import EXTENSION, WEBSOCKET_PATH
from gateway.transports.websocket.session import WebSocketSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from starlette.responses import Response
    from starlette.types import Scope
    from starlette.websockets import WebSocket

    from gateway.auth.requests import Inquiry
    from gateway.codecs.base import Codec
    from gateway.engine.admission import ConnectionQuota
    from gateway.transports.services import Services
    from gateway.transports.websocket.connection import Connection, Takeover
    from gateway.transports.websocket.takeover_offer import OpenHandshake

    _Make = Callable[[Connection], WebSocketSession]


class WebSocketDoor:
    """Admits clients, or refuses them before the upgrade, and hands them to a session.

    Our own server asks it directly (it is a ``takeover_offer.DirectDoor``): a handshake's way through
    middleware, routing and ASGI's messages costs as much as all that is decided here. Elsewhere it is a
    route's endpoint.

    Attributes:
        path: of the endpoint.
    """

    path: Final = WEBSOCKET_PATH.encode()

    def __init__(
        self,
        services: Services,
        *,
        frame_bytes: int,
        refuse: Callable[[GatewayError], Response],
        checks: Sequence[Callable[[Scope], None]] = (),
        codecs: Iterable[Codec] = (),
    ) -> None:
        """Make the door.

        Args:
            services: what the sessions need.
            frame_bytes: the largest message a client may send; more is closed with 1009.
            refuse: makes the HTTP answer of a refused handshake.
            checks: what the application's middleware does with the scope of a handshake, in its order. Each
                raises ``GatewayError`` where the request goes no further.
            codecs: the formats that a client may ask for besides that of ``services``.
        """
        self._codecs = {codec.name: codec for codec in (services.codec, *codecs)}
        self._services = services
        self._frame_bytes = frame_bytes
        self._refuse = refuse
        self._checks = checks

    def routes(self) -> list[WebSocketRoute]:
        """The endpoint as a route, behind the application's middleware."""
        return [WebSocketRoute(WEBSOCKET_PATH, self.open)]

    def answer(self, scope: Scope, handshake: OpenHandshake) -> Callable[[], Awaitable[None]] | None:
        """See ``takeover_offer.DirectDoor``."""
        try:
            for check in self._checks:
                check(scope)
            arrival = self._arrive(scope)
        except GatewayError as error:
            handshake.refuse(self._refuse(error))
            return None
        speaker = arrival.speaker
        if speaker is None or isinstance(speaker, Principal):
            self._let_in(arrival, speaker, handshake)
            return None
        return partial(self._answer_later, arrival, handshake)

    async def _answer_later(self, arrival: _Arrival, handshake: OpenHandshake) -> None:
        try:
            principal = await self._principal(arrival)
        except GatewayError as error:
            handshake.refuse(self._refuse(error))
        else:
            self._let_in(arrival, principal, handshake)

    def _let_in(self, arrival: _Arrival, principal: Principal | None, handshake: OpenHandshake) -> None:
        with _leaving_on_failure(arrival.quota):
            handshake.accept(arrival.subprotocol)
            accepted = arrival.accepted(principal)
            self._hand_over(handshake, accepted, partial(self._make_session, accepted, arrival.subprotocol))

    async def open(self, websocket: WebSocket) -> None:
        """Answer the handshake, and keep the connection until it is taken over or ends."""
        try:
            arrival = self._arrive(websocket.scope)
            principal = await self._principal(arrival)
        except GatewayError as error:
            await deny(self._refuse(error), websocket.scope, websocket.receive, websocket.send)
            return
        with _leaving_on_failure(arrival.quota):
            await websocket.accept(arrival.subprotocol)
            accepted = arrival.accepted(principal)
            make_session = partial(self._make_confirmed_session, accepted, arrival.subprotocol)
            takeover: Takeover | None = websocket.scope.get("extensions", {}).get(EXTENSION)
            if takeover is not None:
                self._hand_over(takeover, accepted, make_session)
            else:
                await self._keep(websocket, accepted, make_session)

    def _arrive(self, scope: Scope) -> _Arrival:
        """Take a place for whoever comes; raises ``GatewayError``, and none is taken, if there is none."""
        services = self._services
        services.sessions.check_room()
        host, peer = peer_of(scope)
        quota = services.admission.enter(host)
        with _leaving_on_failure(quota):
            subprotocol = self._choose(scope["subprotocols"])
            speaker = services.principals.recognise(scope)
            if isinstance(speaker, Principal):
                quota.identify(speaker.subject)
            return _Arrival(quota, peer, subprotocol, speaker)

    async def _principal(self, arrival: _Arrival) -> Principal | None:
        speaker = arrival.speaker
        if speaker is None or isinstance(speaker, Principal):
            return speaker
        with _leaving_on_failure(arrival.quota):
            principal = await speaker()
            arrival.quota.identify(principal.subject)
            return principal

    def _hand_over(self, takeover: Takeover, accepted: AcceptedConnection, make_session: _Make) -> None:
        self._log_opened(accepted, way="direct")
        takeover.take_over(make_session, max_message=self._frame_bytes)

    async def _keep(self, websocket: WebSocket, accepted: AcceptedConnection, make_session: _Make) -> None:
        self._log_opened(accepted, way="asgi")
        clock = self._services.clock
        connection = AsgiSink(websocket, max_message=self._frame_bytes, clock=clock)
        await connection.run(make_session)

    def _log_opened(self, accepted: AcceptedConnection, *, way: str) -> None:
        self._services.log.opened(
            accepted.session,
            transport="websocket",
            way=way,
            peer=accepted.peer,
            subject=accepted.principal.subject if accepted.principal is not None else None,
        )

    def _make_session(
        self, accepted: AcceptedConnection, subprotocol: str | None, connection: Connection
    ) -> WebSocketSession:
        codec = None if subprotocol is None else self._codecs[subprotocol]
        return WebSocketSession(self._services, connection, accepted, codec)

    def _make_confirmed_session(
        self, accepted: AcceptedConnection, subprotocol: str | None, connection: Connection
    ) -> WebSocketSession:
        session = self._make_session(accepted, subprotocol, connection)
        if accepted.principal is not None:
            # On the loop's next turn: the connection isn't ready to be closed before.
            asyncio.get_running_loop().call_soon(self._confirm, session, accepted.principal)
        return session

    def _confirm(self, session: WebSocketSession, principal: Principal) -> None:
        # Whoever was blocked while the 101 was awaited was in no register yet.
        try:
            self._services.confirm(principal)
        except SubjectBlocked as error:
            session.expel(CloseCode.BLOCKED, error)
        except TokenExpired:
            return  # the session's own matter: it may be renewed

    def _choose(self, offered: list[str]) -> str | None:
        """The client's favourite of those that are known; None where it has none."""
        for name in offered:
            if name in self._codecs:
                return name
        if offered:
            known = " or ".join(self._codecs)
            raise BadCommand(f"none of the subprotocols offered is known here: offer {known}")
        return None


class _Arrival(NamedTuple):
    """A client at the door that has taken a place, and has yet to be known."""

    quota: ConnectionQuota
    peer: str
    subprotocol: str | None
    speaker: Principal | Inquiry | None  # for whom it speaks, or what finds that out

    def accepted(self, principal: Principal | None) -> AcceptedConnection:
        return AcceptedConnection.now(self.quota, self.peer, principal)


class _leaving_on_failure:  # noqa: N801 - reads as what it does
    """Gives a place back where what is done meanwhile fails, be it that the client has gone."""

    __slots__ = ("_quota",)

    def __init__(self, quota: ConnectionQuota) -> None:
        self._quota = quota

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._quota.leave()  # a second time it does nothing
