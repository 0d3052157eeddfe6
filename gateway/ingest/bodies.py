"""Reading request bodies within a bound.

A body that is too large is refused before it is read where ``Content-Length`` tells, else as soon as it
passes the bound. What follows of it is thrown away up to a second bound, so that an ordinary client sees
the 413; beyond that the connection is closed behind the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from gateway.errors import BadCommand, TooLarge
from gateway.ingest.raw_headers import header

if TYPE_CHECKING:
    from starlette.requests import Request

_DISCARDED_BY_SERVER: Final = 16 * 1024 * 1024
_DISCARDED_HERE: Final = 1024 * 1024


class UnreadBody(TooLarge):
    """A body over its bound of which so much is left that the connection has to be closed."""


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return the whole body.

    Raises:
        TooLarge: it is longer than ``limit`` bytes.
        BadCommand: it is compressed; the gateway hands bodies on as they are and names no coding.
        ClientDisconnect: the client went before its end.
    """
    refuse_content_coding(request)
    _refuse_declared_length(request, limit)
    piece, more = await _receive(request)
    pieces, size = [piece], len(piece)
    while more and size <= limit:
        piece, more = await _receive(request)
        pieces.append(piece)
        size += len(piece)
    if size > limit:
        raise await _refusal(request, limit, more=more)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def refuse_content_coding(request: Request) -> None:
    """Raise ``BadCommand`` where ``Content-Encoding`` is anything but ``identity``."""
    coding = header(request, b"content-encoding")
    if coding is not None and coding.strip().lower() not in {"", "identity"}:
        raise BadCommand(f"Content-Encoding {coding[:40]!r}: the body must be sent without a coding")


def _refuse_declared_length(request: Request, limit: int) -> None:
    declared = header(request, b"content-length") or ""
    if not declared.isascii() or not declared.isdigit() or int(declared[:20]) <= limit:
        return
    refusal = TooLarge if int(declared[:20]) <= _DISCARDED_BY_SERVER else UnreadBody
    raise refusal(f"the body has {declared[:20]} bytes, and {limit} are the most")


async def _receive(request: Request) -> tuple[bytes, bool]:
    """The next piece, and whether there are more; less per piece than ``Request.stream``."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def _refusal(request: Request, limit: int, *, more: bool) -> TooLarge:
    reason = f"the body has more than {limit} bytes"
    discarded = 0
    while more:
        piece, more = await _receive(request)
        discarded += len(piece)
        if discarded > _DISCARDED_HERE:
            return UnreadBody(reason)
    return TooLarge(reason)
