"""Reading a log of a SQLite store by its index of topics, from a snapshot.

The segments that may hold something are looked at one after the other, those in the file and the newest ones
in memory, no more of them than are needed. What the index says is held against the rows: where they disagree
it is the index that is damaged, and nothing is answered from that segment.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.streams.topic_keys import topic_key, topic_of, topics_matching
from gateway.core.topics.grammar import has_wildcard
from gateway.errors import TooMany
from gateway.streams.base import TopicPage, TopicSummary
from gateway.streams.sqlite.matching import Seek, entries_matching
from gateway.streams.sqlite.rows import extent_at, read_at, time_from
from gateway.streams.sqlite.segments import (
    DamagedSegment,
    newest_segment,
    read_segment,
    united,
    unpack,
    within,
)
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    import sqlite3
    from array import array
    from collections.abc import Container, Iterable, Mapping, Sequence

    from gateway.codecs.topic_segment import Range
    from gateway.core.messages.publication import Publication
    from gateway.streams.sqlite.matching import Seekable, Segment
    from gateway.streams.sqlite.segments import Known
    from gateway.streams.sqlite.snapshots import LastTopics
    from gateway.streams.sqlite.tail import Tail

_MOST_SEGMENTS: Final = 256
"""How many segments a page of what a filter matches looks at."""
_MOST_LOOKS: Final = 50_000
"""How many topics that don't match a read looks at."""
_MOST_HOLES: Final = 1024
"""How many holes a page tells of."""
_TOPIC_LOOKS: Final = 4096
"""How many topics a page of topics looks at."""
_KNOWN_SEGMENTS: Final = 256


class NotIndexed(Exception):  # noqa: N818 - says what it is
    """The index of the log isn't there yet, or is damaged."""


class Selected(NamedTuple):
    """What was found of a part of a log up to ``through``, and what the log can't give of it."""

    publications: Sequence[Publication]
    through: int
    holes: Sequence[Range]


class LogView:
    """One log of a snapshot with its index.

    Attributes:
        number: of the log.
        end: the last offset that is looked at.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        stream: str,
        number: int,
        tail: Tail,
        *,
        first: int,
        end: int,
        most_topics: int,
        known: Known,
    ) -> None:
        """Take a snapshot's log from ``first`` to ``end``.

        Raises:
            NotIndexed: there is no index to look at.
        """
        if not tail.ready:
            raise NotIndexed
        if len(known) > _KNOWN_SEGMENTS:
            known.clear()
        self.connection = connection
        self.number = number
        self.end = end
        self._stream = stream
        self._first = first
        self._tail = tail
        self._size = tail.size
        self._oldest = (first - 1) // tail.size
        self._newest = (end - 1) // tail.size
        self._stored = newest_segment(connection, number)
        self._known = known
        self._most_topics = most_topics
        self._topics: set[bytes] = set()
        self._looks = 0

    @property
    def first(self) -> int:
        """The log's oldest offset; what has been trimmed since the snapshot is left out."""
        return max(self._first, self._tail.first)

    def select(self, filters: Sequence[str], after: int, messages: int, size: int) -> Selected | None:
        """What matches one of ``filters`` behind ``after``; None where more topics match than may.

        Raises:
            DamagedSegment: that part of the index can't tell.
        """
        # Beyond the end there is nothing to go on behind but the end.
        begin = min(max(after, self._first - 1), self.end)
        try:
            return self._select(filters, begin, self.end, messages, size)
        except DamagedSegment as damaged:
            # What comes before it is told; the next page begins there.
            end = damaged.segment * self._size
            if end <= begin:
                raise
            return self._select(filters, begin, end, messages, size)

    def _select(
        self, filters: Sequence[str], begin: int, end: int, messages: int, size: int
    ) -> Selected | None:
        wanted: list[int] = []
        topics: set[bytes] = set()
        parts: list[Segment] = []
        oldest, through = begin // self._size, begin
        for segment in range(oldest, min((end - 1) // self._size + 1, oldest + _MOST_SEGMENTS)):
            through = min(end, (segment + 1) * self._size)
            part = self.segment(segment, ordered=any(map(has_wildcard, filters)))
            matching = self._matching(part, filters, begin + 1, through)
            if matching is None:
                return None
            parts.append(part)
            topics |= matching.keys()
            wanted += _merged(matching, part.base)
            if len(wanted) > messages:
                break
        selected = self._read(topics, wanted[:messages], size)
        if wanted and selected.through != wanted[-1]:
            through = selected.through
        holes = [each for part in parts for each in within(part.holes, begin + 1, through)]
        return self._bounded(selected.publications, through, united([*holes, *selected.holes]))

    def before_newest(self, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` that match, or before the log; None as ``select``.

        Raises:
            DamagedSegment: that part of the index can't tell.
        """
        for segment in range(self._newest, self._oldest - 1, -1):
            part = self.segment(segment, ordered=has_wildcard(topic_filter))
            matching = self._matching(part, (topic_filter,), self._first, self.end)
            if matching is None:
                return None
            offsets = _merged(matching, part.base)
            if 0 < count <= len(offsets):
                return max(offsets[-count], self.first) - 1
            count -= len(offsets)
            if count <= 0:
                return self.end
        return self.first - 1

    def count(self, topic_filter: str, after: int) -> int:
        """How many match behind ``after``.

        Raises:
            DamagedSegment: that part of the index can't tell.
        """
        low, found = max(after + 1, self.first), 0
        for segment in range((low - 1) // self._size, self._newest + 1):
            part = self.segment(segment, ordered=has_wildcard(topic_filter))
            begin, end = low - part.base, self.end - part.base
            whole = begin <= 0 and end >= self._size - 1
            for entry in entries_matching(part, topic_filter):
                if entry is None:
                    continue
                packed = entry[1]
                if whole:
                    found += len(packed) // 2 if isinstance(packed, bytes) else len(packed)
                    continue
                places = unpack(packed) if isinstance(packed, bytes) else packed
                first = bisect_left(places, begin)
                found += bisect_right(places, end, first) - first
        return found

    def extent(self, topic_filter: str, segment: int) -> Extent:
        """How much of one segment matches.

        Raises:
            DamagedSegment: the index can't tell.
        """
        if segment < self._oldest:
            return Extent()
        part = self.segment(segment, ordered=has_wildcard(topic_filter))
        matching = {
            key: unpack(packed) if isinstance(packed, bytes) else packed
            for key, packed in filter(None, entries_matching(part, topic_filter))
        }
        first, end = self.first, self.end
        offsets = [each for each in _merged(matching, part.base) if first <= each <= end]
        return extent_at(self.connection, self.number, offsets)

    def newest_by_topic(
        self, topic_filter: str, count: int, after: int, messages: int, size: int
    ) -> Selected:
        """Of each matching topic's newest ``count`` those behind ``after``.

        Raises:
            DamagedSegment: that part of the index can't tell.
            TooMany: more topics match than may.
        """
        low = max(after + 1, self._first)
        left: dict[bytes, int] = {}
        wanted: list[int] = []
        for segment in range(self._newest, (low - 1) // self._size - 1, -1):
            part = self.segment(segment, ordered=has_wildcard(topic_filter))
            matching = self._matching(part, (topic_filter,), low, self.end, left)
            if matching is None:
                raise TooMany(
                    f"filter {topic_filter!r} matches more than {self._most_topics} topics of stream"
                    f" {self._stream!r}"
                )
            newest: dict[bytes, array[int]] = {}
            for key, places in matching.items():
                most = left.get(key, count)
                newest[key] = places[max(0, len(places) - most) :]
                left[key] = most - len(newest[key])
            # All of them come before those of later segments.
            wanted = [*_merged(newest, part.base), *wanted][: messages + 1]
        more = len(wanted) > messages
        selected = self._read(left, wanted[:messages], size)
        whole = not more and (not wanted or selected.through == wanted[-1])
        through = self.end if whole else selected.through
        return self._bounded(selected.publications, through, united(selected.holes))

    def topics(
        self, topic_filter: str, after: str | None, limit: int, last_values: LastTopics | None
    ) -> TopicPage:
        """The topics that match behind topic ``after``, of the log and of last values.

        Raises:
            DamagedSegment: that part of the index can't tell.
        """
        parts: list[Seekable] = [
            self.segment(segment, ordered=True) for segment in range(self._oldest, self._newest + 1)
        ]
        if last_values is not None:
            parts.append(last_values)
        seek = Seek(parts, None if after is None else topic_key(after) + b"\0")
        found: list[TopicSummary] = []
        for looked, topic in enumerate(topics_matching(topic_filter, seek), 1):
            if topic is not None and (summary := self._summary(topic, seek, last_values)) is not None:
                if len(found) == limit:
                    return TopicPage(found, found[-1].topic)
                found.append(summary)
            if looked >= _TOPIC_LOOKS and seek.last is not None:
                return TopicPage(found, topic_of(seek.last))
        return TopicPage(found)

    def segment(self, segment: int, *, ordered: bool) -> Segment:
        """A segment, with ``ordered`` to seek in too.

        Raises:
            DamagedSegment: the file has it no more.
            OldSnapshot: it has come into the file since the snapshot.
        """
        if segment <= self._stored:
            return read_segment(self.connection, self.number, segment, self._size, self._known)
        return self._tail.view(segment, ordered=ordered)

    def _matching(
        self,
        part: Segment,
        filters: Iterable[str],
        low: int,
        high: int,
        done: Mapping[bytes, int] | None = None,
    ) -> dict[bytes, array[int]] | None:
        """The places by topic from offset ``low`` to ``high``; None where they are more topics than may.

        Those of topics that have 0 in ``done`` aren't asked for.
        """
        found: dict[bytes, array[int]] = {}
        begin, end = low - part.base, high - part.base
        whole = begin <= 0 and end >= self._size - 1
        for each in filters:
            for entry in entries_matching(part, each):
                if entry is None:
                    self._looks += 1
                    if self._looks > _MOST_LOOKS:
                        return None
                    continue
                key, packed = entry
                if key in found or (done is not None and done.get(key) == 0):
                    continue
                places = unpack(packed) if isinstance(packed, bytes) else packed
                if not whole:
                    first = bisect_left(places, begin)
                    places = places[first : bisect_right(places, end, first)]
                if places:
                    found[key] = places
                    self._topics.add(key)
                    if len(self._topics) > self._most_topics:
                        return None
        return found

    def _read(self, topics: Container[bytes], wanted: Sequence[int], size: int) -> _Read:
        """The rows of these offsets, which have one of ``topics``."""
        if not wanted:
            return _Read((), 0, ())
        got = read_at(self.connection, self._stream, self.number, wanted, size)
        told = set()
        for each in got.publications:
            if topic_key(each.topic) not in topics:
                raise DamagedSegment((_offset(each) - 1) // self._size)
            told.add(each.offset)
        lost = [each for each in wanted if each <= got.through and each not in told]
        removed = set(got.purged)
        return _Read(got.publications, got.through, [(each, each, each in removed) for each in lost])

    def _bounded(self, publications: Sequence[Publication], through: int, holes: Sequence[Range]) -> Selected:
        """What may be told: not too many holes, and nothing that has been trimmed meanwhile."""
        if len(holes) > _MOST_HOLES:
            holes = holes[:_MOST_HOLES]
            through = min(through, holes[-1][1])
        first = self.first
        return Selected(
            [each for each in publications if first <= _offset(each) <= through],
            max(through, min(first - 1, self.end)),
            within(holes, first, through),
        )

    def _summary(self, topic: str, seek: Seek, last_values: LastTopics | None) -> TopicSummary | None:
        key = topic_key(topic)
        offsets: list[int] = []
        value: tuple[int, int] | None = None
        for part in seek.having():
            if part is last_values:
                value = last_values.value(key)
                continue
            # Of each segment the ends are enough.
            places = part.places(key)  # type: ignore[attr-defined]
            if places is None:
                continue  # it has been trimmed or removed since it was found
            base = part.base  # type: ignore[attr-defined]
            begin = bisect_left(places, self._first - base)
            end = bisect_right(places, self.end - base, begin)
            if begin < end:
                offsets += base + places[begin], base + places[end - 1]
        if offsets:
            time = time_from(self.connection, self.number, max(offsets)) or 0
            return TopicSummary(topic, min(offsets), max(offsets), time, last_value=value is not None)
        if value is None:
            return None
        return TopicSummary(topic, value[0], value[0], value[1], last_value=True)


class _Read(NamedTuple):
    publications: Sequence[Publication]
    through: int
    holes: Sequence[Range]


def _merged(matching: Mapping[bytes, array[int]], base: int) -> list[int]:
    """The offsets of all places, in order."""
    # Sorted at once: ascending parts of at most a segment together are merged faster so than one by one.
    return [base + each for each in sorted(chain.from_iterable(matching.values()))]


def _offset(publication: Publication) -> int:
    assert publication.offset is not None, "a store numbers what it keeps"
    return publication.offset
