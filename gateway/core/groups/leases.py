"""Who has what in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.groups.deliveries import TrackedDelivery


class Leases:
    """The offsets that each member has leased.

    Attributes:
        count: of all of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._by_member: dict[str, set[int]] = {}

    def hold(self, delivery: TrackedDelivery) -> None:
        """Its member has it."""
        self.count += 1
        self._by_member.setdefault(delivery.member, set()).add(delivery.offset)

    def let_go(self, delivery: TrackedDelivery) -> None:
        """Its member has it no more."""
        self.count -= 1
        held = self._by_member[delivery.member]
        held.discard(delivery.offset)
        if not held:
            del self._by_member[delivery.member]

    def of(self, member: str) -> list[int]:
        """What ``member`` has, in order."""
        return sorted(self._by_member.get(member, ()))

    def members(self) -> dict[str, int]:
        """Who has leases, and how many."""
        return {member: len(held) for member, held in self._by_member.items()}
