"""Filters in a trie by levels: a topic visits only the filters that agree with it so far.

How many nodes that can be, whatever the topic, is bounded by the filters' shapes (``shapes.py``).
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Final, Generic, TypeVar

V = TypeVar("V", bound=Hashable)


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
