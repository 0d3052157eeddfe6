"""Which connections are to be written next, in slices that keep the event loop responsive.

One fan-out to very many connections must not delay the others: each slice takes half from those that were
touched earlier and half from those touched since, so a small conversation overtakes a large fan-out.
Only writes are ordered here; the order of each connection's frames is fixed when they are appended.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.outbox import Outbox


class WriteQueue:
    """Connections with pending bytes, each at most once.

    Attributes:
        fresh: those touched since the last slice; the hub appends to it directly, once per connection.
    """

    __slots__ = ("_earlier", "fresh")

    def __init__(self) -> None:
        self.fresh: list[Outbox] = []
        self._earlier: deque[Outbox] = deque()

    def __len__(self) -> int:
        return len(self.fresh) + len(self._earlier)

    def take(self, limit: int) -> list[Outbox]:
        """Remove and return at most ``limit`` connections, shared between the earlier and the fresh."""
        earlier, fresh = self._earlier, self.fresh
        if not earlier and len(fresh) <= limit:
            self.fresh = []
            return fresh
        share = max(limit - len(earlier), limit // 2)
        taken = fresh[:share]
        taken += [earlier.popleft() for _ in range(min(limit - len(taken), len(earlier)))]
        earlier.extend(islice(fresh, share, None))
        self.fresh = []
        return taken
