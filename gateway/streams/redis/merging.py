"""Offsets of many topics, merged in the order of the log as far as somebody wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class OffsetMerge:
    """The first so many offsets of several topics, of which each tells some at a time.

    Attributes:
        wanted: how many.
    """

    __slots__ = ("_found", "_going", "_sign", "wanted")

    def __init__(self, wanted: int, *, rising: bool) -> None:
        """Want so many, the smallest of all, or the largest."""
        self.wanted = wanted
        self._sign = 1 if rising else -1
        self._found: list[int] = []
        self._going: dict[bytes, int] = {}

    def add(self, key: bytes, offsets: Sequence[int], *, more: bool) -> None:
        """Take the next ``offsets`` of a topic, and whether it may have ``more`` behind the last of them."""
        found = [offset * self._sign for offset in offsets]
        self._found.extend(found)
        if more and found:
            self._going[key] = found[-1]
        else:
            self._going.pop(key, None)

    def incomplete(self) -> list[tuple[bytes, int]]:
        """Topics that may have offsets among those wanted, and the last offset that each has told."""
        # Two filters may have found the same topic.
        self._found = sorted(set(self._found))[: self.wanted]
        if len(self._found) == self.wanted:
            limit = self._found[-1]
            self._going = {key: end for key, end in self._going.items() if end < limit}
        return [(key, end * self._sign) for key, end in self._going.items()]

    def offsets(self) -> list[int]:
        """What was wanted, in order, once nothing is incomplete."""
        return [offset * self._sign for offset in self._found]
