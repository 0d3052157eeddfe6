"""The last moments of many figures, in columns of numbers: eight bytes for each, however it is called."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

K = TypeVar("K", bound="Hashable")

Value = float | None

_WAITED_FOR: Final = 3
"""Moments by which a clock may go back and be waited for."""


class Ring(Generic[K]):
    """Figures by name, for the last ``slots`` moments, which are consecutive whole numbers.

    Attributes:
        end: the newest moment; None before the first.
    """

    def __init__(self, slots: int, *, names: int = 4_096) -> None:
        """Keep so many moments, of at most ``names`` figures; more are passed over."""
        self._slots = slots
        self._names = names
        self._columns: dict[K, array[float]] = {}
        self._seen: dict[K, int] = {}
        self._begin = 0
        self.end: int | None = None

    def __len__(self) -> int:
        """How many moments there are, those without figures among them."""
        return 0 if self.end is None else self.end - self._begin + 1

    def add(self, moment: int, values: Mapping[K, Value]) -> bool:
        """Take the figures of ``moment``; None, or a name left out, is no figure.

        A clock that goes back a little is waited for: those moments are passed over. Where it goes back
        further, the moments that come again have their new figures, and what was before them stays.

        Returns:
            Whether it was taken.
        """
        if self.end is not None and moment <= self.end:
            if moment >= self.end - _WAITED_FOR:
                return False
            self._go_back(moment)
        if self.end is None or moment - self.end >= self._slots:
            self._columns.clear()
            self._seen.clear()
            self._begin = self.end = moment
        else:
            self._skip(self.end + 1, moment)
        slot = moment % self._slots
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                if len(self._columns) >= self._names:
                    continue
                column = self._columns[name] = array("d", [math.nan]) * self._slots
            column[slot] = math.nan if value is None else value
            self._seen[name] = moment
        return True

    def _go_back(self, moment: int) -> None:
        """Let go of what was told of ``moment`` and those behind it."""
        if self.end is None or moment <= self._begin:
            self.end = None
            return
        self._empty(range(moment, self.end + 1))
        self.end = moment - 1

    def _skip(self, first: int, moment: int) -> None:
        """Empty the slots up to ``moment``'s, and let go of figures that nobody has told of all the while."""
        self.end = moment
        self._begin = max(self._begin, moment - self._slots + 1)
        for name in [name for name, seen in self._seen.items() if seen < self._begin]:
            del self._columns[name], self._seen[name]
        self._empty(range(first, moment + 1))

    def _empty(self, moments: range) -> None:
        slots = [each % self._slots for each in moments]
        for column in self._columns.values():
            for slot in slots:
                column[slot] = math.nan

    def moments(self, count: int) -> range:
        """The newest ``count`` moments, or as many as there are."""
        if self.end is None:
            return range(0)
        return range(max(self._begin, self.end - count + 1), self.end + 1)

    def columns(self, moments: range) -> dict[K, list[Value]]:
        """Each figure at these consecutive moments; None where there is none."""
        kept = range(self._begin, -1 if self.end is None else self.end + 1)
        inside = range(max(moments.start, kept.start), min(moments.stop, kept.stop))
        before: list[Value] = [None] * len(range(moments.start, min(inside.start, moments.stop)))
        slots = [each % self._slots for each in inside]
        after: list[Value] = [None] * (len(moments) - len(before) - len(slots))
        return {
            name: [*before, *[_value(column[slot]) for slot in slots], *after]
            for name, column in self._columns.items()
        }

    def at(self, moment: int) -> dict[K, Value]:
        """Every figure of one moment."""
        return {name: column[0] for name, column in self.columns(range(moment, moment + 1)).items()}


def _value(number: float) -> Value:
    """As it was given: a whole number without a fraction, which is shorter to tell."""
    if number != number:  # noqa: PLR0124 - not a number, and quicker than to ask
        return None
    whole = int(number)
    return whole if whole == number else number
