"""How much of long work is done at once, so that what has to wait for a step never waits long."""

from __future__ import annotations

from typing import Final

_SHORT: Final = 0.25
"""The part of its time that a step may take for the next one to be larger."""


class Pace:
    """The size of the next step, by how long those before took.

    Attributes:
        size: of the next one.
    """

    def __init__(self, size: int = 100, *, least: int = 20, most: int = 1_000, seconds: float = 0.02) -> None:
        """Begin with ``size``, and stay between ``least`` and ``most``, so that a step takes ``seconds``."""
        self.size = size
        self._least = least
        self._most = most
        self._seconds = seconds

    def took(self, seconds: float) -> None:
        """A step took so long."""
        if seconds > self._seconds:
            self.size = max(self._least, self.size // 2)
        elif seconds < self._seconds * _SHORT:
            self.size = min(self._most, self.size * 2)
