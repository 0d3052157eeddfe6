"""The publisher's connection: WebSocket or TCP, whichever the peer takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.load.dialling import connected_socket, dial

if TYPE_CHECKING:
    from benchmarks.peers.base import Peer
    from benchmarks.server_process import Ports


class Feed(asyncio.Protocol):
    """Writes; keeps the last of what the server answers, which should be nothing."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.answers = b""
        self.lost = False

    @classmethod
    async def open(cls, peer: Peer, ports: Ports) -> Feed:
        """Connect and say hello."""
        feed = cls()
        if peer.feed_path is None:
            loop = asyncio.get_running_loop()
            feed.transport, _ = await loop.create_connection(lambda: feed, sock=connected_socket(ports.feed))
            feed.transport.write(peer.feed_hello())
        else:
            feed.transport = await dial(peer.as_publisher(), ports.websocket, ())
            feed.transport.set_protocol(feed)
        return feed

    def write(self, data: bytes) -> None:
        """Send at once what the socket takes."""
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.answers = (self.answers + data)[-4096:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self.lost = True

    def problems(self) -> list[str]:
        """What the server complained about."""
        if self.lost:
            return [f"the publisher was disconnected: {self.answers[-300:]!r}"]
        if b'"error"' in self.answers or b"-ERR" in self.answers:
            return [f"a publication was refused: {self.answers[-300:]!r}"]
        return []

    def close(self) -> None:
        self.transport.abort()
