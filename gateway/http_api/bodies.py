"""Reading request bodies within bounds.

A body that is too large is refused before it is read where ``Content-Length`` tells, else as soon as it
passes the bound. What follows of it is thrown away up to a second bound, so that an ordinary client sees
the 413; beyond that the connection is closed behind the answer.

That a client sends something now and then is no sign that its body will ever be whole, so there is a time for
the whole, which grows with what has come. A body that comes with its head, as most do, meets none of this.
"""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from gateway.engine.metrics.refusals import Refusals
from gateway.errors import BadCommand, BadFrame, TooLarge, Unavailable
from gateway.http_api.body_budget import BodyBudget
from gateway.http_api.raw_headers import all_values, header

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from gateway.http_api.body_budget import HeldBody

_DISCARDED_BY_SERVER: Final = 16 * 1024 * 1024
_DISCARDED_HERE: Final = 1024 * 1024
_GZIP: Final = 31
"""What zlib calls a stream with gzip's header."""


class UnreadBody(TooLarge):
    """A body over its bound of which so much is left that the connection has to be closed."""


class SlowBody(BadFrame):
    """A body that isn't whole in time."""

    http_status = 408


class EvictedBody(Unavailable):
    """A body that had to give way to others while it came."""


UNFINISHED: Final = (UnreadBody, SlowBody, EvictedBody)
"""What is raised while the rest of a body is still to come: the connection ends with the answer."""


class BodyReader:
    """Reads whole bodies, within bounds of size, time and what all of them hold together."""

    def __init__(
        self,
        *,
        seconds: float = 60.0,
        bytes_per_second: float = 4_096,
        budget: BodyBudget | None = None,
        refusals: Refusals | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read bodies that come in pieces.

        Args:
            seconds: for the whole of a body,
            bytes_per_second: and one more for so many bytes that have come.
            budget: for all bodies together.
            refusals: counts.
            clock: seconds.
        """
        self._seconds = seconds
        self._rate = bytes_per_second
        self._budget = budget or BodyBudget()
        self._refusals = refusals or Refusals()
        self._clock = clock

    async def read(self, request: Request, *, limit: int, packed: bool = False) -> bytes:
        """Return the whole body; one that is ``packed`` may have a coding, which the caller undoes.

        Raises:
            TooLarge: it is longer than ``limit`` bytes.
            SlowBody: it takes too long.
            EvictedBody: the bodies of all requests hold too much, and this one is the oldest.
            BadCommand: it is compressed; the gateway hands bodies on as they are and names no coding.
            ClientDisconnect: the client went before its end.
        """
        if not packed:
            refuse_content_coding(request)
        _refuse_declared_length(request, limit)
        piece, more = await _receive(request)
        if not more and len(piece) <= limit:
            return piece
        with self._budget.begin() as held:
            return await self._read_on(request, piece, limit, held, more=more)
        # Only a body that had to give way gets here: its scope has caught the cancellation.
        raise EvictedBody("too many bodies are on their way")

    async def _read_on(
        self, request: Request, piece: bytes, limit: int, held: HeldBody, *, more: bool
    ) -> bytes:
        begun = self._clock()
        pieces, size = [piece], len(piece)
        held.grow(size)
        while more:
            piece, more = await _receive(request)
            if self._clock() - begun > self._seconds + size / self._rate:
                self._refusals.count("body_timeout")
                raise SlowBody(f"the body was not whole after {self._seconds:g} s and what its rate grants")
            size += len(piece)
            if size <= limit:
                held.grow(len(piece))
                pieces.append(piece)
            elif size > limit + _DISCARDED_HERE:
                raise UnreadBody(f"the body has more than {limit} bytes")
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes")
        return b"".join(pieces)


def refuse_content_coding(request: Request) -> None:
    """Raise ``BadCommand`` where ``Content-Encoding`` is anything but ``identity``."""
    if codings := content_codings(request):
        shown = b", ".join(codings)[:40].decode("latin-1")
        raise BadCommand(f"Content-Encoding {shown!r}: the body must be sent without a coding")


def content_codings(request: Request) -> list[bytes]:
    """The codings of a body in small letters, but for ``identity``; a list, in one field or in several."""
    named = (each.strip(b" \t").lower() for each in all_values(request, b"content-encoding"))
    codings = [part.strip(b" \t") for each in named for part in each.split(b",")]
    return [each for each in codings if each not in {b"", b"identity"}]


def unpacked(body: bytes, *, limit: int) -> bytes:
    """Return what a gzip body holds, which is never unpacked further than ``limit`` bytes.

    Raises:
        TooLarge: it holds more.
        BadFrame: it is no gzip, not whole, or goes on behind its end.
    """
    unpacking = zlib.decompressobj(wbits=_GZIP)
    try:
        content = unpacking.decompress(body, limit + 1)
    except zlib.error:
        raise BadFrame("the body is no gzip, though its Content-Encoding says so") from None
    if len(content) > limit:
        raise TooLarge(f"the body unpacks to more than {limit} bytes")
    if not unpacking.eof or unpacking.unused_data:
        raise BadFrame("the gzip body ends early, or goes on behind its end")
    return content


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
