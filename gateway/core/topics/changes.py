"""Which wildcard filters came or went lately, so that an answer can be checked when it is next needed.

To find all remembered topics that a filter matches, when it comes or goes, costs as much as there are: tens
of thousands, in one turn of the event loop, as often as somebody likes. So nothing is looked for. Every
change has a number, and what is remembered bears the number up to which it is known to hold. The filters
that changed stand in a trie of their own with the number of their last change: a topic's answer holds if no
filter there that matches it has changed since. The trie is bounded; when it is full it begins anew, and
what was not checked since must be worked out again.
"""

from __future__ import annotations

from typing import Final

from gateway.core.topics.filter_trie import FilterTrie

NODES: Final = 2048
"""How large the trie may become: a check visits no more, and letting it go frees no more."""


class Changes:
    """The changes so far, by number.

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
        if self._filters.nodes >= NODES:
            self._before += self._filters.visited
            self._filters = FilterTrie()
            self._begun = self.last
        self.last += 1
        self._filters.insert(topic_filter, self.last)
        return self.last

    def spare(self, topic: str, since: int) -> bool:
        """Whether no filter that matches ``topic`` has changed after the change numbered ``since``."""
        if since < self._begun:
            return False
        return all(number <= since for number in self._filters.match(topic))
