"""Filters in a trie by levels, and the shapes of filters, which bound what matching a topic costs.

A topic visits only the filters that agree with it so far. How many nodes that can be, whatever the topic, the
filters' shapes decide.

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
from collections.abc import Hashable
from enum import Enum
from typing import Final, Generic, TypeVar

V = TypeVar("V", bound=Hashable)

ALWAYS_LEVELS = 7
"""So many levels a filter may have whatever its shape: together they have no more than 254 beginnings."""

_NAME = re.compile("[^/+#]+")


class Absent(Enum):
    """No value: values may be anything else."""

    ABSENT = 0


ABSENT: Final = Absent.ABSENT


class Node(Generic[V]):
    """Where filters with the same levels so far meet: those that end here, those that go on.

    Attributes:
        children: by the next level's name, None while there are none: most nodes are leaves.
        plus: where the next level is ``+``.
        value: of the filter that ends here.
        rest: of the filter that ends here with ``#``.
    """

    __slots__ = ("children", "plus", "rest", "value")

    def __init__(self) -> None:
        self.children: dict[str, Node[V]] | None = None
        self.plus: Node[V] | None = None
        self.value: V | Absent = ABSENT
        self.rest: V | Absent = ABSENT

    def is_empty(self) -> bool:
        """Whether no filter ends here or goes on."""
        return self.children is None and self.plus is None and self.value is ABSENT and self.rest is ABSENT

    def child(self, level: str) -> Node[V] | None:
        """The node below at a filter's ``level``, or None."""
        if level == "+":
            return self.plus
        return None if self.children is None else self.children.get(level)

    def add(self, level: str) -> Node[V]:
        """Make the node below at a filter's ``level``, where there is none."""
        node: Node[V] = Node()
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


class FilterTrie(Generic[V]):
    """Many filters, each with one value. No node is kept that has no filter below it.

    Attributes:
        filters: how many there are.
        nodes: what they take, the root aside.
        visited: nodes that ``match`` has looked at since the start.
    """

    __slots__ = ("filters", "nodes", "root", "visited")

    def __init__(self) -> None:
        self.filters = self.nodes = self.visited = 0
        self.root: Node[V] = Node()

    def find(self, topic_filter: str) -> V | Absent:
        """The value of exactly this filter, or ``ABSENT``."""
        path, to_rest = _path(topic_filter)
        node: Node[V] | None = self.root
        for level in path:
            if node is None:
                return ABSENT
            node = node.child(level)
        if node is None:
            return ABSENT
        return node.rest if to_rest else node.value

    def insert(self, topic_filter: str, value: V) -> None:
        """Add a filter, or give it another value."""
        path, to_rest = _path(topic_filter)
        node = self.root
        for level in path:
            below = node.child(level)
            if below is None:
                below = node.add(level)
                self.nodes += 1
            node = below
        if to_rest:
            self.filters += node.rest is ABSENT
            node.rest = value
        else:
            self.filters += node.value is ABSENT
            node.value = value

    def remove(self, topic_filter: str) -> V:
        """Take a filter out and return its value.

        Raises:
            KeyError: it is not there.
        """
        path, to_rest = _path(topic_filter)
        nodes = [self.root]
        for level in path:
            below = nodes[-1].child(level)
            if below is None:
                raise KeyError(topic_filter)
            nodes.append(below)
        last = nodes[-1]
        value = last.rest if to_rest else last.value
        if value is ABSENT:
            raise KeyError(topic_filter)
        if to_rest:
            last.rest = ABSENT
        else:
            last.value = ABSENT
        self.filters -= 1
        # From the end up to the first node that another filter needs: filters that come and go leave nothing.
        while path and nodes.pop().is_empty():
            nodes[-1].cut(path.pop())
            self.nodes -= 1
        return value

    def match(self, topic: str) -> list[V]:
        """The values of the filters that match, in an order that the filters alone decide."""
        found: list[V] = []
        nodes = [self.root]
        visited = 1
        levels = topic.split("/")
        if topic[0] == "$":
            # MQTT 5.0, 4.7.2: filters that begin with a wildcard don't match topics that begin with `$`.
            first = self.root.child(levels.pop(0))
            nodes = [first] if first is not None else []
        for level in levels:
            nodes = _descend(nodes, level, found)
            if not nodes:
                break
            visited += len(nodes)
        self.visited += visited
        for node in nodes:
            # MQTT 5.0, 4.7.1.2: `#` stands for no level at all too, so `a/#` matches `a`.
            if node.rest is not ABSENT:
                found.append(node.rest)
            if node.value is not ABSENT:
                found.append(node.value)
        return found


def _descend(nodes: list[Node[V]], level: str, found: list[V]) -> list[Node[V]]:
    """One level down from ``nodes``; ``found`` gets what ends in ``#`` before it."""
    below = []
    for node in nodes:
        if node.rest is not ABSENT:
            found.append(node.rest)
        # The name before `+`, everywhere: topics that match the same filters find them in the same order, so
        # that their answers are equal and can be one.
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
        # Only the first of a shape brings beginnings: a match visits the same ones for all others.
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
