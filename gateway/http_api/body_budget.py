"""How many bytes of unfinished and unanswered bodies the requests of a node hold together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from anyio import CancelScope

from gateway.engine.metrics.refusals import Refusals

if TYPE_CHECKING:
    from types import TracebackType


class BodyBudget:
    """A sum for all bodies of one kind. Beyond it the one that has been coming for longest gives way.

    Not the newest: an honest body is whole within moments, and those who send slowly on purpose are always
    the oldest.

    Attributes:
        bytes: held now.
    """

    def __init__(self, most: int = 0, *, name: str = "body_bytes", refusals: Refusals | None = None) -> None:
        """Hold at most ``most`` bytes, 0: any number; refusals are counted as ``name``."""
        self._most = most
        self._name = name
        self._refusals = refusals or Refusals()
        self._bodies: dict[HeldBody, None] = {}
        self.bytes = 0

    def begin(self) -> HeldBody:
        """Return what counts one body, for a ``with`` around all that is done with it."""
        return HeldBody(self)

    def add(self, body: HeldBody, size: int) -> None:
        """``body`` has grown by ``size``."""
        self._bodies[body] = None
        self.bytes += size
        while self._most and self.bytes > self._most and self._bodies:
            oldest = next(iter(self._bodies))
            self._refusals.count(self._name)
            oldest.give_way()

    def remove(self, body: HeldBody, size: int) -> None:
        """``body``, of ``size`` bytes, is not held any more; idempotent."""
        if body in self._bodies:
            del self._bodies[body]
            self.bytes -= size


class HeldBody:
    """One body as it is counted.

    Attributes:
        evicted: it had to give way; whoever waits for more of it is cancelled.
    """

    __slots__ = ("_budget", "_scope", "_size", "evicted")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._scope = CancelScope()
        self._size = 0
        self.evicted = False

    def grow(self, size: int) -> None:
        """More of it has come; perhaps after it had to give way, before its reader was told."""
        if self.evicted:
            return
        self._size += size
        self._budget.add(self, size)

    def give_way(self) -> None:
        """Let go of it."""
        self._budget.remove(self, self._size)
        self.evicted = True
        self._scope.cancel()

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._budget.remove(self, self._size)
        return self._scope.__exit__(kind, error, traceback)
