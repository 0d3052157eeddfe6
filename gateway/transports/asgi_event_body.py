"""The portable way to write a response as events come: ``await send(...)``, under any ASGI server.

One ``send`` is under way at a time; while it is, the body counts as not writable, so that what is published
meanwhile waits in the outbox under its policies.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from starlette.types import Receive, Send

    from gateway.transports.event_sink import BodyHandler

_FINISH_SECONDS = 10.0


class AsgiEventBody:
    """A body that uses nothing but ``receive`` and ``send``.

    Attributes:
        writable: no send is under way.
    """

    def __init__(self, receive: Receive, send: Send, handler: BodyHandler) -> None:
        self._receive = receive
        self._send = send
        self._handler = handler
        self._text = b""
        self._wake = anyio.Event()
        self._finishing = False
        self._tasks: TaskGroup | None = None
        self.writable = True

    def buffered_bytes(self) -> int:
        """What has yet to be sent; the server's own buffer can't be seen."""
        return len(self._text)

    def write(self, text: bytes) -> None:
        """Have ``text`` sent; not writable until that is done."""
        if self._finishing:
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
            if self._tasks is not None:
                self._end_in_time(self._tasks)

    def abort(self) -> None:
        """End at once; the server sees the application return."""
        self._finishing = True
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def run(self) -> None:
        """Write until the client has gone or the response has been finished."""
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._write)
                if self._finishing:
                    self._end_in_time(self._tasks)
                while (await self._receive())["type"] != "http.disconnect":
                    pass
                self._tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            self._handler.connection_closed()

    async def _write(self) -> None:
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
                self._handler.writable_changed(writable=True)
        except OSError:
            # The client has gone; `receive` reports it.
            return
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()

    @staticmethod
    def _end_in_time(tasks: TaskGroup) -> None:
        # Not a task of the group: `finish` is called outside of tasks too, where anyio can't begin one.
        tasks.cancel_scope.deadline = asyncio.get_running_loop().time() + _FINISH_SECONDS
