"""What applications are told of a request, once its head is complete.

Spec: ASGI, "HTTP Connection Scope" and "WebSocket Connection Scope".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope
    from uvicorn._types import HTTPScope
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from gateway.transports.websocket.known_handshakes import ReadHandshake


def complete_scope(scope: HTTPScope, method: bytes, version: str, target: bytes) -> None:
    """Add to ``scope`` what a complete head says; ``target`` is its path and query."""
    root = scope["root_path"]
    scope["method"] = method.decode("ascii")
    scope["http_version"] = version
    url = httptools.parse_url(target)
    path = url.path.decode("ascii")
    scope["path"] = root + (unquote(path) if "%" in path else path)
    scope["raw_path"] = root.encode("ascii") + url.path
    scope["query_string"] = url.query or b""


def path_below_mount(scope: Mapping[str, Any]) -> str:
    """The path of a request as this application names it: without what it is mounted under."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    # Frameworks differ in whether the path still begins with it.
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def websocket_scope(http: HttpToolsProtocol, read: ReadHandshake) -> Scope:
    """Return the scope of a handshake that has come on a connection of HTTP."""
    root = http.config.root_path
    raw_path, _, query = read.target.partition(b"?")
    path = raw_path.decode("ascii")
    return {
        "type": "websocket",
        "asgi": {"version": http.config.asgi_version, "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if http.scheme == "https" else "ws",
        "server": http.server,
        "client": http.client,
        "root_path": root,
        "path": root + (unquote(path) if "%" in path else path),
        "raw_path": root.encode("ascii") + raw_path,
        "query_string": query,
        "headers": read.fields,
        "subprotocols": read.handshake.subprotocols.copy(),
        "state": http.app_state.copy(),
        "extensions": {"websocket.http.response": {}},
    }
