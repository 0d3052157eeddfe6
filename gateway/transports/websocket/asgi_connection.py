"""The portable way: a WebSocket kept by its ASGI endpoint, under any server and in Starlette's test client.

One ``send`` is under way at a time; while it is, the connection counts as not writable, so that what is
published meanwhile waits in the outbox under its policies.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
from starlette.websockets import WebSocketDisconnect, WebSocketState

from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.session.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup
    from starlette.types import Message
    from starlette.websockets import WebSocket

    from gateway.transports.websocket.connection import Connection, SessionHandler, Writing

_CLOSE_TIMEOUT = 10.0
_TEXT, _BINARY = 1, 2


class AsgiSink:
    """A session's connection that uses nothing but ``receive`` and ``send``.

    Attributes:
        writable: no send is under way.
    """

    def __init__(self, websocket: WebSocket, *, max_message: int, clock: Callable[[], float]) -> None:
        self._websocket = websocket
        self._max_message = max_message
        self._clock = clock
        self._frames = b""
        self._wake = anyio.Event()
        self._may_read = anyio.Event()
        self._may_read.set()
        self._closing: tuple[int, str] | None = None
        self._tasks: TaskGroup | None = None
        self.writable = True

    @property
    def last_received(self) -> float:
        """Always now: keepalive is the ASGI server's business here, and endpoints don't see its pongs."""
        return self._clock()

    def buffered_bytes(self) -> int:
        """What the send under way carries; the server's own buffer can't be seen."""
        return len(self._frames)

    def write(self, frames: bytes) -> None:
        """Have ``frames`` sent; not writable until that is done. Dropped once closing, as the close waits."""
        if self._closing is not None:
            return
        self._frames += frames
        self.writable = False
        self._session.writable_changed(writable=False)
        self._wake.set()

    def write_for(self, owner: Writing) -> None:
        """It is always the same here."""
        owner.write = self.write

    def close(self, code: int, reason: str = "") -> None:
        """Close once what is under way has been sent, or after a bounded time without."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()
            if self._tasks is not None:
                self._end_in_time(self._tasks)

    def abort(self) -> None:
        """End at once; the server sees the endpoint return."""
        self._closing = self._closing or (1006, "aborted")
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    def pause_reading(self) -> None:
        """Receive no further message."""
        if self._may_read.is_set():
            self._may_read = anyio.Event()

    def resume_reading(self) -> None:
        """Receive again."""
        self._may_read.set()

    def ping(self) -> None:
        """ASGI has no ping."""

    async def run(self, make_session: Callable[[Connection], SessionHandler]) -> None:
        """Keep the accepted connection until it ends."""
        code, reason = 1006, ""
        self._session = make_session(self)
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._send_frames)
                if self._closing is not None:
                    self._end_in_time(self._tasks)
                code, reason = await self._receive_messages()
                self._tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            if self._closing is not None:
                code, reason = self._closing
            self._session.connection_closed(code, reason)

    async def _receive_messages(self) -> tuple[int, str]:
        while True:
            await self._may_read.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return message.get("code", 1005), message.get("reason") or ""
            self._hand_over(message)

    def _hand_over(self, message: Message) -> None:
        text = message.get("text")
        payload = text.encode() if text is not None else message["bytes"]
        if self._closing is not None:
            return
        if len(payload) > self._max_message:
            self.close(CloseCode.TOO_LARGE, f"a message may have {self._max_message} bytes")
            return
        self._session.message_received(_TEXT if text is not None else _BINARY, payload)

    async def _send_frames(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._frames:
                    frames, self._frames = self._frames, b""
                    for payload in iter_payloads(frames):
                        await self._websocket.send({"type": "websocket.send", "text": payload.decode()})
                    if not self._frames and self._closing is None:
                        self.writable = True
                        self._session.writable_changed(writable=True)
                if self._closing is not None:
                    await self._send_close(*self._closing)
                    return
        except (WebSocketDisconnect, RuntimeError, OSError):
            # The client has gone; `receive` reports it.
            return

    async def _send_close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is WebSocketState.CONNECTED:
            await self._websocket.close(code, reason)
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()

    @staticmethod
    def _end_in_time(tasks: TaskGroup) -> None:
        # Not a task of the group: `close` is called outside of tasks too, where anyio can't begin one.
        tasks.cancel_scope.deadline = asyncio.get_running_loop().time() + _CLOSE_TIMEOUT
