"""One session's interest in one topic filter, and which of several governs a publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.messages.commands import Overflow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.catchup.readers import HistoryReader
    from gateway.core.messages.commands import Position
    from gateway.core.streams.stream import FollowedStream

# docs/protocol.md, "Overflow": the subscription that loses least governs. What no stream holds cannot
# spill, so there `spill` stands beside `drop_oldest`.
_PRECEDENCE = {
    Overflow.DISCONNECT: 0,
    Overflow.SPILL: 1,
    Overflow.DROP_OLDEST: 1,
    Overflow.DROP_NEWEST: 2,
    Overflow.LATEST: 3,
}
# What a stream holds can spill, and then nothing is lost at all.
_CAPTURED_PRECEDENCE = _PRECEDENCE | {Overflow.SPILL: -1}


class Subscription:
    """A filter and its overflow policy, as one connection holds it.

    Attributes:
        filter: the valid topic filter.
        overflow: what is lost first while the connection can't take more.
        paths: the streams of which the filter may match something.
        live: it is in the live path; until then it waits for its streams, or ``reader`` reads its history.
        reader: who reads its history, or None.
        since: where it began in its streams, if publications waited for its connection then, or None.
        dropped: publications lost that no ``gap`` has told yet.
    """

    __slots__ = ("dropped", "filter", "live", "overflow", "paths", "reader", "since")

    def __init__(
        self,
        topic_filter: str,
        overflow: Overflow,
        paths: tuple[FollowedStream, ...] = (),
        *,
        live: bool = True,
    ) -> None:
        self.filter = topic_filter
        self.overflow = overflow
        self.paths = paths
        self.live = live
        self.reader: HistoryReader | None = None
        self.since: dict[FollowedStream, Position] | None = None
        self.dropped = 0

    def __repr__(self) -> str:
        return f"Subscription({self.filter!r}, {self.overflow.value})"


def governing(subscriptions: Iterable[Subscription], *, captured: bool = False) -> Subscription:
    """The one whose policy decides over a publication that all of ``subscriptions`` match.

    Equal policies are told apart by their filter, so that the answer doesn't depend on an order.

    Args:
        subscriptions: at least one.
        captured: a stream holds the publication.
    """
    precedence = _CAPTURED_PRECEDENCE if captured else _PRECEDENCE
    return min(subscriptions, key=lambda each: (precedence[each.overflow], each.filter))
