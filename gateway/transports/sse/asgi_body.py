"""The portable way to write a response as events come: ``await send(...)``, under any ASGI server.

One ``send`` is under way at a time; while it is, the body counts as not writable, so that what is published
meanwhile waits in the outbox under its policies.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import Receive, Send

    from gateway.transports.sse.sink import BodyHandler

_FINISH_SECONDS = 10.0


class AsgiEventBody:
    """A body that uses nothing but ``receive`` and ``send``.

    Attributes:
        writable: no send is under way.
    """

    def __init__(self, receive: Receive, send: Send, handler: BodyHandler) -> None:
        self._receive = receive
        self._send = send
        self._handler: BodyHandler | None = handler
        self._text = b""
        self._wake = anyio.Event()
        self._finishing = False
        self._scope: anyio.CancelScope | None = None  # of `run`
        self.writable = True

    def buffered_bytes(self) -> int:
        """What has yet to be sent; the server's own buffer can't be seen."""
        return len(self._text)

    def write(self, text: bytes) -> None:
        """Have ``text`` sent; not writable until that is done."""
        if self._finishing or self._handler is None:
            return
        self._text += text
        self.writable = False
        self._handler.writable_changed(writable=False)
        self._wake.set()

    def finish(self) -> None:
        """End once what is under way has been sent, or after a bounded time without."""
        if not self._finishing:
            self._finishing = True
            self._wake.set()
            self._end_in_time()

    def abort(self) -> None:
        """End at once; the server sees the application return."""
        self._finishing = True
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Write until the client has gone or the response has been finished."""
        scope = self._scope = anyio.CancelScope()
        # No task group: a child that it cancels is kept, by the error's own traceback, until a collection.
        writing = asyncio.create_task(self._write(scope))
        if self._finishing:
            self._end_in_time()
        try:
            with scope:
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        finally:
            writing.cancel()
            self._scope = None
            # They hold each other.
            handler, self._handler = self._handler, None
            if handler is not None:
                handler.connection_closed()
        if writing.done() and not writing.cancelled():
            writing.result()

    async def _write(self, scope: anyio.CancelScope) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._text:
                    text, self._text = self._text, b""
                    await self._send({"type": "http.response.body", "body": text, "more_body": True})
                if self._finishing:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                    break
                self.writable = True
                if self._handler is not None:
                    self._handler.writable_changed(writable=True)
        except OSError:
            # The client has gone; `receive` reports it.
            return
        except Exception:
            scope.cancel()
            raise
        scope.cancel()

    def _end_in_time(self) -> None:
        if self._scope is not None:
            self._scope.deadline = asyncio.get_running_loop().time() + _FINISH_SECONDS
