"""The two requests that a hook makes: for a sender's certificate, and to confirm a subscription.

Both go only to URLs that a pattern of the settings allows, over HTTPS, and follow no redirect. A host that a
``*`` may stand for must not be on this side of the network: its address is looked at as it is connected to,
so that it is the same one.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import httpcore2

from gateway.core.session.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FETCH_SECONDS: Final = 5.0
KEPT_SECONDS: Final = 86_400.0
FAILED_SECONDS: Final = 60.0
"""How long a certificate that couldn't be fetched isn't asked for again."""

_OK: Final = 200
# RFC 4291, 2.4: nothing else is given to anybody. NAT64 and IPv4 written as IPv6 are outside.
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# An IPv4 address of any kind is inside: RFC 3056, 2 (6to4). For documents: RFC 9637.
_NOT_UNICAST: Final = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("3fff::/20"))
_MOST_KEPT: Final = 64
_MOST_BYTES: Final = 65_536
_FETCHES_PER_SECOND: Final = 1.0
_FETCHES_AT_ONCE: Final = 10

_log: Final = logging.getLogger("gateway.http_api.webhooks")


class _PublicAddresses(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that everybody can reach, and to no others."""

    def __init__(self, *, allowed: Callable[[str], bool]) -> None:
        self._backend = httpcore2.AnyIOBackend()
        self._allowed = allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of ``host``, if all of them are allowed."""
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(self._allowed(each) for each in addresses):
            raise httpcore2.ConnectError(f"{host} is not an address of the public network")
        return await self._backend.connect_tcp(
            addresses[0], port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if isinstance(found, ipaddress.IPv6Address) and (
        found not in _GLOBAL_UNICAST or any(found in network for network in _NOT_UNICAST)
    ):
        return False
    return found.is_global and not found.is_multicast


class _Kept(NamedTuple):
    """A certificate, and until when it isn't asked for again."""

    until: float
    content: bytes


def _bound(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


class Fetcher:
    """Fetches; certificates are kept, and asked for at a bounded rate."""

    def __init__(
        self,
        *,
        allowed: Callable[[str], bool] = is_public,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetch from addresses that are ``allowed``.

        Args:
            allowed: whether an address may be connected to.
            context: which certificates of servers are believed; None: those of the machine.
            clock: seconds.
        """
        self._allowed = allowed
        self._context = context
        self._clock = clock
        self._certificates: OrderedDict[str, _Kept] = OrderedDict()
        self._failed: OrderedDict[str, float] = OrderedDict()
        self._underway: dict[str, anyio.Event] = {}
        self._rate = RateLimit(_FETCHES_PER_SECOND, _FETCHES_AT_ONCE, now=clock())
        self._confirmations = RateLimit(_FETCHES_PER_SECOND, _FETCHES_AT_ONCE, now=clock())

    async def certificate(self, url: str) -> bytes | None:
        """Return what is behind an allowed URL, None where it can't be had now.

        Whoever makes up names of certificates must not turn this node against the sender, nor the sender
        away: fetches are rare, and what was had before counts where it can't be had anew.
        """
        if (underway := self._underway.get(url)) is not None:
            await underway.wait()
        now = self._clock()
        known = self._certificates.get(url)
        if known is not None:
            self._certificates.move_to_end(url)
        content = None if known is None else known.content
        if known is not None and now < known.until:
            return content
        if underway is not None or now < self._failed.get(url, 0.0) or not self._rate.allow(now):
            return content
        self._underway[url] = anyio.Event()
        try:
            return await self._fetched(url, now) or content
        finally:
            self._underway.pop(url).set()

    async def confirm(self, url: str) -> bool:
        """Whether a GET of an allowed URL succeeds."""
        return self._confirmations.allow(self._clock()) and await self._get(url) is not None

    async def _fetched(self, url: str, now: float) -> bytes | None:
        content = await self._get(url)
        if content is None:
            self._failed[url] = now + FAILED_SECONDS
            _bound(self._failed)
        else:
            self._certificates[url] = _Kept(now + KEPT_SECONDS, content)
            _bound(self._certificates)
        return content

    async def _get(self, url: str) -> bytes | None:
        try:
            with anyio.fail_after(FETCH_SECONDS):
                return await self._read(url)
        except (httpcore2.ConnectError, OSError, TimeoutError, ssl.SSLError) as exc:
            reason = type(exc).__name__ if not str(exc) else str(exc)[:200]
        except Exception as exc:  # noqa: BLE001 - of a library's many; a delivery must not fail for its sender's server
            reason = type(exc).__name__
        _log.warning("a webhook sender's URL can't be fetched: %s (%s)", url.partition("?")[0], reason)
        return None

    async def _read(self, url: str) -> bytes | None:
        context = self._context or ssl.create_default_context()
        backend = _PublicAddresses(allowed=self._allowed)
        async with httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=backend) as pool:
            headers = [("accept", "*/*"), ("accept-encoding", "identity")]
            async with pool.stream("GET", url, headers=headers) as response:
                if response.status != _OK:
                    raise OSError(f"HTTP status {response.status}")
                content = bytearray()
                async for chunk in response.aiter_stream():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise OSError(f"over {_MOST_BYTES} bytes")
                return bytes(content)
