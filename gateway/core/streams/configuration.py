"""What streams are configured, which of them captures a topic, and what of a log has to go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.topics.grammar import intersects, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CACHED_TOPICS = 65536


@dataclass(frozen=True, slots=True)
class StreamConfiguration:
    """One stream, as configured.

    Attributes:
        name: unique; a letter, digit, ``.``, ``_`` or ``-`` each.
        filter: the topics whose publications it captures.
        max_messages: how many publications are kept at most.
        max_bytes: how many bytes of them are kept at most: body, topic, headers and a few more each
            (the record of codecs/record.py), without what a store spends on its own order.
        max_age: seconds that a publication is kept at most.
        dedupe_window: seconds that an idempotency key is remembered.
    """

    name: str
    filter: str
    max_messages: int = 1_000_000
    max_bytes: int = 1024**3
    max_age: float = 7 * 86400.0
    dedupe_window: float = 120.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a log holds now.

    Attributes:
        epoch: which life of the log this is; changes whenever offsets might come to mean something else.
        first: the oldest publication's offset; one more than ``last`` where there is none.
        last: the newest publication's offset; 0 before the first.
    """

    epoch: str
    first: int
    last: int


class StreamMap:
    """All configured streams, by topic and by filter; at most one stream captures a topic."""

    def __init__(self, configurations: Iterable[StreamConfiguration] = ()) -> None:
        """Take the configurations; their filters are already parsed.

        Raises:
            ValueError: two streams have one name, or could capture one topic.
        """
        self._streams: dict[str, StreamConfiguration] = {}
        for configuration in configurations:
            if configuration.name in self._streams:
                raise ValueError(f"two streams have the name {configuration.name!r}")
            self._streams[configuration.name] = configuration
        for one, other in combinations(self._streams.values(), 2):
            if intersects(one.filter, other.filter):
                raise ValueError(
                    f"streams {one.name!r} and {other.name!r} would both capture a topic that "
                    f"{one.filter!r} and {other.filter!r} match: a topic belongs to one stream at most"
                )
        self._captured: dict[str, str | None] = {}

    @property
    def digest(self) -> str:
        """The same on all nodes that capture the same topics in the same streams, in whatever order."""
        captured = sorted((each.name, each.filter) for each in self._streams.values())
        return blake2b(json.dumps(captured).encode(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[StreamConfiguration]:
        return iter(self._streams.values())

    def __contains__(self, name: object) -> bool:
        return name in self._streams

    def __getitem__(self, name: str) -> StreamConfiguration:
        return self._streams[name]

    def capturing(self, topic: str) -> str | None:
        """The name of the stream that captures ``topic``, or None where it is live."""
        if not self._streams:
            return None
        try:
            return self._captured[topic]
        except KeyError:
            return self._find(topic)

    def under(self, topic_filter: str) -> tuple[str, ...]:
        """The names of the streams of which ``topic_filter`` may match something, in configured order."""
        return tuple(each.name for each in self._streams.values() if intersects(each.filter, topic_filter))

    def _find(self, topic: str) -> str | None:
        if len(self._captured) >= _CACHED_TOPICS:
            self._captured.clear()
        found = next((each.name for each in self._streams.values() if matches(each.filter, topic)), None)
        self._captured[topic] = found
        return found


class Kept(NamedTuple):
    """What retention wants to know of a publication: its bytes, and its time in ms since 1970."""

    size: int
    time: int


class Surplus(NamedTuple):
    """The oldest ``messages`` publications, ``size`` bytes together, are more than may be kept."""

    messages: int
    size: int


def surplus(
    limits: StreamConfiguration, oldest: Iterable[Kept], *, messages: int, size: int, now: int
) -> Surplus:
    """What a log of ``messages`` publications and ``size`` bytes must let go at ``now`` (ms since 1970).

    Nothing goes that may stay. The newest publication never goes for count or bytes, only for age: it has
    just been accepted, and those who follow the log must get to see it.

    Args:
        limits: of the stream.
        oldest: its publications, the oldest first; no more of them are taken than go, and one.
        messages: how many there are in all.
        size: their bytes.
        now: the time to reckon ages from.
    """
    oldest_time = now - limits.max_age * 1000
    gone = gone_size = 0
    for each in oldest:
        remaining = messages - gone
        too_many = remaining > limits.max_messages or size - gone_size > limits.max_bytes
        if each.time >= oldest_time and not (too_many and remaining > 1):
            break
        gone += 1
        gone_size += each.size
    return Surplus(gone, gone_size)
