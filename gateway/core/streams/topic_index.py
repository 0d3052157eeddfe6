"""Which offsets of a log have which topic, in memory: what a filter matches is found at the price of it.

A topic has its offsets in one ascending array, 8 bytes each, and its key in an ordered list, in which filters
seek. What left the log at its beginning is cut off an array once it is more than half of it, so that an
offset that leaves costs as little as one that comes, and nothing has to be kept to know how many have left.
A topic goes with its last offset: nothing is left of topics that come and go.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from sortedcontainers import SortedList

from gateway.core.streams.topic_keys import topic_key, topic_of, topics_matching
from gateway.core.topics.grammar import has_wildcard

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence


class TopicNames(NamedTuple):
    """Some topics of an index in the order of their keys; ``next`` to go on behind, None at the end."""

    topics: list[str]
    next: str | None


class TopicIndex:
    """The offsets of a log by topic; changed by its owner in the same step as the log.

    Attributes:
        first: what is before this offset has left the log. Topics that were kept all the same have their
            newest offset still.
    """

    __slots__ = ("_keys", "_offsets", "first")

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self._offsets: dict[str, array[int]] = {}
        self._keys = SortedList()

    def __len__(self) -> int:
        """How many topics there are."""
        return len(self._offsets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __contains__(self, topic: object) -> bool:
        return topic in self._offsets

    def add(self, topic: str, offset: int) -> None:
        """Note a publication, whose offset is larger than all before."""
        offsets = self._offsets.get(topic)
        if offsets is None:
            self._offsets[topic] = array("q", (offset,))
            self._keys.add(topic_key(topic))
        else:
            offsets.append(offset)

    def trim(self, first: int, topics: Iterable[str], keep: Container[str] = ()) -> None:
        """Forget what is before ``first``.

        Args:
            first: the oldest offset from now on.
            topics: those of the publications that leave.
            keep: topics that stay, with their newest offset, though all their publications leave.
        """
        self.first = first
        for topic in topics:
            offsets = self._offsets.get(topic)
            if offsets is None:
                continue  # it left with another of these publications
            if offsets[-1] < first:
                if topic in keep:
                    del offsets[:-1]
                else:
                    self._forget(topic)
            elif offsets[len(offsets) // 2] < first:
                del offsets[: bisect_left(offsets, first)]

    def release(self, topic: str) -> None:
        """Keep ``topic`` no longer than its publications."""
        offsets = self._offsets.get(topic)
        if offsets is not None and offsets[-1] < self.first:
            self._forget(topic)

    def cut(self, topic: str, through: int) -> None:
        """Forget the offsets of ``topic`` up to ``through``, inclusive."""
        offsets = self._offsets.get(topic)
        if offsets is None:
            return
        if offsets[-1] <= through:
            self._forget(topic)
        else:
            del offsets[: bisect_right(offsets, through)]

    def ends(self, topic: str) -> tuple[int, int] | None:
        """The first and the last offset of ``topic``, or None; both are the newest of one that was kept."""
        offsets = self._offsets.get(topic)
        if offsets is None:
            return None
        last = offsets[-1]
        return (offsets[bisect_left(offsets, self.first)], last) if last >= self.first else (last, last)

    def matching(self, filters: Iterable[str], limit: int) -> list[str] | None:
        """The topics that any of the parsed ``filters`` matches.

        Returns:
            None where they are more than ``limit``, or where more others had to be looked at.
        """
        found: dict[str, None] = {}
        passed = 0
        for each in filters:
            if not has_wildcard(each):
                if each in self._offsets:
                    found[each] = None
            else:
                for topic in topics_matching(each, _Seek(self._keys)):
                    if topic is None:
                        passed += 1
                    else:
                        found[topic] = None
                    if len(found) > limit or passed > limit:
                        return None
        return list(found) if len(found) <= limit else None

    def page(self, topic_filter: str, after: str | None, limit: int, looks: int) -> TopicNames:
        """At most ``limit`` topics that a filter matches, behind ``after``; looks at ``looks`` at most."""
        seek = _Seek(self._keys, None if after is None else topic_key(after) + b"\0")
        found: list[str] = []
        for looked, topic in enumerate(topics_matching(topic_filter, seek), 1):
            if topic is not None:
                if len(found) == limit:
                    return TopicNames(found, found[-1])
                found.append(topic)
            if looked >= looks and seek.last is not None:
                return TopicNames(found, topic_of(seek.last))
        return TopicNames(found, None)

    def offsets(self, topic: str, before: int, limit: int) -> Sequence[int]:
        """At most ``limit`` offsets of ``topic`` that are less than ``before``, the first of them."""
        offsets = self._offsets.get(topic, _NONE)
        at = bisect_left(offsets, self.first)
        return offsets[at : min(at + limit, bisect_left(offsets, before, at))]

    def behind(self, topics: Iterable[str], after: int, limit: int) -> list[int]:
        """The first ``limit`` offsets behind ``after`` that any of ``topics`` has, ascending."""
        after = max(after, self.first - 1)
        runs = []
        for topic in topics:
            offsets = self._offsets.get(topic, _NONE)
            if offsets and offsets[-1] > after:
                at = bisect_right(offsets, after)
                runs.append((offsets[at], at, len(offsets), offsets))
        return _merged(runs, limit)

    def count(self, topics: Iterable[str], after: int, through: int) -> int:
        """How many offsets behind ``after``, up to ``through``, ``topics`` have together."""
        after = max(after, self.first - 1)
        found = 0
        for topic in topics:
            offsets = self._offsets.get(topic, _NONE)
            found += max(0, bisect_right(offsets, through) - bisect_right(offsets, after))
        return found

    def newest(self, topics: Iterable[str], count: int) -> int | None:
        """The oldest of the newest ``count`` offsets of all ``topics``; None where they have less."""
        heads = []
        for topic in topics:
            offsets = self._offsets.get(topic, _NONE)
            if offsets and offsets[-1] >= self.first:
                heads.append((-offsets[-1], len(offsets) - 1, offsets))
        heapify(heads)
        while heads:
            newest, at, offsets = heads[0]
            count -= 1
            if count == 0:
                return -newest
            if at and offsets[at - 1] >= self.first:
                heapreplace(heads, (-offsets[at - 1], at - 1, offsets))
            else:
                heappop(heads)
        return None

    def newest_of_each(
        self, topics: Iterable[str], count: int, *, after: int, through: int, limit: int
    ) -> list[int]:
        """Of each topic's newest ``count`` as of ``through``: the first ``limit`` behind ``after``."""
        runs = []
        for topic in topics:
            offsets = self._offsets.get(topic, _NONE)
            end = bisect_right(offsets, through)
            at = max(end - count, bisect_left(offsets, self.first), bisect_right(offsets, after))
            if at < end:
                runs.append((offsets[at], at, end, offsets))
        return _merged(runs, limit)

    def _forget(self, topic: str) -> None:
        del self._offsets[topic]
        self._keys.remove(topic_key(topic))


_NONE: array[int] = array("q")


class _Seek:
    """Seeks in ordered keys that don't change meanwhile, from one target to a larger one.

    Attributes:
        last: the key that was found last.
    """

    def __init__(self, keys: SortedList, begin: bytes | None = None) -> None:
        self._keys = keys
        self._begin = begin
        self._rest: Iterator[bytes] = iter(())
        self.last: bytes | None = None

    def __call__(self, target: bytes) -> bytes | None:
        """The first key that is not less than ``target``, or than where this began."""
        if self._begin is not None:
            target = max(target, self._begin)
        # Mostly it is the one behind the last: a step, where a search costs ten times as much.
        key = next(self._rest, None)
        if key is None or key < target:
            self._rest = self._keys.irange(target)
            key = next(self._rest, None)
        self.last = key
        return key


def _merged(runs: list[tuple[int, int, int, array[int]]], limit: int) -> list[int]:
    """The first ``limit`` offsets of parts of arrays; a run: its next offset, place, end, and array."""
    if len(runs) == 1:
        _, at, end, offsets = runs[0]
        return offsets[at : min(end, at + limit)].tolist()
    heapify(runs)
    found: list[int] = []
    while runs and len(found) < limit:
        offset, at, end, offsets = runs[0]
        found.append(offset)
        at += 1
        if at < end:
            heapreplace(runs, (offsets[at], at, end, offsets))
        else:
            heappop(runs)
    return found
