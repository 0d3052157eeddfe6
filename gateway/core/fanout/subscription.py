"""One session's interest in one topic filter, and which of several governs a publication."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.core.messages.commands import Overflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


class SubscriptionState(Enum):
    """How far a subscription has come on its way into the live path."""

    WAITING = "waiting"  # it gets nothing: its streams aren't followed yet, or nobody knows where it begins
    READING = "reading"  # a reader gives it its history; what is on live topics comes to it with its filter
    LIVE = "live"  # it gets what its filter matches, as every live subscription of its connection does


# There is no way back. Who is live may lose its place on a stream, but then the connection reads on, for all
# of its live subscriptions at once; and who asks again gets another subscription in place of this one.
TRANSITIONS: Final[Mapping[SubscriptionState, frozenset[SubscriptionState]]] = {
    SubscriptionState.WAITING: frozenset({SubscriptionState.READING, SubscriptionState.LIVE}),
    SubscriptionState.READING: frozenset({SubscriptionState.LIVE}),
    SubscriptionState.LIVE: frozenset(),
}


class Subscription:
    """A filter and its overflow policy, as one connection holds it.

    Attributes:
        filter: the valid topic filter.
        overflow: what is lost first while the connection can't take more.
        streams: the streams of which the filter may match something.
        state: how far it has come.
        reader: who reads its history, while that is its state and it has not ended; else None.
        since: where it began in its streams, if publications waited for its connection then, or None.
        views: it began with a snapshot, so that what it has shows what is there now.
        dropped: publications lost that no ``gap`` has told yet.
        given: the application began it, whatever the client may.
    """

    __slots__ = ("dropped", "filter", "given", "overflow", "reader", "since", "state", "streams", "views")

    def __init__(
        self,
        topic_filter: str,
        overflow: Overflow,
        streams: tuple[FollowedStream, ...] = (),
        *,
        state: SubscriptionState = SubscriptionState.LIVE,
    ) -> None:
        self.filter = topic_filter
        self.overflow = overflow
        self.streams = streams
        self.state = state
        self.reader: HistoryReader | None = None
        self.since: dict[FollowedStream, Position] | None = None
        self.views = False
        self.dropped = 0
        self.given = False

    @property
    def live(self) -> bool:
        """It is in the live path."""
        return self.state is SubscriptionState.LIVE

    @property
    def waiting(self) -> bool:
        """It is in no path yet."""
        return self.state is SubscriptionState.WAITING

    def read(self, reader: HistoryReader) -> None:
        """Get its history from ``reader`` from now on."""
        self._enter(SubscriptionState.READING)
        self.reader = reader

    def go_live(self) -> None:
        """Be in the live path from now on; its reader, if it had one, has ended."""
        self._enter(SubscriptionState.LIVE)
        self.end_reader()

    def end_reader(self) -> None:
        """Nobody wants its history any more."""
        if self.reader is not None:
            self.reader.ended = True
            self.reader = None

    def _enter(self, state: SubscriptionState) -> None:
        assert state in TRANSITIONS[self.state], f"{self!r} is {self.state.value}, and can't be {state.value}"
        self.state = state

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
