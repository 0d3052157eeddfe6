"""Answers to requests that go no further, WebSocket handshakes among them, under any ASGI server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

_EXTENSION: Final = "websocket.http.response"


async def deny(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with ``response``; a handshake too, unless the server knows no other answer than its own 403."""
    if scope["type"] == "websocket" and _EXTENSION not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
    else:
        await response(scope, receive, send)
