"""An HTTP connection becomes a WebSocket: its transport goes to another protocol object."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gateway.transports.http.scopes import websocket_scope
from gateway.transports.websocket.opening import WebSocketOpening

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.websocket.handshake import Handshake
    from gateway.transports.websocket.takeover_offer import TakeoverOffer


def open_websocket(
    http: HttpToolsProtocol,
    handshake: Handshake,
    early: bytes,
    *,
    offer: TakeoverOffer,
    context: ServerContext,
) -> None:
    """Begin one that may be taken over; ``early`` is what the client sent behind its ``handshake``."""
    http.connections.discard(http)
    opening = WebSocketOpening(
        http.transport,
        handshake.key,
        policy=offer.policy,
        context=context,
        state=http.server_state,
        writable=not http.flow.write_paused,
    )
    scope = websocket_scope(http.scope, http.url, handshake.subprotocols)
    door = offer.door_of(http.url)
    if door is not None:
        opening.ask(door, scope, early)
    else:
        opening.begin(cast("ASGIApp", http.app), scope, early)


def delegate_websocket(http: HttpToolsProtocol) -> None:
    """Begin one in uvicorn's own way: nothing of what is done for connections that are taken over."""
    http.scope["method"] = "GET"
    http.handle_websocket_upgrade()
    if http.flow.write_paused:
        # It is told of changes only, and would write on into a full buffer.
        cast("WebSocketsSansIOProtocol", http.transport.get_protocol()).pause_writing()
