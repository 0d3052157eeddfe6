"""Many topic filters, each with one value: which values match a topic?

Filters without a wildcard are keys of one dictionary, the others form a trie (``filter_trie.py``). Both are
asked once per topic: the answer is remembered (``match_cache.py``), and checked when a wildcard filter has
come or gone since it was last used (``changes.py``).

Whatever the filters and topics: a change costs what one filter has levels, and a match no more than the
filters' shapes allow (``shapes.py``).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.core.topics.changes import Changes
from gateway.core.topics.filter_trie import ABSENT, FilterTrie
from gateway.core.topics.grammar import has_wildcard
from gateway.core.topics.match_cache import MatchCache, Remembered
from gateway.core.topics.shapes import Shapes

V = TypeVar("V", bound=Hashable)

CACHED_BYTES: Final = 64 * 1024 * 1024
"""What answers may take, where nothing else is said."""


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

    Filters and topics are taken as parsed (``topics.py``). Equal answers become one, so values that are equal
    must be able to stand for each other; plain objects are equal to themselves alone.
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
                remembered.since = self._last
                return remembered.answer
            self._invalidated += self._cache.drop(topic)
        self._misses += 1
        found = self._wildcards.match(topic) if self._wildcards.filters else []
        if topic in self._exact:
            found.append(self._exact[topic])
        return self._cache.store(topic, tuple(found), self._last)
