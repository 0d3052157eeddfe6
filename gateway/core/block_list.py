"""Subjects that may not connect for a while."""

from __future__ import annotations

from gateway.errors import TooMany


class BlockList:
    """Subjects and until when they are blocked; times are the caller's, in one unit.

    It holds ``entries`` at most. Rather than let a blocked subject in again it refuses to take one more.
    """

    def __init__(self, *, entries: int = 10_000) -> None:
        self._entries = entries
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def block(self, subject: str, until: float, *, now: float) -> None:
        """Block ``subject``; the last word counts, so an earlier ``until`` shortens a block.

        Raises:
            TooMany: the list is full of blocks that still count.
        """
        if subject not in self._until and len(self._until) >= self._entries:
            self._until = {name: end for name, end in self._until.items() if end > now}
            if len(self._until) >= self._entries:
                raise TooMany(f"{self._entries} subjects are blocked already, which is the most")
        self._until[subject] = until

    def blocked(self, subject: str, now: float) -> bool:
        """Whether ``subject`` is blocked; a block that is over is forgotten."""
        until = self._until.get(subject)
        if until is None:
            return False
        if until <= now:
            del self._until[subject]
            return False
        return True
