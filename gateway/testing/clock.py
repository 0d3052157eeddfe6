"""A clock that runs as the real one does, and can be moved forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.app.surroundings import NodeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class MovableClock:
    """What one gateway takes for the time: the real one, and what it was moved by.

    Attributes:
        moved: by how many seconds so far.
    """

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        """Start at the real time; ``look`` is awaited after each move, so that what is due is done."""
        self.moved = 0.0
        self._look = look

    async def move(self, by: float | timedelta) -> None:
        """Move it forward, and return when what is due by then is done.

        Args:
            by: seconds, or a ``timedelta``.

        Raises:
            ValueError: it would go back, which no clock of the gateway's does.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise ValueError(f"a clock only goes forward, not by {seconds:g} s")
        self.moved += seconds
        await self._look()

    def now(self) -> datetime:
        """What the gateway takes for the time, in UTC: what tokens and leases end by."""
        return datetime.fromtimestamp(self._wall(), UTC)

    def node_clock(self) -> NodeClock:
        """The same for a node."""
        return NodeClock(self._monotonic, self._wall, self._wall_ns)

    def _monotonic(self) -> float:
        return time.monotonic() + self.moved

    def _wall(self) -> float:
        return time.time() + self.moved

    def _wall_ns(self) -> int:
        return time.time_ns() + round(self.moved * 1_000_000_000)
