"""WebSocket frames as a server writes them: final, unmasked, without extensions (RFC 6455, 5.2)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT: Final = 0x1
BINARY: Final = 0x2

_FINAL: Final = 0x80
_HEAD_16 = Struct("!BBH").pack
_HEAD_64 = Struct("!BBQ").pack
_LENGTH_16 = Struct("!H").unpack_from
_LENGTH_64 = Struct("!Q").unpack_from


_SMALL: Final = 1024
_SMALL_HEADS: Final = tuple(
    bytes((_FINAL | TEXT, size)) if size < 126 else _HEAD_16(_FINAL | TEXT, 126, size)
    for size in range(_SMALL)
)
"""How small text frames begin, by their size: one is made for every message, and most are small."""


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return ``payload`` as one complete frame, ready for the transport.

    Spec: RFC 6455, 5.1 (a server does not mask) and 5.2 (the shortest length form must be used).
    """
    size = len(payload)
    if size < _SMALL and opcode == TEXT:
        return _SMALL_HEADS[size] + payload
    if size < 126:
        return bytes((_FINAL | opcode, size)) + payload
    if size < 0x10000:
        return _HEAD_16(_FINAL | opcode, 126, size) + payload
    return _HEAD_64(_FINAL | opcode, 127, size) + payload


def text_head(size: int) -> bytes:
    """How a text frame of ``size`` bytes, these included, begins if ``server_frame`` made it.

    Empty where it makes none of that size.
    """
    if size < 128:
        return bytes((_FINAL | TEXT, size - 2)) if size >= 2 else b""
    if size < 0x10004:
        return _HEAD_16(_FINAL | TEXT, 126, size - 4) if size >= 130 else b""
    return _HEAD_64(_FINAL | TEXT, 127, size - 10) if size >= 0x1000A else b""


def payload_start(frame: bytes) -> int:
    """Where the payload begins in a frame that ``server_frame`` made."""
    length = frame[1]
    return 2 if length < 126 else 4 if length == 126 else 10


def iter_payloads(frames: bytes) -> Iterator[bytes]:
    """Split what ``server_frame`` made, one or many joined, into payloads again, in order.

    For sinks that hand payloads to a server with framing of its own.

    Raises:
        ValueError: the last frame is cut short.
    """
    at = 0
    while at < len(frames):
        start, end = _payload_span(frames, at)
        if end > len(frames):
            raise ValueError(f"frame at byte {at} ends at {end}, beyond the {len(frames)} bytes given")
        yield frames[start:end]
        at = end


def _payload_span(frames: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at ``at`` starts and ends; the end may be beyond what there is."""
    head = frames[at : at + 10]
    length = head[1] if len(head) > 1 else 0
    size = 2 if length < 126 else 4 if length == 126 else 10
    if len(head) < size:
        return at + size, at + size
    if length == 126:
        (length,) = _LENGTH_16(head, 2)
    elif length == 127:
        (length,) = _LENGTH_64(head, 2)
    return at + size, at + size + length
