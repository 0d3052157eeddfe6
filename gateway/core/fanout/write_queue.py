"""Which connections are to be written next, in slices that keep the event loop responsive.

One fan-out to very many connections must not delay the others: each slice takes half from those that were
touched earlier and half from those touched since, so a small conversation overtakes a large fan-out.
Only writes are ordered here; the order of each connection's frames is fixed when they are appended.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.fanout.outbox import Outbox


class WriteQueue:
    """Connections with pending bytes, each at most once.

    Attributes:
        fresh: those touched since the last slice; the fan-out appends to it directly, once per connection.
    """

    __slots__ = ("_earlier", "_waiting", "fresh")

    def __init__(self) -> None:
        self.fresh: list[Outbox] = []
        # Each from its end: so a fan-out to very many is never walked but for the part that is taken.
        self._earlier: deque[list[Outbox]] = deque()
        self._waiting = 0  # in all of these together

    def __len__(self) -> int:
        return len(self.fresh) + self._waiting

    def take(self, limit: int) -> list[Outbox]:
        """Remove and return at most ``limit`` connections, shared between the earlier and the fresh."""
        earlier, fresh = self._earlier, self.fresh
        self.fresh = []
        if not earlier and len(fresh) <= limit:
            return fresh
        fresh.reverse()
        taken = _pop(fresh, max(limit - self._waiting, limit // 2))
        self._waiting += len(fresh) + len(taken)
        if fresh:
            earlier.append(fresh)
        while earlier and len(taken) < limit:
            taken += _pop(earlier[0], limit - len(taken))
            if not earlier[0]:
                earlier.popleft()
        self._waiting -= len(taken)
        return taken

    def put_back(self, outboxes: list[Outbox]) -> None:
        """Have ``outboxes``, taken and not written, be the first of the earlier ones."""
        self._earlier.appendleft(outboxes[::-1])
        self._waiting += len(outboxes)


def _pop(outboxes: list[Outbox], count: int) -> list[Outbox]:
    """Remove at most ``count`` from the end; the last comes first."""
    taken = outboxes[: -count - 1 : -1]
    del outboxes[len(outboxes) - len(taken) :]
    return taken
