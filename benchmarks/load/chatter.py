"""``python -m benchmarks.load.chatter PORT SECONDS``: a small chat, and a heartbeat, beside a heavy load.

A process of its own, with priority over the load on its core where that is allowed: what it waits for is the
server. It goes on for that long, and until its input ends. Prints ``ready``, then, at its end, one JSON
object: ``pings`` and ``chats``, each a list of when (ns, monotonic) and how long (ns).
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from benchmarks.load.client_frames import client_frame
from benchmarks.load.dialling import connected_socket, upgrade_request
from benchmarks.machine import take_priority
from benchmarks.payload import END, Payloads
from benchmarks.peers.gateway import Gateway

if TYPE_CHECKING:
    import socket

ROOM = "chat/room"
CHATTERS = 10
PING_SECONDS = 0.001
CHAT_SECONDS = 0.01
_PING = client_frame(b'{"op":"ping"}')


class Chatter:
    """Sends on time, reads when there is something, and keeps how long each answer took."""

    def __init__(self, port: int) -> None:
        self._gateway = Gateway()
        self._payloads = Payloads(128)
        self._heart = self._open(port, [])
        self._room = [self._open(port, [ROOM]) for _ in range(CHATTERS)]
        self._beats: deque[int] = deque()
        self._unread = dict.fromkeys(self._room, b"")
        self.pings: list[tuple[int, int]] = []
        self.chats: list[tuple[int, int]] = []

    def run(self, seconds: float) -> None:
        begin = time.monotonic()
        next_ping = next_chat = begin
        everyone = [self._heart, *self._room]
        while (now := time.monotonic()) < begin + seconds or not _input_has_ended():
            if now >= next_ping:
                self._ping()
                next_ping = max(next_ping + PING_SECONDS, now)
            if now >= next_chat:
                self._chat()
                next_chat += CHAT_SECONDS
            wait = max(0.0, min(next_ping, next_chat) - time.monotonic())
            for connection in select.select(everyone, [], [], wait)[0]:
                self._read(connection)

    def missing(self) -> int:
        """Chat messages that someone in the room has not got."""
        return self._payloads.sent * CHATTERS - len(self.chats)

    def finish(self) -> None:
        """Read what is still on its way."""
        deadline = time.monotonic() + 5
        while (self._beats or self.missing()) and time.monotonic() < deadline:
            for connection in select.select([self._heart, *self._room], [], [], 0.1)[0]:
                self._read(connection)

    def _ping(self) -> None:
        self._beats.append(time.monotonic_ns())
        self._heart.send(_PING)

    def _chat(self) -> None:
        self._room[0].send(self._gateway.publish(ROOM, self._payloads.make()))

    def _read(self, connection: socket.socket) -> None:
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionError("the gateway closed a connection")
        now = time.monotonic_ns()
        if connection is self._heart:
            for _ in range(data.count(b'"pong"')):
                sent = self._beats.popleft()
                self.pings.append((sent, now - sent))
            return
        *messages, self._unread[connection] = (self._unread[connection] + data).split(END)
        for message in messages:
            sent = int(message.rpartition(b":")[0].rpartition(b":")[2])
            self.chats.append((sent, now - sent))

    def _open(self, port: int, filters: list[str]) -> socket.socket:
        connection = connected_socket(port)
        connection.setblocking(True)
        connection.send(upgrade_request(port, self._gateway.path, self._gateway.subprotocol))
        _read_until(connection, b'"welcome"')
        if filters:
            connection.send(self._gateway.subscribe(filters))
            _read_until(connection, self._gateway.reply)
        return connection


def _input_has_ended() -> bool:
    """Whether nobody wants more; what is written there is nothing."""
    return bool(select.select([sys.stdin], [], [], 0)[0]) and not sys.stdin.read()


def _read_until(connection: socket.socket, marker: bytes) -> None:
    data = b""
    while marker not in data:
        more = connection.recv(1 << 16)
        if not more:
            raise ConnectionError(f"refused: {data[:200]!r}")
        data += more


def main(port: int, seconds: float) -> None:
    take_priority()
    chatter = Chatter(port)
    print("ready", flush=True)
    chatter.run(seconds)
    chatter.finish()
    print(json.dumps({"pings": chatter.pings, "chats": chatter.chats, "missing": chatter.missing()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
