"""Clients that ask for a part of a log and keep what they get: one alone, or thousands within a second."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from benchmarks import payload
from benchmarks.load.dialling import bound_socket

if TYPE_CHECKING:
    from collections.abc import Sequence

CAUGHT_UP_SECONDS = 45.0
CAUGHT_UP = b'{"op":"caught_up"'
_FIRST = b'{"op":"message"'


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client says, and how it knows that it has all.

    Attributes:
        hello: as soon as it is connected; ``command`` once the server has answered.
        command: what it asks for.
        marker: what the end of the answer is told by, when it has come ``count`` times.
        refusal: what a refusal is told by.
    """

    hello: bytes
    command: bytes
    marker: bytes = CAUGHT_UP
    count: int = 1
    refusal: bytes = b'"op":"error"'


class Returning(asyncio.Protocol):
    """One client: connects, asks, and keeps what it gets until it has all.

    Attributes:
        begun: when it began to connect, or to ask again, seconds, monotonic; ``done`` is when it had all.
        caught_up: is done when it has; an error if the connection was lost before.
        stream: what it got since.
    """

    __slots__ = ("_asked", "_found", "_transport", "begun", "caught_up", "done", "stream")

    def __init__(self, asked: Asked) -> None:
        self._transport: asyncio.Transport
        self._begin(asked)

    def _begin(self, asked: Asked) -> None:
        self._asked = asked
        self._found = 0
        self.stream = bytearray()
        self.begun = self.done = time.monotonic()
        self.caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclasses
        # A client waits for the answer to its request; the command need not wait for the welcome.
        self._transport.write(self._asked.hello)

    def data_received(self, data: bytes) -> None:
        if not self.stream:
            self._transport.write(self._asked.command)
        marker = self._asked.marker
        cut = bytes(self.stream[1 - len(marker) :]) if len(marker) > 1 else b""
        self.stream += data
        self._found += (cut + data).count(marker)
        # Looked for in what an error begins with: messages are long, and have no such field.
        if not self._found and self._asked.refusal in data and not self.caught_up.done():
            self.caught_up.set_exception(ConnectionError(f"refused: {bytes(self.stream[-200:])!r}"))
        if self._found >= self._asked.count and not self.caught_up.done():
            self.done = time.monotonic()
            self.caught_up.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.caught_up.done():
            got = f"{len(self.stream)} bytes, at last {bytes(self.stream[-200:])!r}"
            self.caught_up.set_exception(ConnectionError(f"lost before it had caught up: {exc}; {got}"))

    async def ask(self, asked: Asked) -> float:
        """Forget what came, ask again on the same connection, and return the seconds until it has all."""
        self._begin(asked)
        # Never empty from here on: the command is written once.
        self.stream += b"\n"
        self._transport.write(asked.command)
        await asyncio.wait_for(self.caught_up, CAUGHT_UP_SECONDS)
        return self.done - self.begun

    @property
    def recovered(self) -> bool:
        return b'"recovered":true' in self.stream

    def messages(self) -> bytes:
        """What it got of the gateway from the first message to ``caught_up``."""
        first, last = self.stream.find(_FIRST), self.stream.find(CAUGHT_UP)
        return bytes(self.stream[first:last]) if first >= 0 else b""

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._transport.abort()


async def come_back(port: int, asked: Sequence[Asked], *, within: float) -> list[Returning]:
    """Have a client connect for each of ``asked``, evenly spread over ``within`` seconds.

    Returns:
        The clients, once all have what they asked for.

    Raises:
        ConnectionError: one was refused or disconnected.
        TimeoutError: one hasn't caught up in time.
    """
    loop, begin = asyncio.get_running_loop(), time.monotonic()

    async def one(number: int) -> Returning:
        await asyncio.sleep(begin + within * number / len(asked) - time.monotonic())
        client = Returning(asked[number])
        connection = bound_socket(number)
        connection.setblocking(False)
        # Not blocking: where the server is late to accept, only this client waits.
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.create_connection(lambda: client, sock=connection)
        await client.caught_up
        return client

    async with asyncio.timeout(CAUGHT_UP_SECONDS), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(len(asked))]
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
    return problems + unrecovered(clients)


def each_wrong(clients: Sequence[Returning], expected: Sequence[Sequence[int]]) -> list[str]:
    """Check that each got the messages with the numbers of its own, in that order, and no others."""
    differ = sum(
        payload.numbers(client.stream) != list(own) for client, own in zip(clients, expected, strict=True)
    )
    return [f"{differ} clients did not get their own messages in order"] if differ else []


def unrecovered(clients: Sequence[Returning]) -> list[str]:
    """Check that all were told that nothing is missing."""
    count = sum(not client.recovered for client in clients)
    return [f"{count} clients were not told that they recovered"] if count else []
