"""The protocol object that keeps a response once its head is out: small when idle, direct when busy.

The body is chunked (RFC 9112, 7.1), one chunk per write. The connection ends with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.transports.server.server_context import Wait, half_close

if TYPE_CHECKING:
    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.sse.sink import BodyHandler

_FINISH_SECONDS = 10.0
_MOST_UNASKED = 64 * 1024
"""Bytes that a client may send although nobody reads them: requests that its proxy has sent ahead."""


class LeanEventBody(asyncio.Protocol):
    """The rest of a response, written straight to the transport; to its session an ``event_sink.Body``.

    Attributes:
        writable: the transport's buffer is below its high mark.
    """

    __slots__ = ("_context", "_handler", "_open", "_transport", "_unasked", "writable")

    def __init__(
        self,
        transport: asyncio.Transport,
        handler: BodyHandler,
        *,
        context: ServerContext,
        writable: bool,
    ) -> None:
        self._transport = transport
        self._handler: BodyHandler | None = handler
        self._context = context
        self._open = True
        self._unasked = 0
        self.writable = writable

    # Body: what the session calls

    def buffered_bytes(self) -> int:
        """See ``event_sink.Body``, here and below."""
        return self._transport.get_write_buffer_size()

    def write(self, text: bytes) -> None:
        """Write one chunk."""
        if self._open:
            self._transport.write(b"%x\r\n%b\r\n" % (len(text), text))

    def finish(self) -> None:
        """Write the last chunk and end in bounded time."""
        if self._open:
            self._open = False
            self._transport.write(b"0\r\n\r\n")
            half_close(self._transport)
            self._limit_wait()

    def abort(self) -> None:
        """End at once."""
        self._open = False
        self._transport.abort()

    # asyncio.Protocol: what the transport calls

    def data_received(self, data: bytes) -> None:
        """Pass over what nobody asked for."""
        self._unasked += len(data)
        if self._unasked > _MOST_UNASKED:
            self._context.log.warning("HTTP connection cut: its client goes on talking into a response")
            self.abort()

    def pause_writing(self) -> None:
        """The transport's buffer is above its high mark."""
        self.writable = False
        self._tell_writable(False)

    def resume_writing(self) -> None:
        """It is below its low mark."""
        self.writable = True
        self._tell_writable(True)

    def eof_received(self) -> None:
        """The client has gone; the transport then closes itself, once its buffer is empty."""
        self._open = False
        self._limit_wait()
        self._tell_end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Nothing more goes out."""
        self._open = False
        self._context.connections.discard(self)
        self._context.deadlines(Wait.GONE, _FINISH_SECONDS).stop(self)
        self._tell_end()

    # uvicorn.Server.shutdown

    def shutdown(self) -> None:
        """Have the session say goodbye; the server waits until the connection has gone."""
        if self._handler is not None:
            self._handler.drain()

    def _limit_wait(self) -> None:
        self._context.deadlines(Wait.GONE, _FINISH_SECONDS).start(self, self._transport.abort)

    def _tell_writable(self, writable: bool) -> None:
        if self._open and self._handler is not None:
            try:
                self._handler.writable_changed(writable)
            except Exception as error:  # noqa: BLE001 - a session's defect must not reach its neighbours
                self._failed(error)

    def _tell_end(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            try:
                handler.connection_closed()
            except Exception as error:  # noqa: BLE001
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._context.log.defect("HTTP connection cut: its session failed", error)
        self.abort()
