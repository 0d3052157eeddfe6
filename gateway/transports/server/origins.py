"""Which hosts and web pages may talk to the gateway.

Any web page can make a browser send requests to loopback, and a page whose name was rebound to 127.0.0.1
counts as same-origin there. So ``Host`` must be a name that the gateway knows, and an ``Origin`` the
gateway's own or an allowed one.

Spec: docs/http.md, "Origins and hosts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.loopback import is_loopback
from gateway.core.origin import canonical_host, canonical_origin, is_address, split_authority
from gateway.errors import NotPermitted
from gateway.transports.http.denial import deny
from gateway.transports.http.scopes import path_below_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    Refusal = Callable[[NotPermitted], Response]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Hosts:
    """Names of the gateway, as ``Host`` may carry them; those of loopback are always among them.

    Args:
        names: without port; IPv6 addresses with brackets or without.
        addresses: whether every IP address counts: none can be rebound, unlike a name. So does no ``Host`` at
            all, which some that ask for the node's health leave out, and no browser does.
    """

    def __init__(self, names: Iterable[str], *, addresses: bool = False) -> None:
        self._names = frozenset(map(canonical_host, names))
        self._addresses = addresses

    def __contains__(self, host: str) -> bool:
        """Whether ``host``, with a port or without, is one of them."""
        if not host:
            return self._addresses
        parts = split_authority(host)
        if parts is None:
            return False
        name = parts[0]
        return name in self._names or is_loopback(name) or (self._addresses and is_address(name))


class OriginPolicy:
    """Decides on ``Host`` and ``Origin``.

    Args:
        origins: allowed besides the gateway's own.
        hosts: what ``Host`` may be; None allows everything.
        hosts_of_anonymous: the same for whatever is done without a credential.
        refused: told of each refusal.
    """

    def __init__(
        self,
        *,
        origins: Iterable[str],
        hosts: Hosts | None,
        hosts_of_anonymous: Hosts | None = None,
        refused: Callable[[NotPermitted], None] | None = None,
    ) -> None:
        self._origins = frozenset(filter(None, map(canonical_origin, origins)))
        self._hosts = hosts
        self._hosts_of_anonymous = hosts_of_anonymous
        self._refused = refused

    def check(self, host: str, origin: str | None) -> None:
        """Raise ``NotPermitted`` unless a request with these headers may change or read anything."""
        self.check_host(host)
        if origin is not None and not self.trusts(host, origin):
            raise self._refusal(f"origin {origin[:128]!r} is not allowed: see origins.allow")

    def trusts(self, host: str, origin: str) -> bool:
        """Whether ``origin`` is that of ``host`` itself or an allowed one."""
        canonical = canonical_origin(origin)
        if canonical is None:
            return False
        scheme = canonical.partition("://")[0]
        return canonical in self._origins or canonical == canonical_origin(f"{scheme}://{host}")

    def check_request(self, scope: Scope) -> None:
        """Raise ``NotPermitted`` unless the request of an ``http`` or ``websocket`` scope may be served."""
        host, origin = "", None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        if scope["type"] == "http" and scope["method"] in _SAFE_METHODS:
            self.check_host(host)
        else:
            self.check(host, origin)
        if not _asks_for_credentials(path_below_mount(scope)):
            self.check_anonymous(host)

    def check_host(self, host: str) -> None:
        """Raise ``NotPermitted`` unless ``host`` is a name of the gateway."""
        self._check(self._hosts, host)

    def check_anonymous(self, host: str) -> None:
        """Raise ``NotPermitted`` unless a request to ``host`` may be served without a credential.

        A page whose name was rebound to the gateway has no credential, but it is where the browser is: in
        the gateway's network or on its machine.
        """
        self._check(self._hosts_of_anonymous, host)

    def _check(self, hosts: Hosts | None, host: str) -> None:
        if hosts is not None and host not in hosts:
            raise self._refusal(f"host {host[:128]!r} is not allowed: see origins.hosts")

    def _refusal(self, reason: str) -> NotPermitted:
        error = NotPermitted(reason)
        if self._refused is not None:
            self._refused(error)
        return error


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
                self._policy.check_request(scope)
            except NotPermitted as error:
                await deny(self._refuse(error), scope, receive, send)
                return
        await self._app(scope, receive, send)


def _asks_for_credentials(path: str) -> bool:
    """Whether it is the endpoint's business who asks; everything else is open to everyone."""
    # The console's question has an answer for those who have none, too.
    return (path.startswith("/v1/") and path != "/v1/console") or path == "/metrics"
