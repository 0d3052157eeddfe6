"""How often something may happen: a token bucket that is told the time."""

from __future__ import annotations


class RateLimit:
    """``per_second`` on average, ``burst`` at once; 0 per second means no limit."""

    __slots__ = ("_burst", "_last", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, *, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._last = now

    def allow(self, now: float) -> bool:
        """Take one token if there is one."""
        if not self._per_second:
            return True
        tokens = min(self._burst, self._tokens + (now - self._last) * self._per_second)
        self._last = now
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        return True
