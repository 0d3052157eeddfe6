"""One write to the socket for all frames of a turn of the event loop, not one for each.

A write to a socket costs more than making the frame. Where many tasks publish at the same time, theirs go
together.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection

GATHERED_BYTES: Final = 64 * 1024
"""More than that is written at once: the socket takes it, and says when it is full."""


class GatheringTransport:
    """A transport whose writes are handed on together, once the loop comes round; the rest is as ever."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes | bytearray | memoryview] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write ``data`` behind what is gathered, now or in a moment."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= GATHERED_BYTES:
            self._flush()

    def write_eof(self) -> None:
        """Write what is gathered, and that nothing follows."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Write what is gathered, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        gathered, self._gathered, self._size = self._gathered, [], 0
        if gathered and not self._transport.is_closing():
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))


class GatheringConnection(ClientConnection):
    """The library's connection, with its frames gathered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to use ``transport``."""
        gathering = GatheringTransport(cast("asyncio.Transport", transport))
        super().connection_made(cast("asyncio.Transport", gathering))
