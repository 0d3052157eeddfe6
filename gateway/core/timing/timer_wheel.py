"""Many deadlines, one clock: what is due in the same second shares a slot.

A timer per idle connection costs memory and a heap operation per connect; a slot costs a set entry.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class TimerWheel(Generic[T]):
    """Items by the second in which they are due."""

    def __init__(self, *, now: float) -> None:
        self._slots: dict[int, set[T]] = {}
        self._turned_to = int(now)

    def schedule(self, item: T, at: float) -> int:
        """Have ``item`` come out of the first ``turn`` at or after ``at``, to the second.

        Returns:
            The slot, for ``cancel``.
        """
        slot = max(int(at), self._turned_to) + 1
        self._slots.setdefault(slot, set()).add(item)
        return slot

    def cancel(self, item: T, slot: int) -> None:
        """Take ``item`` out of ``slot`` again, if it is still there."""
        items = self._slots.get(slot)
        if items is not None:
            items.discard(item)

    def turn(self, now: float) -> list[T]:
        """Remove and return what is due by ``now``."""
        due: list[T] = []
        # At most one slot per second of the longest interval: a clock that jumped costs no more.
        for slot in sorted(slot for slot in self._slots if slot <= now):
            due += self._slots.pop(slot)
        self._turned_to = max(self._turned_to, int(now))
        return due
