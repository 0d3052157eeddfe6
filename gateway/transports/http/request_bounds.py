"""How much a client may send before its request is one, and until it is whole; counted without I/O.

The parser below (llhttp, through httptools) has no bounds: a head, one header, a chunked body's trailer may
be of any length. What it makes of the bytes is counted as it says so; what it has taken and made nothing of
yet (a header without end) is counted by the bytes that went in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a client may send, and how long it may take, before its request is one and until it is whole.

    Attributes:
        head_bytes: request line and headers, and a chunked body's trailer.
        headers: how many header fields.
        line_bytes: one header of a WebSocket handshake.
        head_seconds: from the connection, or a later request's first byte, to the complete head.
        body_seconds: without a byte of a body that isn't whole yet.
        write_seconds: in which a client takes nothing of a response.
    """

    head_bytes: int = 32 * 1024
    headers: int = 100
    line_bytes: int = 8 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    write_seconds: float = 30.0


class RequestBounds:
    """One connection's count, from request to request.

    Attributes:
        begun: a request's first byte has come, its head isn't complete.
    """

    __slots__ = ("_fields", "_fresh", "_head_bytes", "_limits", "_unaccounted", "begun")

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._head_bytes = self._fields = 0
        self._unaccounted = 0  # bytes that the parser took and made nothing of yet
        self._fresh = 0  # how many bytes of this piece are a new request's, if one begins in it
        self.begun = False

    @property
    def exceeded(self) -> bool:
        """Whether the parser holds more than a head may have; to be asked once it has taken a piece."""
        return self._unaccounted > self._limits.head_bytes

    def feed(self, size: int, *, idle: bool) -> None:
        """A piece of ``size`` bytes goes to the parser; ``idle`` while no request is being answered."""
        self._fresh = size if idle and not self.begun else 0
        self._unaccounted += size

    def begin(self) -> None:
        """A request's first byte: from here on the piece is the request's."""
        self.begun = True
        self._head_bytes = self._fields = 0
        self._unaccounted, self._fresh = self._fresh, 0

    def target(self, size: int) -> bool:
        """Count a part of the request target; False: that is too much."""
        self._head_bytes += size
        return self._head_bytes <= self._limits.head_bytes

    def field(self, name: bytes, value: bytes) -> bool:
        """Count a header, or a field of a trailer; False: that is too much, or one too many."""
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4  # ": " and the line's end
        return self._fields <= self._limits.headers and self._head_bytes <= self._limits.head_bytes

    def end_head(self) -> None:
        """The head is complete."""
        self.begun = False
        self._unaccounted = 0

    def account(self) -> None:
        """The parser made a part of a body, or a request's end, of what it has taken."""
        self._unaccounted = 0
