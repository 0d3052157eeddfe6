"""A link to a server that is far, narrow, interrupted or cut: a proxy on loopback, in a thread of its own."""

from __future__ import annotations

import math
import socket
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.stapled import MultiListener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.from_thread import BlockingPortal

_CHUNK = 4096
_WAITING_CHUNKS = 64
_KERNEL_BYTES = 32 * 1024  # or the system's buffers take megabytes before anyone notices that a link is slow

_ENDED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

_RESET = struct.pack("ii", 1, 0)
"""An SO_LINGER by which closing a socket resets its connection."""


@dataclass
class Direction:
    """One way of the link, shared by all its connections; may be changed at any time.

    Attributes:
        delay: seconds that each byte travels.
        bytes_per_second: how many fit through; zero: none, and nobody is told.
    """

    delay: float = 0.0
    bytes_per_second: float = math.inf
    _free_at: float = 0.0

    async def carry(self, source: ByteReceiveStream, sink: ByteSendStream) -> None:
        """Take bytes over until the connection ends, which is an exception."""
        put, travelling = anyio.create_memory_object_stream[tuple[float, bytes]](_WAITING_CHUNKS)

        async def give() -> None:
            async for due, chunk in travelling:
                await anyio.sleep_until(due)
                await self._pass(len(chunk))
                await sink.send(chunk)

        async with put, travelling, anyio.create_task_group() as tasks:
            tasks.start_soon(give)
            while True:
                chunk = await source.receive(_CHUNK)
                await put.send((anyio.current_time() + self.delay, chunk))

    async def _pass(self, size: int) -> None:
        while not (rate := self.bytes_per_second):  # noqa: ASYNC110 - another thread changes it
            await anyio.sleep(0.005)
        self._free_at = max(self._free_at, anyio.current_time()) + size / rate
        await anyio.sleep_until(self._free_at)


@dataclass
class SlowLink:
    """The way to the server at the port ``target``; ``there`` goes to it, ``back`` comes from it."""

    target: int
    port: int = 0
    there: Direction = field(default_factory=Direction)
    back: Direction = field(default_factory=Direction)
    _portal: BlockingPortal | None = None
    _streams: set[SocketStream] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def stall(self) -> None:
        """Let nothing through."""
        self.there.bytes_per_second = self.back.bytes_per_second = 0

    def reset(self) -> None:
        """Reset all connections that there are, at both ends."""
        self._cut(reset=True)

    def end(self) -> None:
        """End all connections that there are, as a process does that ends."""
        self._cut(reset=False)

    def _cut(self, *, reset: bool) -> None:
        async def cut() -> None:
            streams = list(self._streams)
            # All before the first is closed: those at its other end may close meanwhile, by themselves.
            for stream in streams if reset else ():
                raw = stream.extra(SocketAttribute.raw_socket)
                if raw.fileno() != -1:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            for stream in streams:
                await stream.aclose()

        assert self._portal is not None, "the link is open"
        self._portal.call(cut)

    def heal(self) -> None:
        """Be as any other link again."""
        for way in (self.there, self.back):
            way.delay, way.bytes_per_second = 0.0, math.inf

    async def listen(self) -> MultiListener[SocketStream]:
        """Open the port."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        raw = listener.extra(SocketAttribute.raw_socket)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # what is accepted inherits them
            raw.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BYTES)
        self.port = listener.extra(SocketAttribute.local_port)
        return listener

    async def connected(self, near: SocketStream) -> None:
        """Serve one connection."""
        with suppress(OSError):
            async with near, await anyio.connect_tcp("127.0.0.1", self.target) as far:
                self._streams |= {near, far}
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self.there.carry, near, far)
                        tasks.start_soon(self.back.carry, far, near)
                except* _ENDED:
                    pass
                finally:
                    self._streams -= {near, far}


@contextmanager
def slow_link(target: int) -> Iterator[SlowLink]:
    """Open a link, as good as any at first, to the server on port ``target``."""
    link = SlowLink(target)
    with start_blocking_portal() as portal:
        link._portal = portal
        listener = portal.call(link.listen)
        serving = portal.start_task_soon(listener.serve, link.connected)
        try:
            yield link
        finally:
            serving.cancel()
            portal.call(listener.aclose)
