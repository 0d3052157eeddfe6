"""Which hosts and web pages may talk to the gateway.

Any web page can make a browser send requests to loopback, and a page whose name was rebound to 127.0.0.1
counts as same-origin there. So ``Host`` must be a name that the gateway knows, and an ``Origin`` the
gateway's own or an allowed one.

Spec: docs/http.md, "Origins and hosts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.loopback import is_loopback
from gateway.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class OriginPolicy:
    """Decides on ``Host`` and ``Origin``.

    Args:
        origins: allowed besides the gateway's own, as ``scheme://host[:port]`` in lower case.
        hosts: names allowed in ``Host`` besides those of loopback, in lower case; None allows every name.
    """

    def __init__(self, *, origins: Iterable[str], hosts: Iterable[str] | None) -> None:
        self._origins = frozenset(origins)
        self._hosts = None if hosts is None else frozenset(hosts)

    def check(self, host: str, origin: str | None) -> None:
        """Raise ``NotPermitted`` unless a request with these headers may change or read anything."""
        self.check_host(host)
        if origin is not None and not self.trusts(host, origin):
            raise NotPermitted(f"origin {origin[:128]!r} is not allowed: see origins.allow")

    def trusts(self, host: str, origin: str) -> bool:
        """Whether ``origin`` is that of ``host`` itself or an allowed one."""
        if origin.lower() in self._origins:
            return True
        scheme, separator, authority = origin.lower().partition("://")
        return bool(separator) and scheme in {"http", "https"} and authority == host.lower()

    def check_host(self, host: str) -> None:
        """Raise ``NotPermitted`` unless ``host`` is a name of the gateway."""
        if self._hosts is None:
            return
        name = _without_port(host.lower())
        if name not in self._hosts and not is_loopback(name):
            raise NotPermitted(f"host {host[:128]!r} is not allowed: see origins.hosts")


class OriginGuard:
    """ASGI middleware that refuses what the policy doesn't allow, before anything is read."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy, refuse: Refusal) -> None:
        self._app = app
        self._policy = policy
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] in {"http", "websocket"}:
            try:
                self._check(scope)
            except NotPermitted as error:
                await self._refuse(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = origin = None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        if scope["type"] == "http" and scope["method"] in _SAFE_METHODS:
            self._policy.check_host(host or "")
        else:
            self._policy.check(host or "", origin)


if TYPE_CHECKING:
    from collections.abc import Callable

    Refusal = Callable[[NotPermitted], Response]


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host
