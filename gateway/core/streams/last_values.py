"""Each topic's newest publication, kept in memory beyond a log's retention; bounded in number and age.

They are in the order in which they changed, which is that of their offsets: the one that changed longest ago
goes first where there are too many, and a snapshot is read in this order, from any offset on.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.messages.publication import Publication

_COMPACT_FROM = 64


class LastValue(NamedTuple):
    """A topic's last value, its offset, and the bytes of its record."""

    offset: int
    publication: Publication
    size: int


class LastValues:
    """The last values of one log's topics."""

    __slots__ = ("_by_topic", "_head", "_max_age", "_max_topics", "_order", "_topics")

    def __init__(self, max_topics: int, max_age: float) -> None:
        """Keep at most ``max_topics``, each for at most ``max_age`` seconds; 0 for any time."""
        self._max_topics = max_topics
        self._max_age = max_age * 1000
        self._by_topic: dict[str, LastValue] = {}
        self._topics: dict[int, str] = {}
        # The offsets of all values that were put, in order: those that were replaced or removed since are
        # passed, and cut out once they are half of it. There are none before the head.
        self._order = array("q")
        self._head = 0

    def __len__(self) -> int:
        return len(self._by_topic)

    def __contains__(self, topic: object) -> bool:
        return topic in self._by_topic

    def get(self, topic: str) -> LastValue | None:
        """The last value of ``topic``."""
        return self._by_topic.get(topic)

    def put(self, publication: Publication, size: int) -> None:
        """Take the newest publication of its topic, the newest of all."""
        offset = publication.offset
        assert offset is not None, "a log numbers what it holds"
        self.remove(publication.topic)
        self._by_topic[publication.topic] = LastValue(offset, publication, size)
        self._topics[offset] = publication.topic
        self._order.append(offset)

    def remove(self, topic: str) -> bool:
        """Let go of the last value of ``topic``; returns whether there was one."""
        value = self._by_topic.pop(topic, None)
        if value is None:
            return False
        del self._topics[value.offset]
        if len(self._order) >= max(_COMPACT_FROM, 2 * len(self._topics)):
            # A dictionary has its keys as they came, and they come in the order of offsets.
            self._order = array("q", self._topics)
            self._head = 0
        return True

    def oldest(self) -> LastValue | None:
        """The value that changed longest ago."""
        if not self._topics:
            return None
        while self._order[self._head] not in self._topics:
            self._head += 1
        return self._by_topic[self._topics[self._order[self._head]]]

    def is_full(self) -> bool:
        """Whether there are more than may be."""
        return len(self._by_topic) > self._max_topics

    def is_old(self, value: LastValue, now: int) -> bool:
        """Whether ``value`` is older at ``now`` (ms since 1970) than it may be."""
        return bool(self._max_age) and value.publication.time < now - self._max_age

    def behind(self, offset: int) -> Iterator[LastValue]:
        """The values whose offsets are larger than ``offset``, in order; for as long as nothing changes."""
        for at in range(bisect_right(self._order, offset, self._head), len(self._order)):
            topic = self._topics.get(self._order[at])
            if topic is not None:
                yield self._by_topic[topic]

    def reach(self, offset: int, values: int) -> int | None:
        """An offset up to which there are no more than ``values`` behind ``offset``; None for the end."""
        at = bisect_right(self._order, offset, self._head) + values
        return self._order[at - 1] if at < len(self._order) else None
