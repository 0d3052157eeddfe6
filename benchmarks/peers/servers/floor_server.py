"""``python -m … PORT FEED_PORT``: what no Python server can beat, and none can afford to be."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import re
import sys
from itertools import groupby

import uvloop

from benchmarks.peers.servers.lines import LineFeed

_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

subscribers: dict[bytes, list[asyncio.Transport]] = {}


class Connection(asyncio.Protocol):
    """Upgrades, then takes each frame's payload for a topic to subscribe to."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            self._subscribe(data)
        elif key := _KEY.search(data):
            self._upgraded = True
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
            )

    def _subscribe(self, data: bytes) -> None:
        while len(data) >= 6:  # topics here are shorter than 126 bytes
            size, mask = data[1] & 0x7F, data[2:6]
            topic = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[6 : 6 + size]))
            subscribers.setdefault(topic, []).append(self._transport)
            self._transport.write(b"\x81\x05ready")
            data = data[6 + size :]


def publish(messages: list[tuple[bytes, bytes]]) -> None:
    for topic, run in groupby(messages, lambda message: message[0]):
        frames = b"".join(frame(payload) for _, payload in run)
        for transport in subscribers.get(topic, ()):
            transport.write(frames)


def frame(payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


async def main(port: int, feed_port: int) -> None:
    loop = asyncio.get_running_loop()
    gc.freeze()
    await loop.create_server(lambda: LineFeed(publish), "127.0.0.1", feed_port)
    await (await loop.create_server(Connection, "127.0.0.1", port, backlog=4096)).serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
