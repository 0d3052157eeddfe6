"""Subscribers, counted together: how many messages have arrived, at one of them and at all."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final
from zlib import crc32

from benchmarks.load.client_frames import PING, PONG, Deframer, client_frame
from benchmarks.payload import END

if TYPE_CHECKING:
    from collections.abc import Iterable

# Each read is taken before the next one begins, so one buffer serves all subscribers.
_BUFFER: Final = bytearray(1 << 18)
_VIEW: Final = memoryview(_BUFFER)


class StallError(Exception):
    """Messages that were sent have not arrived in time."""


class Crowd:
    """All subscribers of one measurement.

    Attributes:
        total: messages that have arrived at all of them together.
        goal: how many must have arrived before ``reach`` returns.
    """

    def __init__(self) -> None:
        self.total = 0
        self.goal = 0
        self.subscribers: list[Subscriber] = []
        self._waiting: asyncio.Future[None] | None = None

    def arrived(self) -> None:
        """The goal is reached."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def reach(self, goal: int, *, seconds: float) -> None:
        """Return when ``goal`` messages have arrived in total.

        Raises:
            StallError: they have not in ``seconds``.
        """
        self.goal = goal
        if self.total >= goal:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._waiting, seconds)
        except TimeoutError:
            raise StallError(f"{self.total} of {goal} messages arrived, then none in {seconds} s") from None
        finally:
            self._waiting = None

    def restart(self) -> None:
        """Forget what has arrived so far."""
        self.total = self.goal = 0
        for subscriber in self.subscribers:
            subscriber.restart()

    def recorded(self) -> list[Subscriber]:
        """Those that keep what they get."""
        return [subscriber for subscriber in self.subscribers if subscriber.recording is not None]

    def close(self) -> None:
        """Let go of all connections at once."""
        for subscriber in self.subscribers:
            subscriber.transport.abort()


class Recording:
    """What one subscriber got, and how long the stream was at what time (ns) after each read."""

    __slots__ = ("arrivals", "stream")

    def __init__(self) -> None:
        self.stream = bytearray()
        self.arrivals: list[tuple[int, int]] = []

    def add(self, data: bytes | memoryview) -> None:
        self.stream += data
        self.arrivals.append((len(self.stream), time.monotonic_ns()))


class Subscriber(asyncio.BufferedProtocol):
    """Counts, and sums up (CRC 32), what it gets: equal sums are equal streams.

    Attributes:
        count: messages so far. ``checksum`` is over all bytes so far, heads of frames included.
    """

    __slots__ = ("checksum", "count", "crowd", "lost", "recording", "transport")

    def __init__(self, crowd: Crowd, transport: asyncio.Transport, *, record: bool = False) -> None:
        self.crowd = crowd
        self.transport = transport
        self.recording = Recording() if record else None
        self.count = self.checksum = 0
        self.lost = False

    def restart(self) -> None:
        """Forget what has arrived so far."""
        self.count = self.checksum = 0
        if self.recording is not None:
            self.recording = Recording()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self.lost = True

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the protocol's
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.checksum = crc32(_VIEW[:nbytes], self.checksum)
        found = _BUFFER.count(END, 0, nbytes)
        self.count += found
        crowd = self.crowd
        crowd.total += found
        if self.recording is not None:
            self.recording.add(_VIEW[:nbytes])
        if crowd.total >= crowd.goal:
            crowd.arrived()


class DeframingSubscriber(Subscriber):
    """The same over the frames' payloads alone: for servers that cut each client's frames otherwise.

    It answers pings, too.
    """

    __slots__ = ("_deframer",)

    def __init__(self, crowd: Crowd, transport: asyncio.Transport, *, record: bool = False) -> None:
        super().__init__(crowd, transport, record=record)
        self._deframer = Deframer()

    def buffer_updated(self, nbytes: int) -> None:
        data = self._messages(self._deframer.feed(bytes(_VIEW[:nbytes])))
        self.checksum = crc32(data, self.checksum)
        found = data.count(END)
        self.count += found
        crowd = self.crowd
        crowd.total += found
        if self.recording is not None:
            self.recording.add(data)
        if crowd.total >= crowd.goal:
            crowd.arrived()

    def _messages(self, frames: Iterable[tuple[int, bytes]]) -> bytes:
        payloads = []
        for opcode, payload in frames:
            if opcode == PING:
                self.transport.write(client_frame(payload, PONG))
            elif opcode < PING - 1:
                payloads.append(payload)
        return b"".join(payloads)
