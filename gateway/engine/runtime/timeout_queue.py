"""Deadlines of one length for many owners, on one timer of the event loop.

All are equally long, so the order in which they were started is the order in which they end: a dictionary
is the whole queue, and starting or stopping one costs a dictionary operation, not a timer handle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable


class TimeoutQueue:
    """Calls back for every owner whose deadline was started and not stopped within ``seconds``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._running: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, owner: object) -> bool:
        return owner in self._running

    def first(self) -> Hashable | None:
        """Whose deadline was started longest ago; None where none runs."""
        return next(iter(self._running), None)

    def start(self, owner: Hashable, expired: Callable[[], None]) -> None:
        """Call ``expired`` once, ``seconds`` from now; one that runs already is started anew."""
        due = self._loop.time() + self._seconds
        self._running.pop(owner, None)
        self._running[owner] = (due, expired)
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._expire)

    def stop(self, owner: Hashable) -> None:
        """Forget ``owner``'s deadline, if it has one."""
        self._running.pop(owner, None)

    def _expire(self) -> None:
        # A stopped deadline leaves the timer as it is: it then finds nothing due and is set to the next one.
        self._timer = None
        now = self._loop.time()
        expired = []
        for owner, (due, callback) in self._running.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._expire)
                break
            expired.append((owner, callback))
        for owner, _ in expired:
            del self._running[owner]
        for _, callback in expired:
            # Each in a call of its own: one that raises is logged by the loop and spares the others.
            self._loop.call_soon(callback)
