"""The newest offsets of a log by topic, in memory: those whose segment isn't in the file yet.

The writing thread adds what it has committed; the reading thread looks things up. Each holds the lock for a
moment only: what it takes away is a copy, or a list that is never changed again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING

from gateway.core.streams.topic_keys import topic_key, topic_of
from gateway.streams.sqlite.segments import united

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.codecs.topic_segment import Range


class OldSnapshot(Exception):  # noqa: N818 - says what happened
    """What the snapshot doesn't have yet, the memory doesn't have any more: another snapshot has it."""


class _Unindexed:
    """One segment: its topics with their places."""

    __slots__ = ("fresh", "holes", "keys", "topics", "trimmed")

    def __init__(self) -> None:
        self.topics: dict[str, array[int]] = {}
        self.keys: list[bytes] = []
        self.fresh: list[str] = []
        self.holes: list[Range] = []
        self.trimmed = 0


class TailSegment:
    """A segment as a reader looks at it.

    It stays the reader's while the tail moves on: what has been trimmed is missing, and once the segment has
    gone to the file each look at it raises `OldSnapshot`.
    """

    def __init__(self, tail: Tail, segment: int, keys: list[bytes]) -> None:
        self._tail = tail
        self._keys = keys
        self._segment = segment
        self.base = segment * tail.size + 1

    @property
    def holes(self) -> Sequence[Range]:
        """Offsets that the log can't give, now: asked last, they tell of what was missed before."""
        return self._tail.holes(self._segment)

    def seek(self, key: bytes) -> bytes | None:
        """The first key that is not less than ``key``."""
        at = bisect_left(self._keys, key)
        return self._keys[at] if at < len(self._keys) else None

    def entries(self, begin: bytes, end: bytes | None) -> Iterator[tuple[bytes, array[int]]]:
        """The topics from one key to before another, with their places."""
        keys = self._keys
        for at in range(bisect_left(keys, begin), len(keys) if end is None else bisect_left(keys, end)):
            if (places := self.places(keys[at])) is not None:
                yield keys[at], places

    def places(self, key: bytes) -> array[int] | None:
        """The places of the topic of that key."""
        return self._tail.places(self._segment, topic_of(key))


class Tail:
    """What isn't in the file's index of one log.

    Attributes:
        size: how many offsets a segment has.
        ready: whether everything that should be here is.
        first: what is before this offset has been trimmed.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.ready = False
        self.first = 1
        self._begin = 0
        self._lock = Lock()
        self._segments: dict[int, _Unindexed] = {}

    def clear(self, size: int | None = None) -> None:
        """Forget everything; nothing can be looked up until ``ready`` again."""
        with self._lock:
            self.size = size or self.size
            self.ready = False
            self.first = 1
            self._begin = 0
            self._segments.clear()

    def extend(self, first: int, topics: Sequence[str]) -> None:
        """Add the topics of the offsets from ``first`` on; they follow what was added before."""
        size, at = self.size, 0
        with self._lock:
            while at < len(topics):
                segment, place = divmod(first - 1 + at, size)
                end = min(len(topics), at + size - place)
                self._add(segment, place, topics[at:end])
                at = end

    def lose(self, offsets: Sequence[int], *, purged: bool = False) -> None:
        """Note offsets that the log can't give, ascending."""
        with self._lock:
            for segment in sorted({(each - 1) // self.size for each in offsets}):
                part = self._segments.setdefault(segment, _Unindexed())
                those = [(each, each, purged) for each in offsets if (each - 1) // self.size == segment]
                part.holes = united([*part.holes, *those])

    def remove(self, segment: int, gone: Mapping[bytes, set[int]]) -> None:
        """Take places from topics, which are given by their keys."""
        with self._lock:
            part = self._segments.get(segment)
            if part is None:
                return
            for key, places in gone.items():
                topic = topic_of(key)
                left = array("H", [each for each in part.topics.get(topic, ()) if each not in places])
                if left:
                    part.topics[topic] = left
                else:
                    part.topics.pop(topic, None)
            _sort_anew(part)

    def trim(self, first: int) -> None:
        """Let go of what is before offset ``first``, once that is worth the work."""
        oldest = (first - 1) // self.size
        with self._lock:
            self.first = max(self.first, first)
            for segment in [each for each in self._segments if each < oldest]:
                del self._segments[segment]
            part = self._segments.get(oldest)
            place = first - 1 - oldest * self.size
            # So each place is looked at once or twice in its life.
            if part is None or place - part.trimmed < max(64, self.size // 4):
                return
            part.trimmed = place
            left = {
                topic: each[bisect_left(each, place) :]
                for topic, each in part.topics.items()
                if each[-1] >= place
            }
            part.topics = left
            part.holes = [each for each in part.holes if each[1] >= first]
            _sort_anew(part)

    def drop(self, segment: int) -> None:
        """The file has this segment now, and all before it."""
        with self._lock:
            for each in [each for each in self._segments if each <= segment]:
                del self._segments[each]
            self._begin = segment + 1

    def view(self, segment: int, *, ordered: bool) -> TailSegment:
        """A segment to look things up in, with ``ordered`` to seek in too.

        Raises:
            OldSnapshot: the file has it.
        """
        with self._lock:
            part = self._part(segment)
            if part is None:
                return TailSegment(self, segment, [])
            if ordered and part.fresh:
                # Nearly all of it is in order, and a list that somebody seeks in stays as it is.
                part.keys = sorted(part.keys + sorted(map(topic_key, part.fresh)))
                part.fresh = []
            return TailSegment(self, segment, part.keys)

    def places(self, segment: int, topic: str) -> array[int] | None:
        """A copy of a topic's places in a segment.

        Raises:
            OldSnapshot: the file has it.
        """
        with self._lock:
            part = self._part(segment)
            found = None if part is None else part.topics.get(topic)
            return None if found is None else found[:]

    def holes(self, segment: int) -> Sequence[Range]:
        """Offsets of a segment that the log can't give.

        Raises:
            OldSnapshot: the file has it.
        """
        with self._lock:
            part = self._part(segment)
            return () if part is None else part.holes

    def entries(self, segment: int) -> tuple[list[tuple[str, array[int]]], list[Range]]:
        """A segment that is complete: its topics with their places in any order, and its holes."""
        with self._lock:
            part = self._segments.get(segment) or _Unindexed()
            return list(part.topics.items()), list(part.holes)

    def _part(self, segment: int) -> _Unindexed | None:
        # What isn't here would pass for what nobody said.
        if segment < self._begin or not self.ready:
            raise OldSnapshot
        return self._segments.get(segment)

    def _add(self, segment: int, place: int, topics: Sequence[str]) -> None:
        part = self._segments.get(segment)
        if part is None:
            part = self._segments[segment] = _Unindexed()
        known, fresh = part.topics, part.fresh
        for at, topic in enumerate(topics, place):
            found = known.get(topic)
            if found is None:
                known[topic] = array("H", (at,))
                fresh.append(topic)
            else:
                found.append(at)


def _sort_anew(part: _Unindexed) -> None:
    part.fresh = []
    part.keys = sorted(map(topic_key, part.topics))
