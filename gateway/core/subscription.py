"""One session's interest in one topic filter, and which of several governs a publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.commands import Overflow

if TYPE_CHECKING:
    from collections.abc import Iterable

# docs/protocol.md, "Overflow": the subscription that loses least governs. What no stream holds cannot
# spill, so there `spill` stands beside `drop_oldest`.
_PRECEDENCE = {
    Overflow.DISCONNECT: 0,
    Overflow.SPILL: 1,
    Overflow.DROP_OLDEST: 1,
    Overflow.DROP_NEWEST: 2,
    Overflow.LATEST: 3,
}


class Subscription:
    """A filter and its overflow policy, as one connection holds it.

    Attributes:
        filter: the valid topic filter.
        overflow: what is lost first while the connection can't take more.
        dropped: publications lost that no ``gap`` has told yet.
    """

    __slots__ = ("dropped", "filter", "overflow")

    def __init__(self, topic_filter: str, overflow: Overflow) -> None:
        self.filter = topic_filter
        self.overflow = overflow
        self.dropped = 0

    def __repr__(self) -> str:
        return f"Subscription({self.filter!r}, {self.overflow.value})"


def governing(subscriptions: Iterable[Subscription]) -> Subscription:
    """The one whose policy decides over a publication that all of ``subscriptions`` match.

    Equal policies are told apart by their filter, so that the answer doesn't depend on an order.
    """
    return min(subscriptions, key=lambda each: (_PRECEDENCE[each.overflow], each.filter))
