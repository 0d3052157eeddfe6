"""When something is due, where most of what comes is due after what came before."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class DueTimes(Generic[T]):
    """Times, each with what is due then; the first one costs the same however many there are.

    What comes in order stands in a queue, which is cheaper than a heap by far; the rest in a heap beside it.
    """

    def __init__(self) -> None:
        self._in_order: deque[tuple[int, T]] = deque()
        self._others: list[tuple[int, T]] = []

    def __len__(self) -> int:
        return len(self._in_order) + len(self._others)

    def add(self, due: int, what: T) -> None:
        """Something is due then; equal times need ``what`` that can be compared."""
        if not self._in_order or due >= self._in_order[-1][0]:
            self._in_order.append((due, what))
        else:
            heappush(self._others, (due, what))

    @property
    def first(self) -> tuple[int, T] | None:
        """What is due first, and when; None where nothing is."""
        if self._others and (not self._in_order or self._others[0][0] < self._in_order[0][0]):
            return self._others[0]
        return self._in_order[0] if self._in_order else None

    def pop(self) -> None:
        """Forget the first."""
        if self._others and (not self._in_order or self._others[0][0] < self._in_order[0][0]):
            heappop(self._others)
        else:
            self._in_order.popleft()
