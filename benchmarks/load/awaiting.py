"""Publishers on WebSockets who wait for their answers, as those over HTTP have to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.load.client_frames import Deframer, client_frame
from benchmarks.load.dialling import dial

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers.gateway import Gateway


class AwaitingPublisher(asyncio.Protocol):
    """One connection.

    Attributes:
        answered: publishes that were accepted so far; ``refused`` are those that were not.
        body: of the last answer.
        on_answer: called once all that was written has been answered.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.answered = self.refused = 0
        self.body = b""
        self.on_answer: Callable[[], None] = lambda: None
        self._awaited = 0
        self._deframer = Deframer()

    @classmethod
    async def open(cls, peer: Gateway, port: int, number: int) -> AwaitingPublisher:
        """Connect; ``number`` as for ``dialling.bound_socket``."""
        transport = await dial(peer.as_publisher(), port, (), number=number)
        publisher = cls(transport)
        transport.set_protocol(publisher)
        return publisher

    def publish(self, topic: str, payloads: list[bytes]) -> None:
        """Send a frame for each of ``payloads``, in one write."""
        self._awaited += len(payloads)
        start = b'{"op":"publish","topic":"%b","ref":' % topic.encode()
        frames = (b'%b%d,"data":%b}' % (start, ref, payload) for ref, payload in enumerate(payloads, 1))
        self.transport.write(b"".join(client_frame(frame) for frame in frames))

    def data_received(self, data: bytes) -> None:
        for _, body in self._deframer.feed(data):
            self.body = body
            accepted = body.startswith(b'{"op":"published"')
            self.answered += accepted
            self.refused += not accepted
            self._awaited -= 1
        if self._awaited == 0:
            self.on_answer()
