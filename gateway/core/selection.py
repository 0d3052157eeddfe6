"""Which publications of one stream some filters want; answers are remembered by topic."""

from __future__ import annotations

from gateway.core.topics import covers, matches

_REMEMBERED = 4096


class Selection:
    """The union of some filters, asked about topics of one stream.

    Attributes:
        everything: one filter covers the whole stream, so that no topic needs to be looked at.
    """

    __slots__ = ("_answers", "_filters", "everything")

    def __init__(self, filters: tuple[str, ...], stream_filter: str) -> None:
        self._filters = filters
        self._answers: dict[str, bool] = {}
        self.everything = any(covers(each, stream_filter) for each in filters)

    def picks(self, topic: str) -> bool:
        """Whether one of the filters matches ``topic``."""
        answer = self._answers.get(topic)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self.everything or any(matches(each, topic) for each in self._filters)
            self._answers[topic] = answer
        return answer
