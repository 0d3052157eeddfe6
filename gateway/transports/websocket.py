"""``/v1/ws``: the handshake, and which way the connection is kept from then on.

Spec: docs/protocol.md, "Handshake".
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.routing import WebSocketRoute

from gateway.errors import BadCommand, GatewayError
from gateway.transports.asgi_connection import AsgiConnection
from gateway.transports.takeover import EXTENSION
from gateway.transports.websocket_session import WebSocketSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from gateway.transports.services import Services
    from gateway.transports.takeover import Connection, Takeover

SUBPROTOCOL = "gateway.v1"


def websocket_routes(
    services: Services,
    *,
    frame_bytes: int,
    refuse: Callable[[GatewayError], Response],
    direct: bool = True,
) -> list[WebSocketRoute]:
    """Return the route of the WebSocket endpoint.

    Args:
        services: what the sessions need.
        frame_bytes: the largest message a client may send; more is closed with 1009.
        refuse: makes the HTTP answer of a refused handshake.
        direct: take connections over where the server offers it; False keeps every one the portable way.
    """

    async def endpoint(websocket: WebSocket) -> None:
        try:
            services.sessions.check_room()
            subprotocol = _choose(websocket.scope["subprotocols"])
        except GatewayError as error:
            await websocket.send_denial_response(refuse(error))
            return
        await websocket.accept(subprotocol)
        session_id = secrets.token_hex(8)
        takeover: Takeover | None = websocket.scope.get("extensions", {}).get(EXTENSION) if direct else None
        way = "asgi" if takeover is None else "direct"
        services.log.opened(session_id, transport="websocket", way=way, peer=_peer(websocket))

        def make_session(connection: Connection) -> WebSocketSession:
            return WebSocketSession(services, connection, session_id, None)

        if takeover is None:
            connection = AsgiConnection(websocket, max_message=frame_bytes, clock=services.clock)
            await connection.run(make_session)
        else:
            takeover.take_over(make_session, max_message=frame_bytes)

    return [WebSocketRoute("/v1/ws", endpoint)]


def _choose(offered: list[str]) -> str | None:
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    if offered:
        raise BadCommand(f"none of the subprotocols offered is known here: {SUBPROTOCOL} is")
    return None


def _peer(websocket: WebSocket) -> str:
    client = websocket.client
    return f"{client.host}:{client.port}" if client is not None else "unknown"
