"""The streams that there are, by topic and by filter; and each as this node follows it."""

from __future__ import annotations

import json
from collections import OrderedDict
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING, Final

from gateway.core.messages.commands import Position, Start, StartKind
from gateway.core.topics.grammar import covers, intersects, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.core.streams.recent import TailWindow

_CAPTURED_TOPICS: Final = 65536
_SELECTIONS: Final = 64
_TOPICS: Final = 1024
"""Topics that a selection remembers."""

_PURGES: Final = 64
"""Purges by filter that are told apart; older ones count for every topic."""

_LONGEST_TOPIC: Final = 128
"""Longer topics are matched each time: what is remembered would be bounded in topics alone."""


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
        if len(self._captured) >= _CAPTURED_TOPICS:
            self._captured.clear()
        found = next((each.name for each in self._streams.values() if matches(each.filter, topic)), None)
        self._captured[topic] = found
        return found


class Selection:
    """A filter, asked about topics of one stream; answers are remembered by topic.

    What the stream captures says nothing of what it holds: it may have been configured differently before, or
    still be on another node. So each topic is looked at, also for filters that cover the whole stream.

    Attributes:
        everything: the filter is ``#``, so that no topic needs to be looked at.
    """

    __slots__ = ("_answers", "_filter", "everything")

    def __init__(self, topic_filter: str) -> None:
        self._filter = topic_filter
        self._answers: dict[str, bool] = {}
        # Nothing can be published to what begins with ``$``.
        self.everything = topic_filter == "#"

    def picks(self, topic: str) -> bool:
        """Whether the filter matches ``topic``."""
        answer = self._answers.get(topic)
        if answer is None:
            answer = self.everything or matches(self._filter, topic)
            if len(topic) <= _LONGEST_TOPIC:
                if len(self._answers) >= _TOPICS:
                    self._answers.clear()
                self._answers[topic] = answer
        return answer


class FollowedStream:
    """A stream, as far as this node follows it.

    Attributes:
        name: the stream's.
        filter: the topics that it captures.
        last_values: whether it keeps each topic's last value.
        window: what its tail gave the hub last; None while nobody follows the stream.
    """

    __slots__ = ("_purges", "_selections", "filter", "last_values", "name", "window")

    def __init__(self, configuration: StreamConfiguration) -> None:
        self.name = configuration.name
        self.filter = configuration.filter
        self.last_values = configuration.last_values
        self.window: TailWindow | None = None
        self._selections: OrderedDict[str, Selection] = OrderedDict()
        self._purges: OrderedDict[str, int] = OrderedDict()

    @property
    def tail(self) -> TailWindow:
        """The window, where somebody follows the stream."""
        assert self.window is not None, f"nothing tails {self.name!r}"
        return self.window

    def selection(self, topic_filter: str) -> Selection:
        """What a filter wants of the stream; readers with the same filter share what has been matched."""
        found = self._selections.get(topic_filter)
        if found is None:
            if len(self._selections) >= _SELECTIONS:
                self._selections.popitem(last=False)
            found = self._selections[topic_filter] = Selection(topic_filter)
        return found

    def note_purge(self, topic_filter: str, end: int) -> None:
        """Something on topics of a filter was purged when the log ended at ``end``, or where its tail is."""
        if self.window is not None:
            end = max(end, self.window.last)
        self._purges[topic_filter] = max(end, self._purges.get(topic_filter, 0))
        if len(self._purges) > _PURGES:
            oldest = [self._purges.popitem(last=False)[1] for _ in range(_PURGES // 2)]
            self._purges["#"] = max(*oldest, self._purges.get("#", 0))

    def purged_since(self, topic_filter: str, offset: int) -> bool:
        """Whether a view of a filter that is as of ``offset`` may hold what was purged meanwhile."""
        return any(offset <= end and intersects(purged, topic_filter) for purged, end in self._purges.items())

    def __repr__(self) -> str:
        return f"FollowedStream({self.name!r})"


def may_be_live(topic_filter: str, streams: tuple[FollowedStream, ...]) -> bool:
    """Whether ``topic_filter`` may match topics that none of ``streams``, its streams, captures."""
    return not (streams and any(covers(stream.filter, topic_filter) for stream in streams))


def position_in_window(topic_filter: str, stream: FollowedStream, asked: Position | Start) -> Position | None:
    """Where a subscription begins, if the tail's window shows it; None where the store must be asked.

    Returns:
        The last offset before what it gets.
    """
    window = stream.tail
    match asked:
        case Position(epoch, offset) if epoch == window.epoch and window.held_after <= offset <= window.last:
            return asked
        case Start(StartKind.NEW | StartKind.SNAPSHOT):
            return Position(window.epoch, window.last)
        case Start(StartKind.LAST, count):
            before = _before_newest(topic_filter, stream, count)
            return None if before is None else Position(window.epoch, before)
        case _:
            return None


def _before_newest(topic_filter: str, stream: FollowedStream, count: int) -> int | None:
    """The offset before the newest ``count`` that match, if the window has them and few others among them."""
    window = stream.tail
    if window.last - count < window.held_after or not covers(topic_filter, stream.filter):
        return None
    selection = stream.selection(topic_filter)
    if selection.everything:
        return window.last - count
    looked_at = min(2 * count, len(window))
    for publication in reversed(window.after(window.last - looked_at, looked_at) or ()):
        count -= selection.picks(publication.topic)
        if not count:
            return (publication.offset or 0) - 1
    return None
