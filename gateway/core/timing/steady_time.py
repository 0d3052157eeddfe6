"""The time of day where it must not stand still or go back, whatever is done to the machine's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SteadyTime:
    """Follows the machine's clock forward. Where that is set back, time goes on as it was, and as fast.

    Else what waits for a time (a lease, a delay) would wait longer by as much as the clock was set back.
    """

    __slots__ = ("_ahead", "_monotonic", "_wall")

    def __init__(self, wall_ns: Callable[[], int], monotonic: Callable[[], float]) -> None:
        """Tell the time by ``wall_ns``, nanoseconds since 1970, and by ``monotonic`` seconds."""
        self._wall = wall_ns
        self._monotonic = monotonic
        self._ahead = 0

    def milliseconds(self) -> int:
        """Milliseconds since 1970; never less than before."""
        wall = self._wall()
        # Behind the other: what passes in between would add up if it counted the other way round.
        passed = int(self._monotonic() * 1_000_000_000)
        self._ahead = max(self._ahead, wall - passed)
        return (passed + self._ahead) // 1_000_000
