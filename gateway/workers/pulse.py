"""A worker's sign of life, and how long its parent does without.

A process whose event loop is stuck does not end: it keeps its share of the port's connections, and answers
none of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

LOOK_SECONDS: Final = 1.0
"""The parent looks as often, and a child should beat as often."""

_START_SECONDS: Final = 30.0
"""What a child has until its first beat, beyond the silence that it may keep afterwards."""

_MOST_BEATS: Final = 64 * 1024
"""A pipe holds no more: what was said while the parent did not look counts once."""


class Pulse:
    """A pipe from one child to its parent. Times are the parent's monotonic seconds.

    Silence is counted in looks, not between two readings of the clock: a parent that did not run, since its
    machine or container was frozen, knows nothing of that time, and its children were frozen with it.
    """

    __slots__ = ("_left", "_looked_at", "_read", "_seconds", "_write")

    def __init__(self, *, seconds: float, now: float) -> None:
        """Make the pipe, before the child is forked; a child that is silent for so many ``seconds`` hangs."""
        self._seconds = seconds
        self._left = seconds + _START_SECONDS
        self._looked_at = now
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)

    def beat(self) -> None:
        """In the child: all is well. Never waits; a parent that doesn't look, or is gone, does no harm."""
        with suppress(OSError):
            os.write(self._write, b".")

    def stopped(self, now: float) -> bool:
        """In the parent: look, and say whether the child has been silent for too long."""
        beaten = False
        with suppress(BlockingIOError):
            beaten = bool(os.read(self._read, _MOST_BEATS))
        if beaten:
            self._left = self._seconds
        else:
            self._left -= min(now - self._looked_at, 2 * LOOK_SECONDS)
        self._looked_at = now
        return self._left <= 0

    def close(self) -> None:
        """Let go of both ends, in the parent, or in another child."""
        os.close(self._read)
        os.close(self._write)
