"""Paths are routed as they are written: only where content is named may a path be percent-encoded.

Servers decode ``scope["path"]``, so ``/%76%31/connections`` would be ``/v1/connections``, which a proxy's
rules for paths don't see in it. Names in paths (hooks, streams, sessions) hold nothing that needs encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import NotFound
from gateway.transports.http.denial import deny

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send


class LiteralPaths:
    """ASGI middleware that finds nothing under a path that is encoded where it need not be.

    Args:
        app: what is behind it.
        encoded: what paths begin with whose rest may be encoded, and is read from the bytes that came.
        refuse: makes the answer.
    """

    def __init__(self, app: ASGIApp, encoded: str, refuse: Callable[[NotFound], Response]) -> None:
        self._app = app
        self._encoded = encoded.encode()
        self._refuse = refuse

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or answer 404."""
        raw: bytes | None = scope.get("raw_path")  # ASGI: optional
        if raw is None or b"%" not in raw or not self._is_wrong(scope, raw):
            return self._app(scope, receive, send)  # no coroutine of its own: every request comes by
        error = NotFound(f"a path is percent-encoded behind {self._encoded.decode()!r} only")
        return deny(self._refuse(error), scope, receive, send)

    def _is_wrong(self, scope: Scope, raw: bytes) -> bool:
        # As `embed` gives it, what the gateway is mounted under is not encoded.
        path = raw.partition(b"?")[0].removeprefix(scope.get("root_path", "").encode())
        return b"%" in path and not path.startswith(self._encoded)
