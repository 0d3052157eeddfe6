"""Requests that begin as one did before, and what is known of them from that one.

Who publishes over HTTP sends the same head again and again, but for the number behind ``Content-Length``; to
parse it, to hold it to the rules and to find out what it asks for is then the most of what it costs.

A head gets known only as the parser has read it: where a request begins, with its body in the same read and
nothing behind it. What is the same to the byte but for the digits of that number is the same request with
another length, whatever HTTP's rules are. So none of them stands here a second time, and whatever differs in
a byte, isn't whole, or is followed by something goes to the parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.transports.http.request_reader import RequestReader
    from gateway.transports.http.request_rules import Field, Fields

# Clients choose their heads, so these bound memory too: to 20 MB, with what the door makes of each.
_HEADS: Final = 4096
_LONGEST_HEAD: Final = 2048

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"
# As nearly all clients write it; whoever writes it otherwise is answered in the general way.
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_DIGITS: Final = 8


class DirectAnswer(NamedTuple):
    """How one kind of request is answered.

    Attributes:
        status: of the answer.
        make: of a request's body, what comes behind the server's own header fields: fields, an empty line
            and a body. None where the application has to answer; nothing has changed then.
    """

    status: int
    make: Callable[[bytes], bytes | None]


class RequestDoor(Protocol):
    """Knows requests that it can answer by itself, without the application around their endpoint."""

    def recognise(self, target: bytes, fields: Fields) -> tuple[int, Callable[[bytes], bytes | None]] | None:
        """Return how ``POST`` requests with this head are answered, see ``DirectAnswer``; None: not here.

        It has no effect, and must not look at ``Content-Length``: the same is then asked with another one.
        """
        ...


class KnownRequests:
    """The heads that one server knows."""

    def __init__(self, door: RequestDoor) -> None:
        """Have ``door`` say what they mean."""
        self._door = door
        self._known: dict[tuple[bytes, bytes, bytes], DirectAnswer] = {}
        self._default_fields: Sequence[Field] | None = None
        self._beginnings: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, data: bytes, default_fields: Sequence[Field]) -> bytes | None:
        """Return the answer to ``data``, whole; None if it is to be parsed, and nothing has changed.

        ``default_fields`` are what all of the server's answers begin with, the same object as long as they
        are the same.
        """
        key, body = _split(data)
        known = self._known.get(key)
        if known is None or body is None:
            return None
        rest = known.make(body)
        if rest is None:
            return None
        if default_fields is not self._default_fields:
            self._default_fields = default_fields
            self._beginnings.clear()
        beginning = self._beginnings.get(known.status)
        if beginning is None:
            lines = [b"%b: %b\r\n" % field for field in default_fields]
            beginning = self._beginnings[known.status] = b"".join([STATUS_LINE[known.status], *lines])
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
        recognised = self._door.recognise(head.target, head.fields)
        if recognised is None:
            return
        if len(self._known) >= _HEADS:
            self._known.clear()
        self._known[key] = DirectAnswer(*recognised)


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
