"""What wakes the readers that wait at the end of a log."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class AppendSignal:
    """Notifies when a log has moved on, or when nobody can say whether it has.

    Attributes:
        notified: how often it has notified; a reader notes it before it reads, to miss none.
        waiting: readers that wait now.
        left: when the last of them left, in the event loop's time.
    """

    __slots__ = ("_announced", "_epoch", "_last", "_listeners", "_waiters", "left", "notified")

    def __init__(self) -> None:
        self._listeners: dict[Callable[[], None], None] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._epoch = ""
        self._last = 0
        self._announced = ("", 0)
        self.notified = 0
        self.left = 0.0

    @property
    def waiting(self) -> int:
        """How many readers wait, and how many others want to be told."""
        return len(self._waiters) + len(self._listeners)

    def listen(self, told: Callable[[], None]) -> None:
        """Have ``told`` called each time that it notifies."""
        self._listeners[told] = None

    def leave(self, told: Callable[[], None]) -> None:
        """Call ``told`` no more."""
        self._listeners.pop(told, None)
        self.left = asyncio.get_running_loop().time()

    def note_end(self, epoch: str, last: int) -> None:
        """Notify if a log that ends with ``last`` is news."""
        if epoch != self._epoch or last > self._last:
            self._epoch, self._last = epoch, last
            self.notify()

    def note_announcement(self, epoch: str, last: int) -> None:
        """Notify if an end that somebody says a log has would be news; what is known stays as it is."""
        announced = (epoch, last)
        if announced != self._announced and (epoch != self._epoch or last > self._last):
            self._announced = announced
            self.notify()

    def notify(self) -> None:
        """Wake everybody."""
        self.notified += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        for told in list(self._listeners):
            told()

    async def wait(self, notified: int, seconds: float) -> None:
        """Wait for the notification after the first ``notified``, but no longer than ``seconds``."""
        if self.notified != notified:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            self._waiters.discard(waiter)
            self.left = loop.time()
