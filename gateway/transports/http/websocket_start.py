"""An HTTP connection becomes a WebSocket: its transport goes to another protocol object."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gateway.transports.http.scopes import websocket_scope
from gateway.transports.websocket.opening import WebSocketOpening

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    from gateway.transports.http.request_bounds import RequestLimits
    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.websocket.known_handshakes import ReadHandshake
    from gateway.transports.websocket.takeover_offer import TakeoverOffer


def open_known_websocket(
    http: HttpToolsProtocol,
    data: bytes,
    *,
    offer: TakeoverOffer,
    context: ServerContext,
    limits: RequestLimits,
) -> bool:
    """Begin one if ``data``, all that has come, is a head like one that was read before; False: it isn't."""
    door = offer.door
    # Most other requests are told from its own by their first line.
    if door is None or not data.startswith(b"GET " + door.path):
        return False
    if len(data) > limits.line_bytes or len(data) > limits.head_bytes:
        return False
    read = offer.known.recall(data)
    if read is None:
        return False
    opening = _opening(http, read, offer=offer, context=context, writable=True)
    opening.ask(door, websocket_scope(http, read), b"")
    return True


def open_websocket(
    http: HttpToolsProtocol,
    read: ReadHandshake,
    early: bytes,
    *,
    first: bytes,
    offer: TakeoverOffer,
    context: ServerContext,
) -> None:
    """Begin one that may be taken over.

    Args:
        http: has the connection.
        read: its handshake.
        early: what the client sent behind that.
        first: the connection's first read, if the handshake was in that.
        offer: whose door is asked.
        context: of the server.
    """
    writable = not http.flow.write_paused
    opening = _opening(http, read, offer=offer, context=context, writable=writable)
    scope = websocket_scope(http, read)
    door = offer.door_of(read.target)
    if door is None:
        opening.begin(cast("ASGIApp", http.app), scope, early)
        return
    if first and not early:
        offer.known.note(first, read)
    opening.ask(door, scope, early)


def _opening(
    http: HttpToolsProtocol,
    read: ReadHandshake,
    *,
    offer: TakeoverOffer,
    context: ServerContext,
    writable: bool,
) -> WebSocketOpening:
    context.connections.discard(http)
    return WebSocketOpening(
        http.transport,
        read.handshake.key,
        policy=offer.policy,
        context=context,
        state=http.server_state,
        writable=writable,
    )


def delegate_websocket(http: HttpToolsProtocol) -> None:
    """Begin one in uvicorn's own way: nothing of what is done for connections that are taken over."""
    http.scope["method"] = "GET"
    http.handle_websocket_upgrade()
    if http.flow.write_paused:
        # It is told of changes only, and would write on into a full buffer.
        cast("WebSocketsSansIOProtocol", http.transport.get_protocol()).pause_writing()
