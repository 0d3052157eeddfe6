"""The transport as uvicorn's WebSocket class sees it: closing ends in bounded time, and can be taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.transports.server.server_context import half_close

if TYPE_CHECKING:
    import asyncio

    from gateway.engine.runtime.timeout_queue import TimeoutQueue


class BoundedTransport:
    """Passes on what the class below us uses.

    ``close`` of an asyncio transport waits until its buffer is empty: for a stuck peer, for ever.
    """

    __slots__ = ("_gone", "_transport", "closing")

    def __init__(self, transport: asyncio.Transport, gone: TimeoutQueue) -> None:
        self._transport: asyncio.Transport | None = transport
        self._gone = gone
        self.closing = False

    def release(self) -> asyncio.Transport:
        """Hand the real transport over; from then on every call here does nothing."""
        transport, self._transport = self._transport, None
        if transport is None:
            raise ConnectionError("the connection was taken over before")
        return transport

    def lost(self) -> None:
        """The connection has gone."""
        self._gone.stop(self)

    def write(self, data: bytes) -> None:
        """Write, unless closing."""
        if self._transport is not None and not self.closing:
            self._transport.write(data)

    def close(self) -> None:
        """End our direction, wait for the peer to end its own, and abort when that takes too long."""
        if self._transport is None or self.closing:
            return
        self.closing = True
        if not self._transport.is_closing():
            self._transport.resume_reading()
        half_close(self._transport)
        self.limit_wait()

    def limit_wait(self) -> None:
        """Abort, unless the connection has gone in time by itself."""
        if self._transport is not None:
            self._gone.start(self, self._transport.abort)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._transport is None or self.closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stop reading, unless closing."""
        if self._transport is not None and not self.closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, unless closing."""
        if self._transport is not None and not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """See ``asyncio.BaseTransport``."""
        return default if self._transport is None else self._transport.get_extra_info(name, default)
