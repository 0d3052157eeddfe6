"""What this node has to hear of: its filters on the bus, its streams' tails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.streams.stream import may_be_live

if TYPE_CHECKING:
    import asyncio

    from gateway.bus.base import Bus
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.following.tailing import Tails


class InterestRegistry:
    """The node's interest in each filter that somebody subscribes to, counted once.

    A filter is told to the bus only where it may match live topics, and to the tails of those streams of
    which it may match something.
    """

    def __init__(self, bus: Bus, tails: Tails | None = None) -> None:
        self._bus = bus
        self._tails = tails
        self._awaited: dict[str, asyncio.Future[None]] = {}

    def streams(self, topic_filter: str) -> tuple[FollowedStream, ...]:
        """The streams of which ``topic_filter`` may match something."""
        return () if self._tails is None else self._tails.streams(topic_filter)

    def enter(self, topic_filter: str) -> None:
        """Somebody subscribes with this filter, and nobody did before.

        Raises:
            BusUnavailable: there is no such interest then.
        """
        streams = self.streams(topic_filter)
        # What a stream captures is read from it: the bus is asked only for what may be live.
        if may_be_live(topic_filter, streams):
            asked = self._bus.subscribe(topic_filter)
            if asked is not None:
                self._awaited[topic_filter] = asked
                asked.add_done_callback(lambda _: self._answered(topic_filter, asked))
        if self._tails is not None:
            self._tails.enter(streams)

    def leave(self, topic_filter: str) -> None:
        """Nobody subscribes with this filter any more."""
        streams = self.streams(topic_filter)
        if may_be_live(topic_filter, streams):
            self._bus.unsubscribe(topic_filter)
        if self._tails is not None:
            self._tails.leave(streams)

    def awaited(self, topic_filter: str) -> asyncio.Future[None] | None:
        """The bus's answer, while that is awaited; shared, so not to be cancelled."""
        return self._awaited.get(topic_filter)

    def hears(self, topic_filter: str) -> bool:
        """Whether no publication on a live topic that the filter matches is missed from now on."""
        return not may_be_live(topic_filter, self.streams(topic_filter)) or self._bus.hears(topic_filter)

    def _answered(self, topic_filter: str, asked: asyncio.Future[None]) -> None:
        # The filter may have been given up and asked for again meanwhile.
        if self._awaited.get(topic_filter) is asked:
            del self._awaited[topic_filter]
