"""Which publications of one stream some filters want; answers are remembered by topic.

What the stream captures says nothing of what it holds: it may have been configured differently before, or
still be on another node. So each topic is looked at, also for filters that cover the whole stream.
"""

from __future__ import annotations

from gateway.core.topics import matches

_REMEMBERED = 4096


class Selection:
    """The union of some filters, asked about topics of one stream.

    Attributes:
        everything: one filter is ``#``, so that no topic needs to be looked at.
    """

    __slots__ = ("_answers", "_filters", "everything")

    def __init__(self, filters: tuple[str, ...]) -> None:
        self._filters = filters
        self._answers: dict[str, bool] = {}
        # Nothing can be published to what begins with ``$``.
        self.everything = "#" in filters

    def picks(self, topic: str) -> bool:
        """Whether one of the filters matches ``topic``."""
        answer = self._answers.get(topic)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self.everything or any(matches(each, topic) for each in self._filters)
            self._answers[topic] = answer
        return answer
