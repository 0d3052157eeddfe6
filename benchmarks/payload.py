"""What is published: a JSON string that says which message it is and when it was sent.

Every payload ends with ``END`` and a quote. ``END`` is nowhere else in a message, and not in the head of a
frame either: a frame around 128 bytes has a length over 127, one around 1 KiB a length whose low byte is not
``END``. So messages are counted by counting bytes, however they are cut by the network.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from typing import Final

END: Final = b"!"
SMALLEST: Final = 40
_PATTERN: Final = re.compile(rb'"(\d{12}):(\d{20}):x*!"')


class Payloads:
    """Makes payloads of one size, in bytes, at least ``SMALLEST``; numbers them from 1."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0
        self._template = b'"%012d:%020d:' + b"x" * (size - 37) + END + b'"'

    def make(self) -> bytes:
        """The next payload, stamped with the time now."""
        self.sent += 1
        return self._template % (self.sent, time.monotonic_ns())


def numbers(stream: bytes | bytearray) -> list[int]:
    """The numbers of all messages in ``stream``, in order."""
    return [int(found[1]) for found in _PATTERN.finditer(stream)]


def ends(stream: bytes | bytearray, suffix: int) -> list[int]:
    """Where each message ends, when ``suffix`` bytes follow its payload."""
    return [found.end() + suffix for found in _PATTERN.finditer(stream)]


def latencies(stream: bytearray, arrivals: list[tuple[int, int]]) -> list[float]:
    """Milliseconds from each message's stamp to its arrival.

    ``arrivals`` holds, for each read, how long the stream was after it and the time (ns).
    """
    lengths = [length for length, _ in arrivals]
    return [
        (arrivals[bisect_left(lengths, found.end())][1] - int(found[2])) / 1e6
        for found in _PATTERN.finditer(stream)
    ]
