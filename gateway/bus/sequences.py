"""Notices from other nodes' numbers that publications of theirs were lost on the way."""

from __future__ import annotations

_MOST_NODES = 1024


class Sequences:
    """One partition's next expected number per node, since this node listens to it without a break."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def observe(self, node: str, first: int, count: int) -> int:
        """Take note of ``count`` publications of ``node`` from number ``first`` on.

        Returns:
            How many before them were lost. None of a node that was not heard yet: it may have published
            long before this node listened.
        """
        expected = self._next.pop(node, first)
        if len(self._next) >= _MOST_NODES:
            # Nodes come and go under new names: forget who was silent longest.
            del self._next[next(iter(self._next))]
        self._next[node] = max(expected, first + count)
        return max(0, first - expected)

    def forget(self) -> None:
        """There was a break in listening; what was lost in it is told otherwise."""
        self._next.clear()
