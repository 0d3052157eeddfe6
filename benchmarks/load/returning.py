"""Clients that come back, all at about the same time, each from the position that it had."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from zlib import crc32

from benchmarks import payload
from benchmarks.load.client_frames import client_frame
from benchmarks.load.dialling import bound_socket, upgrade_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Running

CAUGHT_UP_SECONDS = 45.0
_FIRST = b'{"op":"message"'
_LAST = b'{"op":"caught_up"'


class Returning(asyncio.Protocol):
    """One client: connects, resumes, and keeps what it gets until it has caught up.

    Attributes:
        begun: when it began to connect, seconds, monotonic; ``done`` is when it had caught up.
        recovered: whether it was told that nothing is missing.
        caught_up: is done when it has; an error if the connection was lost before.
    """

    __slots__ = ("_command", "_request", "_stream", "_transport", "begun", "caught_up", "done")

    def __init__(self, request: bytes, command: bytes) -> None:
        self._request = request
        self._command = command
        self._stream = bytearray()
        self._transport: asyncio.Transport
        self.begun = self.done = time.monotonic()
        self.caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclasses
        # A client waits for the answer to its request; the command need not wait for the welcome.
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._stream:
            self._transport.write(self._command)
        searched = max(0, len(self._stream) - len(_LAST))
        self._stream += data
        if not self.caught_up.done() and self._stream.find(_LAST, searched) >= 0:
            self.done = time.monotonic()
            self.caught_up.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.caught_up.done():
            got = f"{len(self._stream)} bytes, at last {bytes(self._stream[-200:])!r}"
            self.caught_up.set_exception(ConnectionError(f"lost before it had caught up: {exc}; {got}"))

    @property
    def recovered(self) -> bool:
        return b'"recovered":true' in self._stream

    def messages(self) -> bytes:
        """What it got from the first message to ``caught_up``."""
        first, last = self._stream.find(_FIRST), self._stream.find(_LAST)
        return bytes(self._stream[first:last]) if first >= 0 else b""

    def close(self) -> None:
        self._transport.abort()


async def come_back(at: Running, command: bytes, count: int, *, within: float) -> list[Returning]:
    """Have ``count`` clients connect evenly spread over ``within`` seconds; return when all caught up.

    Raises:
        ConnectionError: one was refused or disconnected.
        TimeoutError: one hasn't caught up in time.
    """
    request = upgrade_request(at.ports.websocket, at.peer.path, at.peer.subprotocol)
    loop, begin = asyncio.get_running_loop(), time.monotonic()

    async def one(number: int) -> Returning:
        await asyncio.sleep(begin + within * number / count - time.monotonic())
        client = Returning(request, client_frame(command))
        connection = bound_socket(number)
        connection.setblocking(False)
        # Not blocking: where the gateway is late to accept, only this client waits.
        await loop.sock_connect(connection, ("127.0.0.1", at.ports.websocket))
        await loop.create_connection(lambda: client, sock=connection)
        await client.caught_up
        return client

    async with asyncio.timeout(CAUGHT_UP_SECONDS), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(count)]
    return [task.result() for task in tasks]


def wrong(clients: Sequence[Returning], expected: Sequence[int]) -> list[str]:
    """Check that all got the messages with the numbers ``expected``, in that order, and the same bytes."""
    problems = []
    first = clients[0].messages()
    if payload.numbers(first) != list(expected):
        problems.append(f"the first client did not get {len(expected)} messages in order")
    sums = {crc32(client.messages()) for client in clients}
    if len(sums) != 1:
        problems.append("the clients did not all get the same bytes")
    unrecovered = sum(not client.recovered for client in clients)
    if unrecovered:
        problems.append(f"{unrecovered} clients were not told that they recovered")
    return problems
