"""The shapes of wildcard filters, which bound what matching a topic costs.

A filter's shape is where it has names, where ``+``, and whether it ends in ``#``: ``a/+/c`` and ``x/+/z``
have the same one. For a given topic a shape leaves no choice: at most one filter of each shape matches it,
and at each depth of a trie it agrees with at most one node for each beginning of a shape. So however many
filters there are, and whatever their names, a match visits no more nodes than their shapes have different
beginnings.

Up to ``ALWAYS_LEVELS`` levels there are few shapes, and all are taken. Longer ones, of which there are
billions, are taken up to a budget: nobody who means well needs more than a few. Without it some thousand
filters with ``+`` here and there in 32 levels hold a node up for milliseconds with every new topic.
"""

from __future__ import annotations

import re

ALWAYS_LEVELS = 7
"""So many levels a filter may have whatever its shape: together they have no more than 254 beginnings."""

_NAME = re.compile("[^/+#]+")


def shape_of(topic_filter: str) -> str:
    """The filter without its names."""
    return _NAME.sub("", topic_filter)


class Shapes:
    """The shapes of more than ``ALWAYS_LEVELS`` levels that filters have now.

    Attributes:
        beginnings: how many different beginnings they have.
    """

    __slots__ = ("_beginnings", "_filters", "_most")

    def __init__(self, most: int | None) -> None:
        """Take shapes with up to ``most`` different beginnings; None: any."""
        self._most = most
        self._filters: dict[str, int] = {}
        self._beginnings: dict[str, int] = {}

    @property
    def beginnings(self) -> int:
        """How many different beginnings there are."""
        return len(self._beginnings)

    def admit(self, topic_filter: str) -> bool:
        """Whether a further filter like ``topic_filter`` may come."""
        if self._most is None or not _is_counted(topic_filter):
            return True
        shape = shape_of(topic_filter)
        if shape in self._filters:
            return True
        new = sum(each not in self._beginnings for each in _beginnings(shape))
        return len(self._beginnings) + new <= self._most

    def add(self, topic_filter: str) -> None:
        """One more filter."""
        if self._most is None or not _is_counted(topic_filter):
            return
        shape = shape_of(topic_filter)
        filters = self._filters.get(shape, 0)
        self._filters[shape] = filters + 1
        if not filters:
            for each in _beginnings(shape):
                self._beginnings[each] = self._beginnings.get(each, 0) + 1

    def remove(self, topic_filter: str) -> None:
        """One filter less; it was added before."""
        if self._most is None or not _is_counted(topic_filter):
            return
        shape = shape_of(topic_filter)
        self._filters[shape] -= 1
        if self._filters[shape]:
            return
        del self._filters[shape]
        for each in _beginnings(shape):
            self._beginnings[each] -= 1
            if not self._beginnings[each]:
                del self._beginnings[each]


def _is_counted(topic_filter: str) -> bool:
    return topic_filter.count("/") >= ALWAYS_LEVELS


def _beginnings(shape: str) -> list[str]:
    """What is there of ``shape`` after each of its levels; ``#`` takes no node."""
    ends = [position for position, character in enumerate(shape) if character == "/"]
    if shape[-1:] != "#":
        ends.append(len(shape))
    return [shape[:end] for end in ends]
