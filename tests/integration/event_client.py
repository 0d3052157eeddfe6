"""A client of ``/v1/events`` on a bare socket, that can be cut anywhere."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.event_stream import EventStreamReader, ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from .conftest import RunningGateway

SECONDS = 20.0


class EventClient:
    """One response.

    Attributes:
        status: of the response.
        headers: of the response, names in lower case.
        events: what it knows, the id to come back with among it.
        ended: the response has ended as it should.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: list[ServerSentEvent] = []
        self._encoded = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.events = EventStreamReader()
        self.ended = False

    async def begin(self, request: bytes) -> None:
        self._writer.write(request)
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        self.status = int(line.split()[1])
        self.headers = {
            name.lower(): value for name, _, value in (each.partition(": ") for each in fields) if name
        }

    async def body(self) -> bytes:
        """The rest of a response that is none of events."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.readexactly(int(self.headers["content-length"]))

    async def hear(self) -> ServerSentEvent:
        """The next event; ``EOFError`` where the response has ended, properly or not."""
        async with asyncio.timeout(SECONDS):
            while not self._waiting:
                await self.read()
        return self._waiting.pop(0)

    async def hear_op(self, name: str) -> ServerSentEvent:
        """The next event with this name; those before it are passed over."""
        while (event := await self.hear()).name != name:
            pass
        return event

    async def read(self, most: int = 65536) -> None:
        """Take at most so many bytes of what has come."""
        data = b"" if self.ended else await self._reader.read(most)
        if not data:
            raise EOFError
        self._encoded += data
        while (end := self._encoded.find(b"\r\n")) > 0:
            size = int(self._encoded[:end], 16)
            if size == 0:
                self.ended = True
                return
            after = end + 2 + size + 2
            if len(self._encoded) < after:
                return
            assert self._encoded[after - 2 : after] == b"\r\n"
            self._waiting += self.events.feed(self._encoded[end + 2 : after - 2])
            self._encoded = self._encoded[after:]

    async def end(self) -> list[ServerSentEvent]:
        """All events up to the end of the response, which must be a proper one."""
        events = []
        try:
            while True:
                events.append(await self.hear())
        except EOFError:
            assert self.ended
        return events

    def cut(self) -> list[ServerSentEvent]:
        """End it from this side; what had come and nobody has taken yet is returned."""
        self._writer.transport.abort()
        waiting, self._waiting = self._waiting, []
        return waiting


@asynccontextmanager
async def events(
    node: RunningGateway,
    *filters: str,
    last_id: str = "",
    headers: Mapping[str, str] | None = None,
    receive_buffer: int | None = None,
    method: str = "GET",
    **query: Any,
) -> AsyncIterator[EventClient]:
    """Ask for events, and come back with the response's head."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", node.port))
    limit = 65536 if receive_buffer is None else receive_buffer
    reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
    client = EventClient(reader, writer)
    parameters = [f"filter={quote(each, safe='')}" for each in filters]
    parameters += [f"{name.rstrip('_')}={quote(str(value), safe='')}" for name, value in query.items()]
    fields = {"host": f"127.0.0.1:{node.port}", **(headers or {})}
    if last_id:
        fields["last-event-id"] = last_id
    head = [f"{method} /v1/events?{'&'.join(parameters)} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in fields.items()]
    try:
        await client.begin("\r\n".join([*head, "", ""]).encode())
        yield client
    finally:
        client.cut()
