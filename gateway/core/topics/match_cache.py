"""Which answer each recently matched topic had, bounded in topics and in bytes.

An answer is remembered with the number of the last change of the filters up to which it is known to hold
(``changes.py``). Equal answers are one tuple while any cached topic has them, so that whoever derives
something from an answer may key it by the answer.

Topics and answers are the clients' to choose, hundreds of bytes each: sizes are estimates that a test holds
against what the memory really is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

V = TypeVar("V", bound=Hashable)

_TOPIC_BYTES: Final = 260
"""What a cached topic takes, besides its text: its place in the dictionary, and the answer's bearer."""

_ANSWER_BYTES: Final = 320
"""What a distinct answer takes, besides its values."""

_VALUE_BYTES: Final = 120
"""What a value in an answer takes: its place, and what is left of one that has gone from the index."""


class Remembered(Generic[V]):
    """A topic's answer, and up to which change it is known to hold."""

    __slots__ = ("answer", "since")

    def __init__(self, answer: tuple[V, ...], since: int) -> None:
        self.answer = answer
        self.since = since


class MatchCache(Generic[V]):
    """Topic → answer; the one cached first goes first.

    Attributes:
        answers: by topic. Read by its owner, changed here alone.
        bytes: about how large everything is.
        touched: topics that came and went since the start.
    """

    __slots__ = ("_interned", "_most_bytes", "_topics", "_uses", "answers", "bytes", "touched")

    def __init__(self, topics: int, most_bytes: int) -> None:
        """Keep at most ``topics`` topics, at least 1, and about ``most_bytes``, though always one topic."""
        if topics < 1:
            raise ValueError(f"topics {topics!r}: must be at least 1")
        self._topics = topics
        self._most_bytes = most_bytes
        # A plain dict would search its dead front for the oldest.
        self.answers: OrderedDict[str, Remembered[V]] = OrderedDict()
        self._interned: dict[tuple[V, ...], tuple[V, ...]] = {}
        self._uses: dict[int, int] = {}
        self.bytes = self.touched = 0

    @property
    def distinct_answers(self) -> int:
        """How many different answers the cached topics have, the empty one aside."""
        return len(self._interned)

    def store(self, topic: str, answer: tuple[V, ...], since: int) -> tuple[V, ...]:
        """Cache the answer of a topic that has none; return the tuple that equal answers share.

        What there is no room for any more has gone before.
        """
        self._make_room(topic, answer)
        if answer:
            answer = self._interned.setdefault(answer, answer)
            uses = self._uses.get(id(answer), 0)
            self._uses[id(answer)] = uses + 1
            if not uses:
                self.bytes += _size_of_answer(answer)
        self.answers[topic] = Remembered(answer, since)
        self.bytes += _size_of_topic(topic)
        self.touched += 1
        return answer

    def drop(self, topic: str) -> bool:
        """Forget the answer of ``topic``; return whether there was one."""
        remembered = self.answers.pop(topic, None)
        if remembered is None:
            return False
        self._forget_answer(topic, remembered.answer)
        return True

    def _make_room(self, topic: str, answer: tuple[V, ...]) -> None:
        # As if the answer were a new one: whether it is, what goes first may decide.
        room = self._most_bytes - _size_of_topic(topic) - _size_of_answer(answer)
        while self.answers and (len(self.answers) >= self._topics or self.bytes > room):
            oldest, remembered = self.answers.popitem(last=False)
            self._forget_answer(oldest, remembered.answer)

    def _forget_answer(self, topic: str, answer: tuple[V, ...]) -> None:
        self.touched += 1
        self.bytes -= _size_of_topic(topic)
        if not answer:
            return
        uses = self._uses[id(answer)] - 1
        if uses:
            self._uses[id(answer)] = uses
        else:
            self.bytes -= _size_of_answer(answer)
            del self._uses[id(answer)], self._interned[answer]


def _size_of_topic(topic: str) -> int:
    return _TOPIC_BYTES + topic.__sizeof__()


def _size_of_answer(answer: tuple[V, ...]) -> int:
    return _ANSWER_BYTES + _VALUE_BYTES * len(answer) if answer else 0
