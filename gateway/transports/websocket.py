"""``/v1/ws``: the handshake, and which way the connection is kept from then on.

Spec: docs/protocol.md, "Handshake".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import WebSocketRoute

from gateway.errors import BadCommand, GatewayError
from gateway.transports.arrival import Arrival
from gateway.transports.asgi_connection import AsgiConnection
from gateway.transports.takeover import EXTENSION
from gateway.transports.websocket_session import WebSocketSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from gateway.auth.principal import Principal
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
        address, peer = _peer(websocket)
        try:
            services.sessions.check_room()
            place = services.admission.enter(address)
        except GatewayError as error:
            await websocket.send_denial_response(refuse(error))
            return
        kept = False
        try:
            try:
                subprotocol = _choose(websocket.scope["subprotocols"])
                principal = await _principal(services, websocket)
                place.identify(principal.subject if principal is not None else None)
            except GatewayError as error:
                await websocket.send_denial_response(refuse(error))
                return
            await websocket.accept(subprotocol)
            kept = True
        finally:
            # A client may go in the midst of it: the place must not stay taken.
            if not kept:
                place.leave()
        await keep(websocket, Arrival(place, peer, principal))

    async def keep(websocket: WebSocket, arrival: Arrival) -> None:
        takeover: Takeover | None = websocket.scope.get("extensions", {}).get(EXTENSION) if direct else None
        way = "asgi" if takeover is None else "direct"
        subject = arrival.principal.subject if arrival.principal is not None else None
        services.log.opened(
            arrival.session, transport="websocket", way=way, peer=arrival.peer, subject=subject
        )

        def make_session(connection: Connection) -> WebSocketSession:
            return WebSocketSession(services, connection, arrival)

        try:
            if takeover is None:
                connection = AsgiConnection(websocket, max_message=frame_bytes, clock=services.clock)
                await connection.run(make_session)
            else:
                takeover.take_over(make_session, max_message=frame_bytes)
        except BaseException:
            # The client went before its session was made; leaving twice does nothing.
            arrival.place.leave()
            raise

    return [WebSocketRoute("/v1/ws", endpoint)]


async def _principal(services: Services, websocket: WebSocket) -> Principal | None:
    if services.credentials is None:
        return None
    token = services.credentials.find(websocket.scope)
    return None if token is None else await services.authentication.authenticate(token)


def _choose(offered: list[str]) -> str | None:
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    if offered:
        raise BadCommand(f"none of the subprotocols offered is known here: {SUBPROTOCOL} is")
    return None


def _peer(websocket: WebSocket) -> tuple[str, str]:
    client = websocket.client
    return (client.host, f"{client.host}:{client.port}") if client is not None else ("", "unknown")
