"""How a part of the index of a SQLite store is looked through for the topics that a filter matches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.core.streams.topic_keys import BELOW_ALL, SEPARATOR, topic_key, topics_matching
from gateway.core.topics.grammar import has_wildcard

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence

    from gateway.codecs.topic_segment import Range


class Seekable(Protocol):
    """An ordered index of topics by their keys."""

    def seek(self, key: bytes) -> bytes | None:
        """The first key that is not less than ``key``."""
        ...


class Segment(Seekable, Protocol):
    """A part of the index, in the file or in memory."""

    @property
    def base(self) -> int:
        """The offset of place 0."""
        ...

    @property
    def holes(self) -> Sequence[Range]:
        """Offsets that the log can't give."""
        ...

    def places(self, key: bytes) -> array[int] | None:
        """The places of the topic of that key, ascending."""
        ...

    def entries(self, begin: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes | array[int]]]:
        """The topics from one key to before another, with their places, as they lie there."""
        ...


class Seek:
    """Seeks in several ordered indexes at once, from one target to a larger one.

    Attributes:
        last: the key that was found last.
    """

    def __init__(self, parts: Sequence[Seekable], begin: bytes | None = None) -> None:
        self._heads: list[tuple[Seekable, bytes | None]] = [(each, None) for each in parts]
        self._begin = begin
        self.last: bytes | None = None

    def __call__(self, target: bytes) -> bytes | None:
        """The first key that is not less than ``target``, or than where this began."""
        if self._begin is not None:
            target = max(target, self._begin)
        heads = self._heads
        ended = False
        for at, (part, head) in enumerate(heads):
            if head is None or head < target:
                found = part.seek(target)
                heads[at] = part, found
                ended |= found is None
        if ended:
            heads = self._heads = [each for each in heads if each[1] is not None]
        self.last = min((head for _, head in heads if head is not None), default=None)
        return self.last

    def having(self) -> list[Seekable]:
        """Where the key stands that was found last."""
        return [part for part, head in self._heads if head == self.last]


def entries_matching(part: Segment, topic_filter: str) -> Iterator[tuple[bytes, bytes | array[int]] | None]:
    """A segment's entries that a filter matches; None for each other one that was looked at."""
    if not has_wildcard(topic_filter):
        key = topic_key(topic_filter)
        places = part.places(key)
        if places is not None:
            yield key, places
    elif topic_filter == "#":
        # All but the topics that begin with a dollar sign, which stand together.
        yield from part.entries(b"", b"$")
        yield from part.entries(b"%", None)
    elif topic_filter.endswith("/#") and "+" not in topic_filter:
        key = topic_key(topic_filter[:-2])
        yield from part.entries(key, key + BELOW_ALL)
    elif topic_filter.endswith("/+") and "+" not in topic_filter[:-1]:
        yield from _one_level(part, topic_key(topic_filter[:-1]))
    else:
        for topic in topics_matching(topic_filter, part.seek):
            if topic is None:
                yield None
            elif (places := part.places(topic_key(topic))) is not None:
                yield topic_key(topic), places


def _one_level(part: Segment, prefix: bytes) -> Iterator[tuple[bytes, bytes | array[int]] | None]:
    """The entries whose keys have one level behind ``prefix``, which ends with a separator."""
    begin: bytes | None = prefix
    end = prefix[: -len(SEPARATOR)] + BELOW_ALL
    while begin is not None:
        at, begin = begin, None
        for entry in part.entries(at, end):
            level = entry[0].find(SEPARATOR, len(prefix))
            if level >= 0:
                # What is below stands together.
                yield None
                begin = entry[0][:level] + BELOW_ALL
                break
            yield entry
