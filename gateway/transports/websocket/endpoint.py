"""``/v1/ws``: the handshake, and which way the connection is kept from then on.

Spec: docs/protocol.md, "Handshake".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.routing import WebSocketRoute

from gateway.auth.requests import peer_of
from gateway.core.session.close_codes import CloseCode
from gateway.errors import BadCommand, GatewayError, SubjectBlocked, TokenExpired
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.http.denial import deny
from gateway.transports.websocket.asgi_connection import AsgiSink
from gateway.transports.websocket.connection import EXTENSION, WEBSOCKET_PATH
from gateway.transports.websocket.session import WebSocketSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from gateway.auth.principal import Principal
    from gateway.engine.admission import ConnectionQuota
    from gateway.transports.services import Services
    from gateway.transports.websocket.connection import Connection, Takeover

SUBPROTOCOL = "gateway.v1"


def websocket_routes(
    services: Services,
    *,
    frame_bytes: int,
    refuse: Callable[[GatewayError], Response],
) -> list[WebSocketRoute]:
    """Return the route of the WebSocket endpoint.

    Args:
        services: what the sessions need.
        frame_bytes: the largest message a client may send; more is closed with 1009.
        refuse: makes the HTTP answer of a refused handshake.
    """
    door = WebSocketDoor(services, frame_bytes=frame_bytes, refuse=refuse)
    return [WebSocketRoute(WEBSOCKET_PATH, door.open)]


class WebSocketDoor:
    """Admits clients, or refuses them before the upgrade, and hands them to a session."""

    def __init__(
        self,
        services: Services,
        *,
        frame_bytes: int,
        refuse: Callable[[GatewayError], Response],
    ) -> None:
        self._services = services
        self._frame_bytes = frame_bytes
        self._refuse = refuse

    async def open(self, websocket: WebSocket) -> None:
        """Answer the handshake, and keep the connection until it is taken over or ends."""
        host, peer = peer_of(websocket.scope)
        quota: ConnectionQuota | None = None
        try:
            self._services.sessions.check_room()
            quota = self._services.admission.enter(host)
            subprotocol, principal = await self._admit(websocket, quota)
        except GatewayError as error:
            if quota is not None:
                quota.leave()
            await deny(self._refuse(error), websocket.scope, websocket.receive, websocket.send)
            return
        except BaseException:
            if quota is not None:
                quota.leave()
            raise
        await self._keep(websocket, subprotocol, AcceptedConnection(quota, peer, principal))

    async def _admit(
        self, websocket: WebSocket, quota: ConnectionQuota
    ) -> tuple[str | None, Principal | None]:
        subprotocol = _choose(websocket.scope["subprotocols"])
        principal = await self._services.principals.find(websocket.scope)
        quota.identify(principal.subject if principal is not None else None)
        return subprotocol, principal

    async def _keep(
        self, websocket: WebSocket, subprotocol: str | None, accepted: AcceptedConnection
    ) -> None:
        try:
            await websocket.accept(subprotocol)
            await self._hand_over(websocket, accepted)
        except BaseException:
            # The client went in the midst of it: its place must not stay taken. Leaving twice does nothing.
            accepted.quota.leave()
            raise

    async def _hand_over(self, websocket: WebSocket, accepted: AcceptedConnection) -> None:
        extensions = websocket.scope.get("extensions", {})
        takeover: Takeover | None = extensions.get(EXTENSION)
        self._services.log.opened(
            accepted.session,
            transport="websocket",
            way="asgi" if takeover is None else "direct",
            peer=accepted.peer,
            subject=accepted.principal.subject if accepted.principal is not None else None,
        )

        def make_session(connection: Connection) -> WebSocketSession:
            session = WebSocketSession(self._services, connection, accepted)
            if accepted.principal is not None:
                # On the loop's next turn: the connection isn't ready to be closed before.
                asyncio.get_running_loop().call_soon(self._confirm, session, accepted.principal)
            return session

        if takeover is not None:
            takeover.take_over(make_session, max_message=self._frame_bytes)
        else:
            clock = self._services.clock
            connection = AsgiSink(websocket, max_message=self._frame_bytes, clock=clock)
            await connection.run(make_session)

    def _confirm(self, session: WebSocketSession, principal: Principal) -> None:
        # Whoever was blocked while the handshake was answered was in no register yet.
        try:
            self._services.confirm(principal)
        except SubjectBlocked as error:
            session.expel(CloseCode.BLOCKED, error)
        except TokenExpired:
            return  # the session's own matter: it may be renewed


def _choose(offered: list[str]) -> str | None:
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    if offered:
        raise BadCommand(f"none of the subprotocols offered is known here: {SUBPROTOCOL} is")
    return None
