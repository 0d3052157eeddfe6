"""Which answer each recently matched topic had, bounded, with exact invalidation.

When a wildcard filter comes or goes, the cached topics that it matches have to be found, and quickly: anyone
may subscribe again and again. So the cached topics are indexed by what a filter can ask of them: the level at
each position, and how many levels. The topics of a filter are an intersection of such sets, which starts from
the smallest and runs in C. A trie of the topics was turned down: ``devices/+/x`` would visit every device in
it, also where no topic ends in ``x``.

Equal answers are one tuple while any cached topic has them, so that whoever derives something from an answer
may key it by the answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

V = TypeVar("V", bound=Hashable)


class MatchCache(Generic[V]):
    """Topic → answer, at most ``bound`` topics; the one cached first goes first."""

    __slots__ = ("_by_length", "_by_level", "_interned", "_uses", "answers", "bound")

    def __init__(self, bound: int) -> None:
        if bound < 1:
            raise ValueError(f"bound {bound!r}: must be at least 1")
        self.bound = bound
        # Read by its owner, changed here alone. A plain dict would search its dead front for the oldest.
        self.answers: OrderedDict[str, tuple[V, ...]] = OrderedDict()
        self._by_level: list[dict[str, set[str]]] = []
        self._by_length: dict[int, set[str]] = {}
        self._interned: dict[tuple[V, ...], tuple[V, ...]] = {}
        self._uses: dict[int, int] = {}

    @property
    def distinct_answers(self) -> int:
        """How many different answers the cached topics have, the empty one aside."""
        return len(self._interned)

    def store(self, topic: str, answer: tuple[V, ...]) -> tuple[V, ...]:
        """Cache the answer of a topic that has none; return the tuple that equal answers share."""
        if answer:
            answer = self._interned.setdefault(answer, answer)
            self._uses[id(answer)] = self._uses.get(id(answer), 0) + 1
        self.answers[topic] = answer
        self._index(topic)
        return answer

    def evict_oldest(self) -> None:
        """Drop the topic that was cached first."""
        self.drop(next(iter(self.answers)))

    def drop(self, topic: str) -> bool:
        """Forget the answer of ``topic``; return whether there was one."""
        answer = self.answers.pop(topic, None)
        if answer is None:
            return False
        self._let_go(answer)
        self._unindex(topic)
        return True

    def drop_matching(self, topic_filter: str) -> int:
        """Forget the answers of all topics that ``topic_filter`` matches; return how many there were."""
        doomed = set[str]().union(*self._matched(topic_filter.split("/"), system=topic_filter[0] == "$"))
        if len(doomed) * 2 > len(self.answers):
            # One by one, a filter as wide as `#` would hold everything up for a quarter of a second.
            self._keep([item for item in self.answers.items() if item[0] not in doomed])
        else:
            for topic in doomed:
                self.drop(topic)
        return len(doomed)

    def _keep(self, survivors: list[tuple[str, tuple[V, ...]]]) -> None:
        for everything in (self.answers, self._by_level, self._by_length, self._interned, self._uses):
            everything.clear()
        for topic, answer in survivors:
            self.store(topic, answer)

    def _matched(self, levels: list[str], *, system: bool) -> Iterator[set[str]]:
        """The cached topics that a filter of ``levels`` matches, as sets by their number of levels."""
        named = self._with_named_levels(levels)
        if named is None:
            return
        for length in self._matched_lengths(levels, system=system):
            yield set.intersection(*sorted((self._by_length[length], *named), key=len))

    def _matched_lengths(self, levels: list[str], *, system: bool) -> list[int]:
        """The keys of ``_by_length`` under which a filter of ``levels`` finds its topics."""
        sign = -1 if system else 1
        if levels[-1] != "#":
            length = sign * len(levels)
            return [length] if length in self._by_length else []
        return [length for length in self._by_length if length * sign >= len(levels) - 1]

    def _with_named_levels(self, levels: list[str]) -> list[set[str]] | None:
        """Per level that a filter names, the topics that have it there; None if one of them has none."""
        found = []
        for position, level in enumerate(levels):
            if level in ("+", "#"):
                continue
            topics = self._by_level[position].get(level) if position < len(self._by_level) else None
            if topics is None:
                return None
            found.append(topics)
        return found

    def _let_go(self, answer: tuple[V, ...]) -> None:
        if not answer:
            return
        uses = self._uses[id(answer)] - 1
        if uses:
            self._uses[id(answer)] = uses
        else:
            del self._uses[id(answer)], self._interned[answer]

    def _index(self, topic: str) -> None:
        levels = topic.split("/")
        while len(self._by_level) < len(levels):
            self._by_level.append({})
        for level, topics in zip(levels, self._by_level, strict=False):
            _add(topics, level, topic)
        _add(self._by_length, _length(topic, levels), topic)

    def _unindex(self, topic: str) -> None:
        levels = topic.split("/")
        for level, topics in zip(levels, self._by_level, strict=False):
            _discard(topics, level, topic)
        _discard(self._by_length, _length(topic, levels), topic)


def _length(topic: str, levels: list[str]) -> int:
    """How many levels, negative for the topics that no filter beginning with a wildcard matches."""
    return -len(levels) if topic[0] == "$" else len(levels)


K = TypeVar("K", str, int)


def _add(sets: dict[K, set[str]], key: K, topic: str) -> None:
    topics = sets.get(key)
    if topics is None:
        sets[key] = {topic}
    else:
        topics.add(topic)


def _discard(sets: dict[K, set[str]], key: K, topic: str) -> None:
    topics = sets[key]
    topics.discard(topic)
    if not topics:
        del sets[key]
