"""A sentinel that says what a test wants it to, when the test wants it: real ones take their time."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyio.from_thread import BlockingPortal, start_blocking_portal

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class ScriptedSentinel:
    """Names the server at ``master`` (a port on loopback) whatever master it is asked for.

    Attributes:
        asked: how often it was.
    """

    master: int
    port: int = 0
    asked: int = 0
    _portal: BlockingPortal | None = None
    _listeners: list[asyncio.StreamWriter] = field(default_factory=list)
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main"

    def switch(self, master: int, event: bytes = b"+switch-master") -> None:
        """Name another one from now on, and tell those who listen."""
        old, self.master = self.master, master
        told = {
            b"+switch-master": b"main 127.0.0.1 %d 127.0.0.1 %d" % (old, master),
            b"+promoted-slave": b"slave 127.0.0.1:%d 127.0.0.1 %d @ main 127.0.0.1 %d"
            % (master, master, old),
        }[event]

        async def tell() -> None:
            for writer in self._listeners:
                writer.write(_array(b"message", event, told))

        assert self._portal is not None, "it runs"
        self._portal.call(tell)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self._connections.add(writer)
        try:
            while words := await _command(reader):
                self._answer(words, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    def _answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> None:
        match [word.upper() for word in words[:2]]:
            case [b"SENTINEL", _]:
                self.asked += 1
                writer.write(_array(b"127.0.0.1", b"%d" % self.master))
            case [b"SUBSCRIBE", _]:
                self._listeners.append(writer)
                for number, channel in enumerate(words[1:], start=1):
                    writer.write(b"*3\r\n" + _text(b"subscribe") + _text(channel) + b":%d\r\n" % number)
            case [b"PING"] if writer in self._listeners:
                writer.write(_array(b"pong", b""))
            case [b"PING"]:
                writer.write(b"+PONG\r\n")
            case _:
                writer.write(b"+OK\r\n")

    async def close(self) -> None:
        """End all connections."""
        for writer in list(self._connections):
            writer.transport.abort()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


def _text(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _array(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(map(_text, words))


@contextmanager
def scripted_sentinel(master: int) -> Iterator[ScriptedSentinel]:
    """Run one, in a thread of its own."""
    sentinel = ScriptedSentinel(master)

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(sentinel.serve, "127.0.0.1", 0)
        sentinel.port = server.sockets[0].getsockname()[1]
        return server

    with start_blocking_portal() as portal:
        sentinel._portal = portal
        server = portal.call(listen)
        try:
            yield sentinel
        finally:
            portal.call(server.close)
            portal.call(sentinel.close)
