"""As much of AMQP 0-9-1 as a publisher with confirms and a member that acknowledges need."""

from __future__ import annotations

import asyncio
import re
from struct import pack, unpack_from
from typing import Final

from benchmarks.load.dialling import connected_socket
from benchmarks.load.members import CREDIT, GROUP, Member, Tally
from benchmarks.payload import Payloads

_PROTOCOL: Final = b"AMQP\x00\x00\x09\x01"
_END: Final = b"\xce"
CONFIRM_SECONDS: Final = 30.0
UNCONFIRMED: Final = 5_000
"""Messages in one write, as many as the gateway is given in one request."""

START, TUNE, OPEN_OK, CHANNEL_OK = (10, 10), (10, 30), (10, 41), (20, 11)
DECLARED, CONSUMING, SELECTED = (50, 11), (60, 21), (85, 11)


def _short(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


def _method(channel: int, name: tuple[int, int], arguments: bytes) -> bytes:
    return _frame(1, channel, pack("!HH", *name) + arguments)


def _frame(kind: int, channel: int, content: bytes) -> bytes:
    return pack("!BHI", kind, channel, len(content)) + content + _END


class AmqpConnection(Member):
    """Opens a connection and a channel, then takes ``steps``, each once the one before is answered."""

    def __init__(self, tally: Tally, *steps: tuple[bytes, tuple[int, int]]) -> None:
        super().__init__(tally)
        response = b"\x00guest\x00guest"
        login = pack("!I", 0) + _short("PLAIN") + pack("!I", len(response)) + response + _short("en_US")
        tuned = pack("!HIH", 2047, 131072, 0)
        opened = _method(0, (10, 31), tuned) + _method(0, (10, 40), _short("/") + _short("") + b"\x00")
        self._steps = [
            (_PROTOCOL, START),
            (_method(0, (10, 11), login), TUNE),
            (opened, OPEN_OK),
            (_method(1, (20, 10), _short("")), CHANNEL_OK),
            *steps,
        ]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._steps[0][0])

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            self.received(data)
            return
        self.held += data
        while len(self.held) >= 12:
            kind, _, size = unpack_from("!BHI", self.held)
            if len(self.held) < size + 8:
                return
            name = unpack_from("!HH", self.held, 7)
            self.held = self.held[size + 8 :]
            if kind == 1 and name == self._steps[0][1]:
                del self._steps[0]
                if not self._steps:
                    self.ready.set_result(None)
                    return
                self.transport.write(self._steps[0][0])

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        """A publisher has nothing to take."""


def _declare(*, durable: bool) -> tuple[bytes, tuple[int, int]]:
    bits = b"\x02" if durable else b"\x00"
    return _method(1, (50, 10), pack("!H", 0) + _short(GROUP) + bits + pack("!I", 0)), DECLARED


class AmqpPublisher(AmqpConnection):
    """Publishes to the queue, and waits until every message is confirmed."""

    _CONFIRMED: Final = re.compile(
        rb"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50(.{8})[\x00\x01]\xce", re.DOTALL
    )

    def __init__(self, tally: Tally, *, durable: bool) -> None:
        super().__init__(tally, _declare(durable=durable), (_method(1, (85, 10), b"\x00"), SELECTED))
        self._mode = b"\x02" if durable else b"\x01"
        self._singles: set[int] = set()
        self._through = 0
        self._wanted = 0
        self._confirmed = asyncio.get_running_loop().create_future()

    def received(self, data: bytes) -> None:
        data = self.held + data
        end = 0
        for found in self._CONFIRMED.finditer(data):
            end = found.end()
            tag = int.from_bytes(found[1], "big")
            if data[end - 2]:
                self._through = max(self._through, tag)
                self._singles = {each for each in self._singles if each > self._through}
            else:
                self._singles.add(tag)
        self.held = data[end:]
        if self._through + len(self._singles) >= self._wanted and not self._confirmed.done():
            self._confirmed.set_result(None)

    async def publish(self, count: int, size: int) -> None:
        payloads = Payloads(size)
        head = _frame(2, 1, pack("!HHQH", 60, 0, size, 0x1000) + self._mode)
        method = _method(1, (60, 40), pack("!H", 0) + _short("") + _short(GROUP) + b"\x00")
        while payloads.sent < count:
            some = min(UNCONFIRMED, count - payloads.sent)
            self._wanted = payloads.sent + some
            self._confirmed = asyncio.get_running_loop().create_future()
            self.transport.write(b"".join(method + head + _frame(3, 1, payloads.make()) for _ in range(some)))
            await asyncio.wait_for(self._confirmed, CONFIRM_SECONDS)


class RabbitMember(AmqpConnection):
    """Acknowledges with ``multiple`` all that one read brought; an acknowledgement is not answered."""

    _FOUND: Final = re.compile(rb"\x01\x00\x01.{4}\x00\x3c\x00\x3c\x01c(.{8})\x00\x00\x04work\xce", re.DOTALL)

    def __init__(self, tally: Tally, *, durable: bool) -> None:
        super().__init__(tally, _declare(durable=durable))

    def begin(self) -> None:
        qos = _method(1, (60, 10), pack("!IHB", 0, CREDIT, 0))
        consume = pack("!H", 0) + _short(GROUP) + _short("c") + b"\x00" + pack("!I", 0)
        self.transport.write(qos + _method(1, (60, 20), consume))

    def received(self, data: bytes) -> None:
        data = self.held + data if self.held else data
        tags = self._FOUND.findall(data)
        if not tags:
            self.held = data
            return
        self.held = data[data.rindex(tags[-1]) + 8 :]
        self.transport.write(_method(1, (60, 80), tags[-1] + b"\x01"))
        self.tally.give(len(tags))
        self.tally.add(len(tags))


async def fill_rabbitmq(port: int, count: int, size: int, *, durable: bool) -> None:
    """Publish so many messages to the queue, each confirmed before this returns."""
    publisher = AmqpPublisher(Tally(count), durable=durable)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: publisher, sock=connected_socket(port))
    await publisher.ready
    await publisher.publish(count, size)
    publisher.leave()
