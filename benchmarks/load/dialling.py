"""Opening WebSocket connections, many at a time, from as many loopback addresses as they need."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from benchmarks.load.client_frames import Deframer
from benchmarks.load.crowd import Crowd, DeframingSubscriber, Subscriber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.base import Peer

AT_ONCE: Final = 128
PER_ADDRESS: Final = 15_000
OPEN_SECONDS: Final = 30.0

# What a browser sends, so that what a server keeps of a request has its usual size.
_BROWSER: Final = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0 Safari/537.36\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cache-Control: no-cache\r\nPragma: no-cache\r\n"
)


class DialError(Exception):
    """A server refused a connection, or did not answer a subscription."""


class _Greeting(asyncio.Protocol):
    """Upgrade, then subscribe; the connection is ready when every subscription is answered."""

    def __init__(self, peer: Peer, port: int, filters: Sequence[str]) -> None:
        self._peer = peer
        self._request = upgrade_request(port, peer.path, peer.subprotocol, token=peer.token())
        self._filters = filters
        self._missing = peer.replies(filters)
        self._head: bytearray | None = bytearray()
        self._deframer = Deframer()
        self._transport: asyncio.Transport
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclasses
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            head, _, data = bytes(self._head).partition(b"\r\n\r\n")
            self._head = None
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self._fail(f"refused: {head[:200]!r}")
                return
            self._transport.write(self._peer.hello() + self._peer.subscribe(self._filters))
        for _, payload in self._deframer.feed(data):
            self._missing -= payload.count(self._peer.reply)
        if self._missing <= 0 and self._deframer.between_frames and not self.ready.done():
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost before it was ready: {exc}")

    def _fail(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(DialError(f"{self._peer.name}: {reason}"))


def upgrade_request(port: int, path: str, subprotocol: str | None, *, token: str | None = None) -> bytes:
    """The request that opens a WebSocket at ``path``."""
    offered = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    offered += f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n{_BROWSER}"
        f"Upgrade: websocket\r\nOrigin: http://127.0.0.1:{port}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offered}\r\n"
    ).encode()


def bound_socket(number: int = 0) -> socket.socket:
    """A socket to connect from; ``number`` counts connections and chooses the source address."""
    bound = socket.socket()
    try:
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect, so each address has all of them.
        with suppress(OSError):
            bound.setsockopt(socket.IPPROTO_IP, 24, 1)
        bound.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    except BaseException:
        bound.close()
        raise
    return bound


def connected_socket(port: int, number: int = 0) -> socket.socket:
    """A connected socket; ``number`` as for ``bound_socket``."""
    connection = bound_socket(number)
    try:
        connection.connect(("127.0.0.1", port))
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


async def dial(peer: Peer, port: int, filters: Sequence[str], *, number: int = 0) -> asyncio.Transport:
    """Open a connection and return its transport when it is subscribed to all ``filters``.

    Raises:
        DialError: the server did not play along.
    """
    loop = asyncio.get_running_loop()
    transport, greeting = await loop.create_connection(
        lambda: _Greeting(peer, port, filters),
        sock=connected_socket(port, number),
        ssl=peer.encryption,
        server_hostname="127.0.0.1" if peer.encryption else None,
    )
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await greeting.ready
    except TimeoutError:
        transport.abort()
        raise DialError(f"{peer.name}: not subscribed after {OPEN_SECONDS} s") from None
    return transport


async def dial_many(
    peer: Peer,
    port: int,
    filters: Sequence[Sequence[str]],
    *,
    crowd: Crowd,
    recorded: frozenset[int] = frozenset(),
    deframe: bool | None = None,
) -> None:
    """Open one connection per entry of ``filters`` and add them to ``crowd`` in that order.

    ``recorded`` are the places of those that keep what they get. ``deframe`` overrides the peer's way.
    """
    make = DeframingSubscriber if (peer.deframe if deframe is None else deframe) else Subscriber
    first = len(crowd.subscribers)
    added: list[Subscriber | None] = [None] * len(filters)
    todo = iter(enumerate(filters))

    async def worker() -> None:
        for place, wanted in todo:
            transport = await dial(peer, port, wanted, number=first + place)
            added[place] = make(crowd, transport, record=place in recorded)
            transport.set_protocol(added[place])  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(filters))):
            group.create_task(worker())
    crowd.subscribers += [subscriber for subscriber in added if subscriber is not None]
