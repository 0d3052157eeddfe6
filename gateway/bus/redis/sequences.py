"""Notices from other nodes' numbers that publications of theirs were lost on the way."""

from __future__ import annotations

_MOST_NODES = 1024


class Sequences:
    """One partition's next expected number per node.

    What is missing of a node after a break in listening was lost in it, and is told when this node listens
    again. Unless that node has come to this server only afterwards: until then it published where this node
    did not listen any more. It says so by a mark, before anything else.
    """

    __slots__ = ("_before", "_next")

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def observe(self, node: str, first: int, count: int) -> int:
        """Take note of ``count`` publications of ``node`` from number ``first`` on.

        Returns:
            How many before them were lost. None of a node that was not heard since the last break: it may
            have published long before this node listened.
        """
        # Taken out and put back, so the dictionary's order says who was silent longest.
        expected = self._next.pop(node, first)
        # Never back: after one that comes late, by another server, the next one would look like a loss.
        self._remember(node, max(expected, first + count))
        return max(0, first - expected)

    def mark(self, node: str, following: int, *, unconfirmed: int, moved: bool) -> int | None:
        """Take note that ``node`` has come to the server that this node listens to.

        Args:
            node: whose next publication comes by this server, as the last ones before it may not have.
            following: that publication's number.
            unconfirmed: how many before it need not be told, since their publishers know.
            moved: it published by another server before.

        Returns:
            How many were lost, a break before included; None where some may have been, and nobody knows.
        """
        expected = self._next.pop(node, None)
        if expected is None:
            expected = self._before.pop(node, None)
        # What was not confirmed its publishers were told of: it may have come or not, and is nobody's loss.
        answered = following - unconfirmed
        self._remember(node, max(expected or 0, following))
        if expected is not None:
            return max(0, answered - expected)
        # Of a node that was here all the time, what was not heard came before anybody here listened.
        return None if moved and answered > 0 else 0

    def interrupt(self) -> None:
        """There was a break in listening; what was lost in it is told otherwise."""
        # Kept apart: the next payload begins anew, but a mark can still be compared with them.
        self._before.update(self._next)
        self._next.clear()
        while len(self._before) > _MOST_NODES:
            del self._before[next(iter(self._before))]

    def forget(self) -> None:
        """Nobody listens any more, so nobody misses anything."""
        self._before.clear()
        self._next.clear()

    def _remember(self, node: str, number: int) -> None:
        if len(self._next) >= _MOST_NODES:
            # Nodes come and go under new names: forget who was silent longest.
            del self._next[next(iter(self._next))]
        self._next[node] = number
