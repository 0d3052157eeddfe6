"""A stream as this node follows it: what its tail gave last, and what readers have matched of it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.core.topics.grammar import covers, matches

if TYPE_CHECKING:
    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.core.streams.recent import TailWindow

_SELECTIONS: Final = 64
_TOPICS: Final = 1024
"""Topics that a selection remembers."""

_LONGEST_TOPIC: Final = 128
"""Longer topics are matched each time: what is remembered would be bounded in topics alone."""


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
        window: what its tail gave the hub last; None while nobody follows the stream.
    """

    __slots__ = ("_selections", "filter", "name", "window")

    def __init__(self, configuration: StreamConfiguration) -> None:
        self.name = configuration.name
        self.filter = configuration.filter
        self.window: TailWindow | None = None
        self._selections: OrderedDict[str, Selection] = OrderedDict()

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

    def __repr__(self) -> str:
        return f"FollowedStream({self.name!r})"


def may_be_live(topic_filter: str, streams: tuple[FollowedStream, ...]) -> bool:
    """Whether ``topic_filter`` may match topics that none of ``streams``, its streams, captures."""
    return not any(covers(stream.filter, topic_filter) for stream in streams)
