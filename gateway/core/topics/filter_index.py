"""Many topic filters, each with one value: which values match a topic?

Filters without a wildcard are keys of one dictionary, the others form a trie. Both are asked once per topic:
the answer is remembered (``MatchCache``), and checked when a wildcard filter has come or gone since it was
last used (``Changes``).

Whatever the filters and topics: a change costs what one filter has levels, and a match no more than the
filters' shapes allow (``filter_trie.py``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.core.topics.filter_trie import ABSENT, FilterTrie, Shapes
from gateway.core.topics.grammar import has_wildcard

V = TypeVar("V", bound=Hashable)

CACHED_BYTES: Final = 64 * 1024 * 1024
"""What answers may take, where nothing else is said."""

_TOPIC_BYTES: Final = 260
"""What a cached topic takes, besides its text: its place in the dictionary, and the answer's bearer."""

_ANSWER_BYTES: Final = 320
"""What a distinct answer takes, besides its values."""

_VALUE_BYTES: Final = 120
"""What a value in an answer takes: its place, and what is left of one that has gone from the index."""

CHANGED_NODES: Final = 2048
"""How large the trie of what changed may become: a check visits no more, and to let it go frees no more."""


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """What an index holds, and how its cache has done since the start.

    Attributes:
        filters: all of them; ``wildcard_filters`` are those in the trie.
        shape_beginnings: what the budget for long filters' shapes is used for.
        cached_topics: topics with a cached answer; ``distinct_answers`` of them differ and are not empty.
        cached_bytes: about how large they are.
        misses: matches that were worked out.
        invalidated: answers dropped since a filter that matches their topic came or went, or so many did that
            it isn't known any more.
        evicted: answers dropped since the cache was full.
        visited: nodes of tries that matches and checks have looked at.
        touched: topics that came into the cache or left it.
    """

    filters: int
    wildcard_filters: int
    shape_beginnings: int
    cached_topics: int
    cached_bytes: int
    distinct_answers: int
    misses: int
    invalidated: int
    evicted: int
    visited: int
    touched: int


class FilterIndex(Generic[V]):
    """Many filters, each with one value → the values of those that match a topic.

    Filters and topics are taken as parsed (``grammar.py``). Equal answers become one, so values that are
    equal must be able to stand for each other; plain objects are equal to themselves alone.
    """

    __slots__ = (
        "_cache",
        "_changes",
        "_exact",
        "_invalidated",
        "_last",
        "_misses",
        "_recall",
        "_shapes",
        "_wildcards",
    )

    def __init__(
        self,
        *,
        cached_topics: int = 65536,
        cached_bytes: int = CACHED_BYTES,
        shape_beginnings: int | None = None,
    ) -> None:
        """Begin empty.

        Args:
            cached_topics: topics whose answers are remembered at most, at least 1.
            cached_bytes: about how large they may be.
            shape_beginnings: the budget for long filters' shapes; None where filters are nobody else's.
        """
        self._exact: dict[str, V] = {}
        self._wildcards: FilterTrie[V] = FilterTrie()
        self._shapes = Shapes(shape_beginnings)
        self._changes = Changes()
        self._cache: MatchCache[V] = MatchCache(cached_topics, cached_bytes)
        self._recall = self._cache.answers.get
        self._last = 0  # the last change's number
        self._misses = self._invalidated = 0

    def __len__(self) -> int:
        return len(self._exact) + self._wildcards.filters

    def __contains__(self, topic_filter: str) -> bool:
        return topic_filter in self._exact or self._wildcards.find(topic_filter) is not ABSENT

    def get(self, topic_filter: str) -> V | None:
        """The value of exactly this filter, or None."""
        if not has_wildcard(topic_filter):
            return self._exact.get(topic_filter)
        value = self._wildcards.find(topic_filter)
        return None if value is ABSENT else value

    def admits(self, topic_filter: str) -> bool:
        """Whether there is room for the shape of ``topic_filter``."""
        return not has_wildcard(topic_filter) or self._shapes.admit(topic_filter)

    def insert(self, topic_filter: str, value: V) -> None:
        """Add a filter that was asked for with ``admits``, or give one another value."""
        if has_wildcard(topic_filter):
            before = self._wildcards.filters
            self._wildcards.insert(topic_filter, value)
            if self._wildcards.filters > before:
                self._shapes.add(topic_filter)
            self._last = self._changes.add(topic_filter)
        else:
            # It matches the topic of its own name alone: no other answer is wrong, and no change is noted.
            self._exact[topic_filter] = value
            self._invalidated += self._cache.drop(topic_filter)

    def remove(self, topic_filter: str) -> V:
        """Take a filter out and return its value.

        Raises:
            KeyError: it is not in the index.
        """
        if has_wildcard(topic_filter):
            value = self._wildcards.remove(topic_filter)
            self._shapes.remove(topic_filter)
            self._last = self._changes.add(topic_filter)
        else:
            value = self._exact.pop(topic_filter)
            self._invalidated += self._cache.drop(topic_filter)
        return value

    def match(self, topic: str) -> tuple[V, ...]:
        """The values of all filters that match ``topic``, once each.

        Their order is fixed by the filters alone, so topics that match the same filters have equal answers;
        and equal answers are the same tuple while any cached topic has them.
        """
        remembered = self._recall(topic)
        if remembered is not None and remembered.since == self._last:
            return remembered.answer
        return self._match_again(topic, remembered)

    def statistics(self) -> IndexStatistics:
        """A snapshot for metrics and tests."""
        cache = self._cache
        return IndexStatistics(
            filters=len(self),
            wildcard_filters=self._wildcards.filters,
            shape_beginnings=self._shapes.beginnings,
            cached_topics=len(cache.answers),
            cached_bytes=cache.bytes,
            distinct_answers=cache.distinct_answers,
            misses=self._misses,
            invalidated=self._invalidated,
            evicted=self._misses - self._invalidated - len(cache.answers),
            visited=self._wildcards.visited + self._changes.visited,
            touched=cache.touched,
        )

    def _match_again(self, topic: str, remembered: Remembered[V] | None) -> tuple[V, ...]:
        if remembered is not None:
            if self._changes.spare(topic, remembered.since):
                # Now it need not be checked again before the next change.
                remembered.since = self._last
                return remembered.answer
            self._invalidated += self._cache.drop(topic)
        self._misses += 1
        found = self._wildcards.match(topic) if self._wildcards.filters else []
        if topic in self._exact:
            found.append(self._exact[topic])
        return self._cache.store(topic, tuple(found), self._last)


class Remembered(Generic[V]):
    """A topic's answer, and the number of the last change up to which it is known to hold."""

    __slots__ = ("answer", "since")

    def __init__(self, answer: tuple[V, ...], since: int) -> None:
        self.answer = answer
        self.since = since


class MatchCache(Generic[V]):
    """Topic → answer, bounded in topics and in bytes; the one cached first goes first.

    Equal answers are one tuple while any cached topic has them, so that whoever derives something from an
    answer may key it by the answer. Topics and answers are the clients' to choose, hundreds of bytes each:
    sizes are estimates that a test holds against what the memory really is.

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
            # Counted by identity, which holds while `_interned` has the tuple: its hash would be worked out
            # anew each time, at the cost of its length.
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


class Changes:
    """Which wildcard filters came or went lately, so that an answer can be checked when it is next needed.

    To find all remembered topics that a filter matches, when it comes or goes, costs as much as there are:
    tens of thousands, in one turn of the event loop, as often as somebody likes. So nothing is looked for.
    Every change has a number, and what is remembered bears the number up to which it is known to hold. The
    filters that changed stand in a trie of their own with the number of their last change: a topic's answer
    holds if no filter there that matches it has changed since. The trie is bounded; when it is full it begins
    anew, and what was not checked since must be worked out again.

    Attributes:
        last: the number of the last one.
    """

    __slots__ = ("_before", "_begun", "_filters", "last")

    def __init__(self) -> None:
        self.last = 0
        self._begun = 0
        self._before = 0
        self._filters: FilterTrie[int] = FilterTrie()

    @property
    def visited(self) -> int:
        """Nodes that checks have looked at since the start."""
        return self._before + self._filters.visited

    def add(self, topic_filter: str) -> int:
        """``topic_filter`` has come or gone; return the change's number."""
        if self._filters.nodes >= CHANGED_NODES:
            self._before += self._filters.visited
            self._filters = FilterTrie()
            # An answer checked before this can't be checked again, since what has changed until now is gone.
            self._begun = self.last
        self.last += 1
        self._filters.insert(topic_filter, self.last)
        return self.last

    def spare(self, topic: str, since: int) -> bool:
        """Whether no filter that matches ``topic`` has changed after the change numbered ``since``."""
        if since < self._begun:
            return False
        return all(number <= since for number in self._filters.match(topic))
