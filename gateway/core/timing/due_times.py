"""When something is due, where most comes in order, and is over before its time."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SLACK: Final = 1024
"""How many that don't hold any more may stay, besides as many as do."""


class DueTimes(Generic[T]):
    """Times, each with what is due then.

    What comes in order stands in a queue, which is cheaper than a heap by far; the rest in a heap beside it.
    Nothing is looked for to be taken back: what doesn't hold any more goes once it is the first, or with all
    of its kind once there is as much of it as of what holds.
    """

    def __init__(self, holds: Callable[[int, T], bool]) -> None:
        """``holds`` tells whether something is still due at its time."""
        self._holds = holds
        self._in_order: deque[tuple[int, T]] = deque()
        self._others: list[tuple[int, T]] = []
        self._most = SLACK

    def __len__(self) -> int:
        """How many there are, those that don't hold any more included."""
        return len(self._in_order) + len(self._others)

    def add(self, due: int, what: T) -> None:
        """Something is due then; it must be hashable, and comparable with others of the same time."""
        if len(self) >= self._most:
            self._forget()
        if not self._in_order or due >= self._in_order[-1][0]:
            self._in_order.append((due, what))
        else:
            heappush(self._others, (due, what))

    @property
    def next(self) -> int | None:
        """When the first is due; None where nothing is."""
        while (first := self._first()) is not None:
            if self._holds(*first):
                return first[0]
            self._pop()
        return None

    def take(self, now: int) -> T | None:
        """The first, if it is due by ``now``; to be called until there is None."""
        due = self.next
        return None if due is None or due > now else self._pop()

    def _forget(self) -> None:
        """Let go of all that doesn't hold any more."""
        kept = {each for each in (*self._in_order, *self._others) if self._holds(*each)}
        self._in_order, self._others = deque(sorted(kept)), []
        self._most = 2 * len(kept) + SLACK

    def _first(self) -> tuple[int, T] | None:
        if self._is_other():
            return self._others[0]
        return self._in_order[0] if self._in_order else None

    def _pop(self) -> T:
        return heappop(self._others)[1] if self._is_other() else self._in_order.popleft()[1]

    def _is_other(self) -> bool:
        if not self._others:
            return False
        return not self._in_order or self._others[0][0] < self._in_order[0][0]
