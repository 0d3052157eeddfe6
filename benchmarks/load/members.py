"""Members of a work queue: each takes what it is given, and acknowledges all that one read brought at once.

They look for the few bytes they need instead of reading messages, so that a member costs less than its
server.
"""

from __future__ import annotations

import asyncio
import json
import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from benchmarks.load.client_frames import client_frame
from benchmarks.load.dialling import connected_socket, upgrade_request

if TYPE_CHECKING:
    from collections.abc import Callable

CREDIT: Final = 100
READY_SECONDS: Final = 15.0
STUCK_SECONDS: Final = 15.0
STREAM: Final = "bench"
GROUP: Final = "work"


class Tally:
    """What all members have done together.

    Attributes:
        delivered: messages that members were given.
        acknowledged: of these, those that the server has been told of, or has answered for, see the member.
        problems: what went wrong.
        given: everything was delivered, as far as members say so.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.delivered = self.acknowledged = 0
        self.problems: list[str] = []
        self.given = asyncio.Event()
        self._done = asyncio.get_running_loop().create_future()

    def give(self, count: int) -> None:
        self.delivered += count
        if self.delivered >= self.expected:
            self.given.set()

    def add(self, acknowledged: int) -> None:
        self.acknowledged += acknowledged
        if self.acknowledged >= self.expected and not self._done.done():
            self._done.set_result(None)

    def fail(self, problem: str) -> None:
        self.problems.append(problem)
        if not self._done.done():
            self._done.set_result(None)

    async def done(self) -> None:
        """Return when everything is acknowledged, or nothing has come for long."""
        while not self._done.done():
            before = self.acknowledged
            await asyncio.wait([self._done], timeout=STUCK_SECONDS)
            if not self._done.done() and before == self.acknowledged:
                self.fail(f"stuck: {before} of {self.expected} acknowledged, {self.delivered} delivered")
        if self.delivered != self.expected and not self.problems:
            self.problems.append(f"{self.delivered} deliveries of {self.expected} messages")


class Member(asyncio.Protocol):
    """One member; ``ready`` is done when it may begin."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.transport: asyncio.Transport
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held = b""
        self.leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.leaving:
            self.tally.fail(f"a member's connection was lost: {exc}")
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("a member's connection was lost before it was ready"))

    def leave(self) -> None:
        self.leaving = True
        self.transport.abort()

    @abstractmethod
    def begin(self) -> None:
        """Take from now on."""


class GatewayMember(Member):
    """Speaks gateway.v1; what it acknowledges counts once that is answered, so that it is kept."""

    _FOUND: Final = re.compile(rb'"delivery":"([^"]+)"|"stale":\[\],"ref":(\d+)')

    def __init__(
        self, tally: Tally, port: int, *, credit: int = CREDIT, answer: bytes = b'"op":"ack"'
    ) -> None:
        """Say ``answer`` of every delivery; nothing where that is empty."""
        super().__init__(tally)
        self._port = port
        self._credit = credit
        self._answer = answer
        self.on_delivery: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(upgrade_request(self._port, "/v1/ws", "gateway.v1"))

    def begin(self) -> None:
        command = {"op": "consume", "stream": STREAM, "group": GROUP, "credit": self._credit}
        self.transport.write(client_frame(json.dumps(command).encode()))

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            if b'"op":"welcome"' in data:
                self.ready.set_result(None)
            return
        if b'"op":"error"' in data:
            self.tally.fail(f"refused: {data[:300]!r}")
        data = self.held + data if self.held else data
        found = self._FOUND.findall(data)
        if not found:
            self.held = data
            return
        token, ref = found[-1]
        last = token or b'"ref":' + ref
        self.held = data[data.rindex(last) + len(last) :]
        tokens = [token for token, _ in found if token]
        if tokens:
            self.tally.give(len(tokens))
            if self.on_delivery is not None:
                self.on_delivery(data)
            if self._answer:
                fields = (self._answer, b'","'.join(tokens), len(tokens))
                self.transport.write(client_frame(b'{%b,"deliveries":["%b"],"ref":%d}' % fields))
        if len(found) > len(tokens):
            self.tally.add(sum(int(ref) for _, ref in found if ref))


class JetStreamMember(Member):
    """Pulls from a durable consumer, half of its credit at a time; acknowledges with ``+ACK``, unanswered."""

    _FOUND: Final = re.compile(rb"MSG \S+ \d+ (\$JS\.ACK\.\S+) \d+\r\n")
    _HALF: Final = CREDIT // 2
    _numbers = 0

    def __init__(self, tally: Tally, port: int) -> None:  # noqa: ARG002 - all members are made alike
        super().__init__(tally)
        JetStreamMember._numbers += 1
        self._inbox = b"pulled.%d" % JetStreamMember._numbers
        self._owed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connect = b'CONNECT {"verbose":false,"pedantic":false,"lang":"none","version":"1","headers":true}\r\n'
        self.transport.write(connect + b"SUB %b 1\r\nPING\r\n" % self._inbox)

    def begin(self) -> None:
        self.transport.write(self._pull() * 2)

    def _pull(self) -> bytes:
        body = b'{"batch":%d,"expires":60000000000}' % self._HALF
        call = b"$JS.API.CONSUMER.MSG.NEXT.%b.%b" % (STREAM.encode(), GROUP.encode())
        return b"PUB %b %b %d\r\n%b\r\n" % (call, self._inbox, len(body), body)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            if b"PONG\r\n" in data:
                self.ready.set_result(None)
            return
        data = self.held + data if self.held else data
        cut = data.rfind(b"\r\n") + 2 if b"\r\n" in data else 0
        self.held = data[cut:]
        replies = self._FOUND.findall(data[:cut])
        if not replies:
            return
        answer = b"".join([b"PUB %b 4\r\n+ACK\r\n" % reply for reply in replies])
        self._owed += len(replies)
        while self._owed >= self._HALF:
            self._owed -= self._HALF
            answer += self._pull()
        self.transport.write(answer)
        self.tally.give(len(replies))
        self.tally.add(len(replies))


async def join(make: Callable[[], Member], port: int, count: int) -> list[Member]:
    """Connect so many members; each has yet to begin."""
    loop, members = asyncio.get_running_loop(), []
    for number in range(count):
        member = make()
        await loop.create_connection(lambda m=member: m, sock=connected_socket(port, number))  # type: ignore[misc]
        members.append(member)
    async with asyncio.timeout(READY_SECONDS):
        for member in members:
            await member.ready
    return members
