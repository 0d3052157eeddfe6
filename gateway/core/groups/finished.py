"""Which publications of a log a group is through with: everything up to a place, and ranges behind it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Finished:
    """Offsets that are done, as few ranges as they make; what changed is noted for whoever keeps them.

    Attributes:
        floor: every offset up to this one is done.
        changed: the first offsets of ranges that were made, changed or ended since ``changed`` was cleared.
    """

    def __init__(self, floor: int = 0, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Begin with what is known: first and last offset of each range, in any order."""
        self.floor = floor
        self.changed: set[int] = set()
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __len__(self) -> int:
        """How many ranges there are behind the floor."""
        return len(self._firsts)

    def __contains__(self, offset: int) -> bool:
        if offset <= self.floor:
            return True
        place = bisect_right(self._firsts, offset) - 1
        return place >= 0 and self._lasts[place] >= offset

    def ranges(self) -> list[tuple[int, int]]:
        """First and last offset of each range behind the floor."""
        return list(zip(self._firsts, self._lasts, strict=True))

    def count(self, before: int) -> int:
        """How many offsets behind the floor and less than ``before`` are done."""
        end = bisect_left(self._firsts, before)
        return sum(min(last, before - 1) + 1 - first for first, last in self.ranges()[:end])

    def end_of(self, offset: int) -> int | None:
        """The last offset of the range behind the floor that ``offset`` is in, or None."""
        place = bisect_right(self._firsts, offset) - 1
        return self._lasts[place] if place >= 0 and self._lasts[place] >= offset else None

    @property
    def last(self) -> int:
        """The last offset that is done."""
        return self._lasts[-1] if self._lasts else self.floor

    def range_from(self, first: int) -> tuple[int, int] | None:
        """The range that begins with ``first``, or None."""
        place = bisect_left(self._firsts, first)
        found = place < len(self._firsts) and self._firsts[place] == first
        return (first, self._lasts[place]) if found else None

    def add(self, first: int, last: int) -> None:
        """``first`` to ``last`` are done, whatever of them was before."""
        if first == self.floor + 1 and not self._firsts:
            # As it mostly is: one after the other.
            self.floor = max(self.floor, last)
            return
        if last <= self.floor:
            return
        # The known ranges that overlap or touch the new one become one with it.
        begin, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self.changed.update(self._firsts[begin:end])
        self.changed.add(first)
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]
        self._rise()

    def _rise(self) -> None:
        place = 0
        while place < len(self._firsts) and self._firsts[place] <= self.floor + 1:
            self.floor = max(self.floor, self._lasts[place])
            self.changed.add(self._firsts[place])
            place += 1
        del self._firsts[:place], self._lasts[:place]
