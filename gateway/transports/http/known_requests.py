"""Requests that begin as one did before, and what is known of them from that one.

Who publishes over HTTP sends the same head again and again, but for the number behind ``Content-Length``; to
parse it, to hold it to the rules and to find out what it asks for is then the most of what it costs.

A head gets known only as the parser has read it: where a request begins, with its body in the same read and
nothing behind it. What is the same to the byte but for the digits of that number is the same request with
another length, whatever HTTP's rules are. So none of them stands here a second time, and whatever differs in
a byte, isn't whole, or is followed by something goes to the parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gateway.transports.http.request_reader import RequestReader
    from gateway.transports.http.request_rules import Field, Fields

Reply: TypeAlias = tuple[int, bytes]
"""A status, and what comes behind the server's own header fields: fields, an empty line and a body."""
Make: TypeAlias = "Callable[[bytes], Reply | AwaitedReply | None]"

# Clients choose their heads, so these bound memory too: to 20 MB, with what the door makes of each.
_HEADS: Final = 4096
_LONGEST_HEAD: Final = 2048

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"
# As nearly all clients write it; whoever writes it otherwise is answered in the general way.
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_DIGITS: Final = 8


class AwaitedReply(Protocol):
    """A request has had its effect, and what it is answered is known later."""

    @property
    def done(self) -> asyncio.Future[Any]:
        """When that is; nobody may cancel it."""
        ...

    def make(self) -> Reply:
        """What it is then; called once, whether the client is still there or not."""
        ...


class RequestDoor(Protocol):
    """Knows requests that it can answer by itself, without the application around their endpoint."""

    def recognise(self, target: bytes, fields: Fields) -> Make | None:
        """Return how ``POST`` requests with this head are answered; None: not here.

        It has no effect, and must not look at ``Content-Length``: the same is then asked with another one.
        What it returns takes a request's body; its None: the application has to answer, nothing has changed.
        """
        ...


class KnownRequests:
    """The heads that one server knows."""

    def __init__(self, door: RequestDoor) -> None:
        """Have ``door`` say what they mean."""
        self._door = door
        self._known: dict[tuple[bytes, bytes, bytes], Make] = {}
        self._default_fields: Sequence[Field] | None = None
        self._beginnings: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, data: bytes, default_fields: Sequence[Field]) -> bytes | AwaitedReply | None:
        """Return the answer to ``data``, whole, or when there is one.

        None if it is to be parsed, and nothing has changed. ``default_fields``: see ``whole``.
        """
        key, body = _split(data)
        make = self._known.get(key)
        if make is None or body is None:
            return None
        reply = make(body)
        return self.whole(reply, default_fields) if isinstance(reply, tuple) else reply

    def whole(self, reply: Reply, default_fields: Sequence[Field]) -> bytes:
        """Return an answer with its beginning.

        ``default_fields`` are what all of the server's answers begin with, the same object as long as they
        are the same.
        """
        status, rest = reply
        if default_fields is not self._default_fields:
            self._default_fields = default_fields
            self._beginnings.clear()
        beginning = self._beginnings.get(status)
        if beginning is None:
            lines = [b"%b: %b\r\n" % field for field in default_fields]
            beginning = self._beginnings[status] = b"".join([STATUS_LINE[status], *lines])
        return beginning + rest

    def note(self, data: bytes, head: RequestReader, body: bytes) -> None:
        """Know from now on what ``data`` begins with, if the door does.

        The parser has made one request of it, with ``head`` and ``body``, and nothing else.
        """
        key, split_body = _split(data)
        if (
            split_body != body
            or len(data) - len(body) > _LONGEST_HEAD
            or head.method != b"POST"
            or head.version != "1.1"
            or head.expects_continue
            or not all(_is_common(name, value) for name, value in head.fields)
        ):
            return
        make = self._door.recognise(head.target, head.fields)
        if make is None:
            return
        if len(self._known) >= _HEADS:
            self._known.clear()
        self._known[key] = make


def _is_common(name: bytes, value: bytes) -> bool:
    """Whether a field leaves the connection what it is, and the body what its length says."""
    if name == b"connection":
        return value.lower() == b"keep-alive"
    return name != b"transfer-encoding"


def _split(data: bytes) -> tuple[tuple[bytes, bytes, bytes], bytes | None]:
    """Return what a request begins with, around the number of its length, and its body.

    None in the body's place where the number is none, or another one than that of the bytes that are there.
    """
    head, _, body = data.partition(_HEAD_END)
    before, name, rest = head.partition(_LENGTHS[0])
    if not name:
        before, name, rest = head.partition(_LENGTHS[1])
    digits, _, behind = rest.partition(_LINE_END)
    whole = digits.isdigit() and len(digits) <= _DIGITS and int(digits) == len(body)
    return (before, name, behind), body if whole else None
