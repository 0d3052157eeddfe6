"""HTTP requests on keep-alive connections, one at a time on each; answers are read by their length."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from benchmarks.load.dialling import connected_socket

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
ANSWER_SECONDS: Final = 30.0


def request(path: str, content_type: str, body: bytes, *, token: str | None = None) -> bytes:
    """One POST, with a token where there is one."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    if token is not None:
        head += f"Authorization: Bearer {token}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked_request(path: str, content_type: str) -> bytes:
    """The head of a POST whose body follows in chunks."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One piece of such a body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Poster(asyncio.Protocol):
    """One connection.

    Attributes:
        answered: complete answers so far; ``refused`` of them had no status 2xx.
        body: of the last answer.
        on_answer: called after each.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.answered = self.refused = 0
        self.body = b""
        self.on_answer: Callable[[], None] = lambda: None
        self._begun = b""

    @classmethod
    async def open(cls, port: int) -> Poster:
        poster = cls()
        loop = asyncio.get_running_loop()
        poster.transport, _ = await loop.create_connection(lambda: poster, sock=connected_socket(port))
        return poster

    def data_received(self, data: bytes) -> None:
        data = self._begun + data
        while True:
            head, found, rest = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head) if found else None
            if length is None or len(rest) < int(length[1]):
                break
            self.body, data = rest[: int(length[1])], rest[int(length[1]) :]
            self.answered += 1
            self.refused += not head.startswith(b"HTTP/1.1 2")
            self.on_answer()
        self._begun = data

    async def answer(self, count: int) -> None:
        """Return when ``count`` requests have been answered in all.

        Raises:
            TimeoutError: they have not.
        """
        done = asyncio.get_running_loop().create_future()

        def check() -> None:
            if self.answered >= count and not done.done():
                done.set_result(None)

        self.on_answer = check
        check()
        await asyncio.wait_for(done, ANSWER_SECONDS)
