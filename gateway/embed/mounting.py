"""The gateway beside any ASGI application, for frameworks that mount nothing, or know no lifespan.

Spec: ASGI, "Lifespan Protocol" and "HTTP Connection Scope" (``root_path``).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from starlette.responses import RedirectResponse

from gateway.codecs.url_path import written_path
from gateway.transports.http.scopes import path_below_mount

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NEEDLESS: Final = re.compile(rb"(?i)%(?:2[def]|3\d|[46][1-9a-f]|[57][0-9a]|5f|7e)")
"""Escapes of ``/``, and of what never needs one: RFC 3986, 2.3."""

_log = logging.getLogger("gateway.embed")


class Mounted:
    """An ASGI application of two: what is below ``path`` goes to the gateway, all else to the other.

    Attributes:
        app: the other.
        path: without a slash at its end.
        gateway: the one mounted.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        gateway: ASGIApp,
        *,
        lifespan: Callable[[object], AbstractAsyncContextManager[None]],
    ) -> None:
        self.app = app
        self.path = path
        self.gateway = gateway
        self._lifespan = lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan of both."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        root = scope.get("root_path", "")
        path = path_below_mount(scope)
        if path.startswith(f"{self.path}/"):
            below: Scope = {"app": self.app, "app_root_path": root, **scope, "root_path": root + self.path}
            await self.gateway(below, receive, send)
        elif path == self.path and self.path and scope["type"] == "http":
            await RedirectResponse(written_path(f"{root}{self.path}/"))(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the gateway around the application's own lifespan, be it that it has none."""
        lifespan = _Lifespan(receive, send)
        try:
            async with self._lifespan(self.app):
                try:
                    await self.app(scope, lifespan.receive, lifespan.hold)
                except Exception as error:
                    if lifespan.begun:
                        raise
                    # ASGI: it "should" raise where it does not know the protocol, as Django does.
                    _log.debug("the application has no lifespan: %r", error)
                if not lifespan.begun:
                    await lifespan.stand_in()
                else:
                    await lifespan.last()
        except Exception as error:
            await lifespan.fail(error)
            raise
        await lifespan.end()


def below_its_root(scope: Scope) -> Scope:
    """Return ``scope`` with both of its paths beginning with ``root_path``, which is encoded in neither.

    That is where ASGI has it. But a prefix that a proxy takes off is named by hypercorn, and by FastAPI's
    ``root_path``, without being given back, and frameworks differ in what they leave of the path below a
    mount. What is encoded without need stays as it is.
    """
    root: str = scope.get("root_path", "")
    raw: bytes | None = scope.get("raw_path")
    if not root:
        return scope
    literal = raw is not None and b"%" not in raw and raw.startswith(root.encode())
    if literal and scope["path"].startswith(f"{root}/"):
        return scope  # nearly always
    above: str = scope.get("app_root_path", "")  # Starlette's: the root above all mounts
    mount = root[len(above) :] if above and root.startswith(above) else ""
    path = path_below_mount(scope)
    if path == scope["path"] and mount and path.startswith(f"{mount}/"):
        path = path[len(mount) :]
    whole: dict[str, str | bytes] = {"path": root + path}
    if raw is not None:
        ends = [_end_of(head.encode(), raw) for head in (root, mount) if head]
        end = next((each for each in ends if each is not None), 0 if path == scope["path"] else None)
        whole["raw_path"] = raw if end is None else root.encode() + raw[end:]
    return scope if whole.items() <= scope.items() else {**scope, **whole}


def _end_of(path: bytes, raw: bytes) -> int | None:
    """Where ``path`` ends in ``raw``, which begins with it, encoded; None where it doesn't."""
    end = 0
    for _ in path:
        end += 3 if raw[end : end + 1] == b"%" else 1
    written = raw[:end]
    if raw[end : end + 1] not in b"/?" or _NEEDLESS.search(written) or unquote_to_bytes(written) != path:
        return None
    return end


class _Lifespan:
    """What server and application tell each other; the gateway ends before the last word."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._started = False
        self._failed = False
        self._ends = False
        self._last: Message = {"type": "lifespan.shutdown.complete"}
        self.begun = False

    async def receive(self) -> Message:
        self.begun = True
        message = await self._receive()
        self._ends = message["type"] == "lifespan.shutdown"
        return message

    async def hold(self, message: Message) -> None:
        """Hand on what the application says, but not yet that all is over."""
        if message["type"].startswith("lifespan.shutdown."):
            self._last = message
            return
        self._started = message["type"] == "lifespan.startup.complete"
        self._failed = not self._started
        await self._send(message)

    async def stand_in(self) -> None:
        """Answer the server for an application that does not."""
        await self._receive()
        self._started = True
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()

    async def last(self) -> None:
        """Wait for the end where the application doesn't: one that has nothing to do there may be done."""
        if self._started and not self._ends:
            await self._receive()

    async def fail(self, error: Exception) -> None:
        if self._failed:
            return
        if self._started:
            await self._send({"type": "lifespan.shutdown.failed", "message": str(error)})
            return
        if not self.begun:
            await self._receive()
        await self._send({"type": "lifespan.startup.failed", "message": str(error)})

    async def end(self) -> None:
        if not self._failed:
            await self._send(self._last)


async def nowhere(scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stands for the application beside the gateway where there is none: it serves nothing."""
    raise RuntimeError(f"no application for {scope['type']}")
