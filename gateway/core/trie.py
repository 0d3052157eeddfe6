"""Many topic filters, each with one value: which values match a topic?

Filters without a wildcard are keys of one dictionary. The others form a trie by levels, so that a topic
visits only the filters that agree with it so far. Both are asked once per topic: the answer is cached until a
filter that matches the topic comes or goes (``match_cache.py``).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from gateway.core.match_cache import MatchCache
from gateway.core.topics import has_wildcard

V = TypeVar("V", bound=Hashable)


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """What an index holds, and how its cache has done since the start.

    Attributes:
        filters: all of them; ``wildcard_filters`` are those in the trie.
        cached_topics: topics with a cached answer; ``distinct_answers`` of them differ and are not empty.
        hits: matches answered from the cache; ``misses`` were worked out.
        invalidated: answers dropped since a filter that matches their topic came or went.
        evicted: answers dropped since the cache was full.
    """

    filters: int
    wildcard_filters: int
    cached_topics: int
    distinct_answers: int
    hits: int
    misses: int
    invalidated: int
    evicted: int


class FilterIndex(Generic[V]):
    """Many filters, each with one value → the values of those that match a topic.

    Filters and topics are taken as parsed (``topics.py``). Equal answers become one, so values that are equal
    must be able to stand for each other; plain objects are equal to themselves alone.
    """

    __slots__ = ("_cache", "_evicted", "_exact", "_hits", "_invalidated", "_misses", "_recall", "_wildcards")

    def __init__(self, *, cached_topics: int = 65536) -> None:
        """Keep the answers of at most ``cached_topics`` topics, at least 1."""
        self._exact: dict[str, V] = {}
        self._wildcards: _Trie[V] = _Trie()
        self._cache: MatchCache[V] = MatchCache(cached_topics)
        self._recall = self._cache.answers.get
        self._hits = self._misses = self._invalidated = self._evicted = 0

    def __len__(self) -> int:
        return len(self._exact) + self._wildcards.filters

    def __contains__(self, topic_filter: str) -> bool:
        return topic_filter in self._exact or self._wildcards.find(topic_filter) is not _ABSENT

    def get(self, topic_filter: str) -> V | None:
        """The value of exactly this filter, or None."""
        if not has_wildcard(topic_filter):
            return self._exact.get(topic_filter)
        value = self._wildcards.find(topic_filter)
        return None if value is _ABSENT else value

    def insert(self, topic_filter: str, value: V) -> None:
        """Add a filter, or give it another value."""
        if has_wildcard(topic_filter):
            self._wildcards.insert(topic_filter, value)
            self._invalidated += self._cache.drop_matching(topic_filter)
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
            self._invalidated += self._cache.drop_matching(topic_filter)
        else:
            value = self._exact.pop(topic_filter)
            self._invalidated += self._cache.drop(topic_filter)
        return value

    def match(self, topic: str) -> tuple[V, ...]:
        """The values of all filters that match ``topic``, once each.

        Their order is fixed by the filters alone, so topics that match the same filters have equal answers;
        and equal answers are the same tuple while any cached topic has them.
        """
        answer = self._recall(topic)
        if answer is None:
            return self._match_cold(topic)
        self._hits += 1
        return answer

    def statistics(self) -> IndexStatistics:
        """A snapshot for metrics and tests."""
        return IndexStatistics(
            filters=len(self),
            wildcard_filters=self._wildcards.filters,
            cached_topics=len(self._cache.answers),
            distinct_answers=self._cache.distinct_answers,
            hits=self._hits,
            misses=self._misses,
            invalidated=self._invalidated,
            evicted=self._evicted,
        )

    def _match_cold(self, topic: str) -> tuple[V, ...]:
        self._misses += 1
        if len(self._cache.answers) >= self._cache.bound:
            self._cache.evict_oldest()
            self._evicted += 1
        found = self._wildcards.match(topic) if self._wildcards.filters else []
        if topic in self._exact:
            found.append(self._exact[topic])
        return self._cache.store(topic, tuple(found))


class _Absent(Enum):
    ABSENT = 0


_ABSENT: Final = _Absent.ABSENT


class _Node(Generic[V]):
    """Where filters with the same levels so far meet: those that end here, those that go on.

    Attributes:
        children: by the next level's name, None while there are none: most nodes are leaves.
        plus: where the next level is ``+``.
        value: of the filter that ends here.
        rest: of the filter that ends here with ``#``.
    """

    __slots__ = ("children", "plus", "rest", "value")

    def __init__(self) -> None:
        self.children: dict[str, _Node[V]] | None = None
        self.plus: _Node[V] | None = None
        self.value: V | _Absent = _ABSENT
        self.rest: V | _Absent = _ABSENT

    def is_empty(self) -> bool:
        return self.children is None and self.plus is None and self.value is _ABSENT and self.rest is _ABSENT

    def child(self, level: str) -> _Node[V] | None:
        if level == "+":
            return self.plus
        return None if self.children is None else self.children.get(level)

    def grow(self, level: str) -> _Node[V]:
        """The node below at a filter's ``level``, made if it isn't there."""
        node = self.child(level)
        if node is None:
            node = _Node()
            if level == "+":
                self.plus = node
            elif self.children is None:
                self.children = {level: node}
            else:
                self.children[level] = node
        return node

    def cut(self, level: str) -> None:
        """Take off the node below at a filter's ``level``."""
        if level == "+":
            self.plus = None
        elif self.children is not None:
            del self.children[level]
            if not self.children:
                self.children = None


class _Trie(Generic[V]):
    """The wildcard filters. No node is kept that has no filter below it."""

    __slots__ = ("filters", "root")

    def __init__(self) -> None:
        self.filters = 0
        self.root: _Node[V] = _Node()

    def find(self, topic_filter: str) -> V | _Absent:
        path, to_rest = _path(topic_filter)
        node: _Node[V] | None = self.root
        for level in path:
            node = node.child(level) if node is not None else None
        if node is None:
            return _ABSENT
        return node.rest if to_rest else node.value

    def insert(self, topic_filter: str, value: V) -> None:
        path, to_rest = _path(topic_filter)
        node = self.root
        for level in path:
            node = node.grow(level)
        if to_rest:
            self.filters += node.rest is _ABSENT
            node.rest = value
        else:
            self.filters += node.value is _ABSENT
            node.value = value

    def remove(self, topic_filter: str) -> V:
        value = self.find(topic_filter)
        if value is _ABSENT:
            raise KeyError(topic_filter)
        path, to_rest = _path(topic_filter)
        nodes = [self.root]
        for level in path:
            nodes.append(nodes[-1].grow(level))  # none is made: `find` has just been there
        if to_rest:
            nodes[-1].rest = _ABSENT
        else:
            nodes[-1].value = _ABSENT
        self.filters -= 1
        while path and nodes.pop().is_empty():
            nodes[-1].cut(path.pop())
        return value

    def match(self, topic: str) -> list[V]:
        """The values of the filters that match, in an order that the filters alone decide."""
        found: list[V] = []
        nodes = [self.root]
        levels = topic.split("/")
        if topic[0] == "$":
            # MQTT 5.0, 4.7.2: filters that begin with a wildcard don't match topics that begin with `$`.
            first = self.root.child(levels.pop(0))
            nodes = [first] if first is not None else []
        for level in levels:
            nodes = _descend(nodes, level, found)
        for node in nodes:
            if node.rest is not _ABSENT:
                found.append(node.rest)
            if node.value is not _ABSENT:
                found.append(node.value)
        return found


def _descend(nodes: list[_Node[V]], level: str, found: list[V]) -> list[_Node[V]]:
    """One level down from ``nodes``; ``found`` gets what ends in ``#`` before it."""
    below = []
    for node in nodes:
        if node.rest is not _ABSENT:
            found.append(node.rest)
        if node.children is not None:
            child = node.children.get(level)
            if child is not None:
                below.append(child)
        if node.plus is not None:
            below.append(node.plus)
    return below


def _path(topic_filter: str) -> tuple[list[str], bool]:
    """The levels down to the filter's node, and whether the filter ends there with ``#``."""
    path = topic_filter.split("/")
    if path[-1] == "#":
        path.pop()
        return path, True
    return path, False
