"""A WebSocket client without manners: it sends any bytes, and reads only when it is told to.

``bystander`` is its opposite: a client on the same gateway that must notice nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from websockets.asyncio.client import connect

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.integration.conftest import RunningGateway

SECONDS = 20.0
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True, masked: bool = True) -> bytes:
    """A client's frame, with a mask of zeros: the payload is seen as it is."""
    head = bytes([opcode | (0x80 if final else 0)])
    flag, length = (0x80 if masked else 0), len(payload)
    if length < 126:
        head += bytes([flag | length])
    elif length < 0x10000:
        head += bytes([flag | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + length.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def command(**fields: Any) -> bytes:
    """A command's frame; ``from_`` and the like lose the underscore."""
    return frame(json.dumps({name.rstrip("_"): value for name, value in fields.items()}).encode())


class RawClient:
    """One connection after its handshake; ``unread`` holds what came with it or before a frame was whole."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()

    async def send(self, data: bytes) -> None:
        with anyio.fail_after(SECONDS):
            await self._loop.sock_sendall(self.socket, data)

    async def send_what_is_taken(self, data: bytes, seconds: float) -> int:
        """Send until nothing was taken for ``seconds``; returns how many bytes were."""
        sent = 0
        view = memoryview(data)
        while sent < len(data):
            try:
                sent += self.socket.send(view[sent : sent + 65536])
            except BlockingIOError:
                if not await self._writable(seconds):
                    break
            except ConnectionError:
                break
        return sent

    async def frame(self) -> tuple[int, bytes]:
        """The next frame; opcode and payload."""
        head = await self._take(2)
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._take(2 if length == 126 else 8), "big")
        return head[0] & 0xF, await self._take(length)

    async def event(self) -> dict[str, Any]:
        """The next text frame, decoded; pings and pongs are passed over."""
        opcode, payload = await self.frame()
        while opcode in {PING, PONG}:
            opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        event: dict[str, Any] = json.loads(payload)
        return event

    async def close_code(self) -> int | None:
        """Read to the close frame, or the end of the connection without one (None)."""
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big")
        except (EOFError, ConnectionError):
            return None

    async def ended(self) -> None:
        """Return once the connection has gone, unread bytes or not."""
        with anyio.fail_after(SECONDS):
            try:
                while await self._loop.sock_recv(self.socket, 65536):
                    pass
            except ConnectionError:
                pass

    async def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            with anyio.fail_after(SECONDS):
                data = await self._loop.sock_recv(self.socket, 65536)
            if not data:
                raise EOFError
            self._unread += data
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    async def _writable(self, seconds: float) -> bool:
        ready = asyncio.Event()
        self._loop.add_writer(self.socket, ready.set)
        try:
            await asyncio.wait_for(ready.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._loop.remove_writer(self.socket)
        return True


@asynccontextmanager
async def raw_client(gateway: RunningGateway, *, receive_buffer: int = 0) -> AsyncIterator[RawClient]:
    """Connect, and read ``welcome``; ``receive_buffer`` bounds what the kernel takes for the client."""
    with socket.socket() as connection:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", gateway.port))
        client = RawClient(connection)
        key = base64.b64encode(os.urandom(16))
        await client.send(
            b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % (gateway.port, key)
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await client._take(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        assert (await client.event())["op"] == "welcome"
        yield client


async def subscribe(client: RawClient, topic_filter: str, **options: Any) -> None:
    await client.send(command(op="subscribe", filter=topic_filter, **options))
    event = await client.event()
    assert event["op"] == "subscribed", event


@asynccontextmanager
async def bystander(gateway: RunningGateway) -> AsyncIterator[None]:
    """While the body runs, publish to oneself, one at a time: each comes back, in order, within seconds."""
    async with connect(gateway.ws_url, ping_interval=None) as client:
        topic = f"bystander/{os.urandom(4).hex()}"
        await client.recv()
        await client.send(json.dumps({"op": "subscribe", "filter": topic}))
        await client.recv()
        received = 0

        async def converse() -> None:
            nonlocal received
            while True:
                await client.send(json.dumps({"op": "publish", "topic": topic, "data": received}))
                with anyio.fail_after(HANG_SECONDS):
                    event = json.loads(await client.recv())
                assert event["data"] == received, event
                received += 1
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(converse)
            yield
            before = received
            await until(lambda: received >= before + 2)
            tasks.cancel_scope.cancel()


async def until(holds: Callable[[], Any], seconds: float = HANG_SECONDS) -> None:
    """Wait until ``holds``."""
    with anyio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110 - what is awaited happens in another process
            await anyio.sleep(0.01)
