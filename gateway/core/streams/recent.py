"""Consecutive publications of a log, the newest, held in memory and found by their offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.messages.publication import Publication
from gateway.core.streams.retention import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPACT_FROM = 64
_GONE = Publication("", "", 0)


class Recent:
    """The publications ``first``..``last`` of one log; bounds are its owner's business.

    A list with a growing head: any place is found at once, and what has left is cut off when it is half
    of the list, so that leaving costs little too. A deque would have to walk to its middle.
    """

    __slots__ = ("_head", "_publications", "_sizes", "bytes", "last")

    def __init__(self, last: int = 0) -> None:
        """Begin with nothing, behind offset ``last``."""
        self._publications: list[Publication] = []
        self._sizes: list[int] = []
        self._head = 0
        self.bytes = 0
        self.last = last

    def __len__(self) -> int:
        return len(self._publications) - self._head

    @property
    def first(self) -> int:
        """The oldest offset held; one more than ``last`` where nothing is."""
        return self.last + 1 - len(self)

    def push(self, publication: Publication, size: int) -> None:
        """Add the publication of offset ``last + 1``, whose record has ``size`` bytes."""
        self._publications.append(publication)
        self._sizes.append(size)
        self.bytes += size
        self.last += 1

    def drop(self, count: int) -> None:
        """Let go of the oldest ``count``, or of all."""
        head = self._head
        end = min(head + count, len(self._publications))
        self.bytes -= sum(self._sizes[head:end])
        self._publications[head:end] = [_GONE] * (end - head)
        self._leave(end)

    def bound(self, messages: int, size: int) -> None:
        """Let go of the oldest until no more than ``messages`` and ``size`` bytes are held."""
        first = len(self._publications) - messages
        if self._head >= first and self.bytes <= size:
            return
        publications, sizes = self._publications, self._sizes
        head, left = self._head, self.bytes
        while head < first or left > size:
            left -= sizes[head]
            publications[head] = _GONE
            head += 1
        self.bytes = left
        self._leave(head)

    def after(self, offset: int, messages: int, size: int) -> list[Publication] | None:
        """At most ``messages`` publications behind ``offset``, and about ``size`` bytes, one at least.

        Returns:
            None where the one behind ``offset`` isn't held any more.
        """
        start = len(self._publications) - (self.last - offset)
        if start < self._head:
            return None
        end = start + messages
        if self.bytes > size:
            end = self._within(start, min(end, len(self._publications)), size)
        return self._publications[start:end]

    def oldest(self) -> Iterator[Kept]:
        """What is held, from the oldest on, as retention looks at it."""
        for at in range(self._head, len(self._publications)):
            yield Kept(self._sizes[at], self._publications[at].time)

    def times(self) -> tuple[int, int] | None:
        """The times (ms since 1970) of the oldest and the newest publication held."""
        if not len(self):
            return None
        return self._publications[self._head].time, self._publications[-1].time

    def before(self, time: int) -> int:
        """The offset before the first publication held whose time is ``time`` or later."""
        low, high = self._head, len(self._publications)
        while low < high:
            middle = (low + high) // 2
            if self._publications[middle].time < time:
                low = middle + 1
            else:
                high = middle
        return self.first - 1 + low - self._head

    def _leave(self, head: int) -> None:
        self._head = head
        if head >= _COMPACT_FROM and head * 2 >= len(self._publications):
            del self._publications[:head]
            del self._sizes[:head]
            self._head = 0

    def _within(self, start: int, end: int, size: int) -> int:
        for at in range(start, end):
            size -= self._sizes[at]
            if size <= 0:
                return at + 1 if size == 0 or at == start else at
        return end
