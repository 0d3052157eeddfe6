"""The client's own address behind proxies that are trusted to tell it.

``X-Forwarded-For`` is the client's to write; only what trusted proxies have appended to it says anything. So
it is read from the right: the first address that no trusted proxy bears is the client's.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeAlias

from gateway.auth.requests import peer_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAPPED = "::ffff:"
_FORWARDED = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"})


class ProxyChain:
    """Finds whose request it is that came through proxies, of which those in ``networks`` are trusted."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def put_client(self, scope: Scope) -> None:
        """Put the client's own address into an ASGI ``http`` or ``websocket`` scope."""
        if scope.get("client") is not None:
            host, port = scope["client"]
            address = self.client_address(host, scope["headers"])
            if address != host:
                # The port is the proxy's, and says nothing of the client.
                scope["client"] = (address, 0)
            else:
                scope["client"] = (host, port)

    def client_address(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return whose request it is that ``peer`` sent with ``headers``."""
        client = _address(peer)
        if client is None or not self._trusts(client):
            return peer
        for entry in reversed(_entries(headers)):
            address = _address(entry)
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        return str(client)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


class TrustedProxies:
    """ASGI middleware that puts the client's address into the scope."""

    def __init__(self, app: ASGIApp, networks: Iterable[str]) -> None:
        self._app = app
        self._chain = ProxyChain(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as its client's."""
        if scope["type"] in {"http", "websocket"}:
            self._chain.put_client(scope)
        await self._app(scope, receive, send)


def proxy_addresses(networks: Iterable[str]) -> Callable[[str], bool]:
    """Return what tells whether an address lies in one of ``networks``."""
    parsed = [ipaddress.ip_network(network) for network in networks]

    def is_proxy(text: str) -> bool:
        address = _address(text) if parsed else None
        return address is not None and any(address in network for network in parsed)

    return is_proxy


def is_local(scope: Scope) -> bool:
    """Whether the request was made on this machine, and not for somebody else by a proxy on it."""
    address = _address(peer_of(scope).host)
    if address is None or not address.is_loopback:
        return False
    return all(name.lower() not in _FORWARDED for name, _ in scope["headers"])


def unmapped(host: str) -> str:
    """Return an IPv4 address as such, which a socket for IPv6 and IPv4 gives as ``::ffff:192.0.2.1``."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def peer_name(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Return address and port of a connection's other end; None where it has none."""
    name = transport.get_extra_info("peername")
    return (
        (unmapped(str(name[0])), int(name[1])) if isinstance(name, list | tuple) and len(name) > 1 else None
    )


def _entries(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    lines = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    return [entry.strip() for line in lines for entry in line.split(",")]


def _address(text: str) -> Address | None:
    """``1.2.3.4``, ``1.2.3.4:80``, ``::1``, ``[::1]`` or ``[::1]:80``; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
