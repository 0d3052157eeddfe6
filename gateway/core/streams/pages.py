"""Parts of a log as they were read: publications, and the holes between them.

A log's offsets are consecutive, so what a store can't give of a part that it was asked for is a hole:
somebody removed it, or it is damaged. A hole is told to readers like what was trimmed, and passed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds

TRIMMED: Final = "trimmed"
"""What readers are told of offsets that a log no longer holds."""

PURGED: Final = "purged"
"""The same of offsets that somebody had removed."""

_MOST_RANGES: Final = 1024


@dataclass(frozen=True, slots=True)
class Hole:
    """The offsets ``first`` to ``last``, inclusive, which a log can't give; ``reason`` as a gap tells it."""

    first: int
    last: int
    reason: str = TRIMMED


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a log without a break: publications and holes together, read with the log's bounds.

    Attributes:
        bounds: of the log at the moment of reading; ``last`` is never less than an offset here.
        publications: in offset order.
        holes: the offsets between and beside the publications that the log can't give, in order. Where both
            are empty there is nothing beyond the place asked for.
    """

    bounds: Bounds
    publications: Sequence[Publication]
    holes: Sequence[Hole] = ()

    @property
    def first(self) -> int:
        """The first offset that it tells of; one beyond the log where it tells of none."""
        begins = [each.first for each in self.holes[:1]] + [_offset(each) for each in self.publications[:1]]
        return min(begins, default=self.bounds.last + 1)

    @property
    def last(self) -> int:
        """The last offset that it tells of; 0 where it tells of none."""
        ends = [each.last for each in self.holes[-1:]] + [_offset(each) for each in self.publications[-1:]]
        return max(ends, default=0)

    def behind(self, offset: int, until: int) -> Hole | Sequence[Publication]:
        """What follows ``offset`` at once: a hole, or publications without one; nothing beyond ``until``.

        Empty where this page doesn't tell of the offset that follows.
        """
        publications, wanted = self.publications, offset + 1
        if not self.holes:
            first = self.first
            return publications[wanted - first : max(0, until + 1 - first)] if wanted >= first else ()
        for hole in self.holes:
            if hole.first <= wanted <= hole.last:
                return Hole(wanted, min(hole.last, until), hole.reason) if wanted <= until else ()
            if hole.first > wanted:
                until = min(until, hole.first - 1)
                break
        start = bisect_right(publications, offset, key=_offset)
        if start == len(publications) or _offset(publications[start]) != wanted:
            return ()
        return publications[start : max(start, start + until - offset)]


class OffsetRanges:
    """Offsets as ranges, 16 bytes each: those that touch or overlap become one."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts = array("q")
        self._lasts = array("q")

    def __len__(self) -> int:
        """How many ranges there are, some that were forgotten perhaps included."""
        return len(self._firsts)

    def add(self, first: int, last: int) -> int:
        """Add ``first`` to ``last``; return how many of them are new."""
        firsts, lasts = self._firsts, self._lasts
        begin, end = bisect_left(lasts, first - 1), bisect_right(firsts, last + 1)
        merged_first = min(first, firsts[begin]) if begin < end else first
        merged_last = max(last, lasts[end - 1]) if begin < end else last
        known = sum(max(0, min(last, lasts[at]) + 1 - max(first, firsts[at])) for at in range(begin, end))
        firsts[begin:end] = array("q", (merged_first,))
        lasts[begin:end] = array("q", (merged_last,))
        return last + 1 - first - known

    def forget_before(self, offset: int) -> None:
        """Let go of ranges that end before ``offset``, which isn't asked for any more; not always at once."""
        lasts = self._lasts
        # Cut off only once it is half of them: each that leaves costs no more than one that comes.
        if lasts and lasts[len(lasts) // 2] < offset:
            self.forget_oldest(bisect_left(lasts, offset))

    def forget_oldest(self, ranges: int) -> None:
        """Let go of so many ranges, the oldest."""
        del self._firsts[:ranges], self._lasts[:ranges]

    def within(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The parts of the ranges that are in ``first`` to ``last``, in order."""
        for at in range(bisect_left(self._lasts, first), len(self._firsts)):
            if self._firsts[at] > last:
                return
            yield max(first, self._firsts[at]), min(last, self._lasts[at])


@dataclass(frozen=True, slots=True)
class Passage:
    """Publications without a hole between them, and all that there is of what was asked up to ``through``."""

    publications: Sequence[Publication]
    through: int


@dataclass(frozen=True, slots=True)
class SelectedPage:
    """What a part of a log holds for a filter.

    Attributes:
        bounds: of the log at the moment of reading; ``last`` is never less than an offset here.
        publications: all that match, in offset order, of the offsets behind the one asked for, up to
            ``through``.
        through: the offset to go on behind; the log's end, or the end asked for, where there is no more.
        holes: what the log can't give of these offsets, in order, whatever its topics were.
    """

    bounds: Bounds
    publications: Sequence[Publication]
    through: int
    holes: Sequence[Hole] = ()

    def behind(self, offset: int, until: int) -> Hole | Passage:
        """What follows ``offset`` at once, no further than ``until``: a hole, or what matches up to the next.

        To be asked about offsets that the page was read for alone.
        """
        wanted, until = offset + 1, min(until, self.through)
        for hole in self.holes:
            if hole.first <= wanted <= hole.last:
                return Hole(wanted, min(hole.last, until), hole.reason)
            if hole.first > wanted:
                until = min(until, hole.first - 1)
                break
        start = bisect_right(self.publications, offset, key=_offset)
        return Passage(self.publications[start : bisect_right(self.publications, until, key=_offset)], until)


class KnownHoles:
    """Offsets known to be missing in one life of a log, so that each is counted and told of once.

    A bounded number of ranges; the oldest offsets go first.
    """

    def __init__(self, epoch: str = "") -> None:
        self.epoch = epoch
        self._ranges = OffsetRanges()

    def __len__(self) -> int:
        return len(self._ranges)

    def add(self, epoch: str, first: int, last: int) -> int:
        """Note that ``first`` to ``last`` are missing; return how many of them were not known to be."""
        if epoch != self.epoch:
            self.__init__(epoch)  # type: ignore[misc]  # another life of the log: nothing is known of it
        new = self._ranges.add(first, last)
        self._ranges.forget_oldest(max(0, len(self._ranges) - _MOST_RANGES))
        return new


def page_through(bounds: Bounds, publications: Sequence[Publication], *, after: int, through: int) -> Page:
    """The page of all that a log holds behind ``after`` up to ``through``: what isn't there is a hole.

    Args:
        bounds: of the log; what they leave out is none of the page.
        publications: what was found, in offset order.
        after: the offset that was asked for.
        through: the last offset that was looked for; nothing is known of what follows.
    """
    expected = max(after + 1, bounds.first)
    if len(publications) == through + 1 - expected:
        return Page(bounds, publications)
    holes: list[Hole] = []
    for each in publications:
        offset = _offset(each)
        if offset > expected:
            holes.append(Hole(expected, offset - 1))
        expected = offset + 1
    if expected <= through:
        holes.append(Hole(expected, through))
    return Page(bounds, publications, holes)


def told_apart(holes: Sequence[Hole], purged: Sequence[int]) -> list[Hole]:
    """``holes`` with the offsets, ascending, that somebody had removed as ranges of their own."""
    found: list[Hole] = []
    for hole in holes:
        at = hole.first
        for offset in purged[bisect_left(purged, hole.first) : bisect_right(purged, hole.last)]:
            if offset > at:
                found.append(Hole(at, offset - 1, hole.reason))
            if found and found[-1].last == offset - 1 and found[-1].reason == PURGED:
                found[-1] = Hole(found[-1].first, offset, PURGED)
            else:
                found.append(Hole(offset, offset, PURGED))
            at = offset + 1
        if at <= hole.last:
            found.append(Hole(at, hole.last, hole.reason))
    return found


def _offset(publication: Publication) -> int:
    assert publication.offset is not None, "a store numbers what it keeps"
    return publication.offset
