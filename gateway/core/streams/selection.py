"""Which publications of one stream a filter wants; answers are remembered by topic.

What the stream captures says nothing of what it holds: it may have been configured differently before, or
still be on another node. So each topic is looked at, also for filters that cover the whole stream.
"""

from __future__ import annotations

from typing import Final

from gateway.core.topics.grammar import matches

_REMEMBERED: Final = 1024
_LONGEST: Final = 128
"""Longer topics are matched each time: what is remembered would be bounded in topics alone."""


class Selection:
    """A filter, asked about topics of one stream.

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
            if len(topic) <= _LONGEST:
                if len(self._answers) >= _REMEMBERED:
                    self._answers.clear()
                self._answers[topic] = answer
        return answer
