"""Fans a publication out to the outboxes of all that subscribe to its topic.

The costs decide the shape. A topic's targets are a flat tuple per wire format, kept as long as no
subscription changes it, so a publication costs two dictionary look-ups to match. From there ``fan_out`` goes
on, with all that follow for the same targets.

What a stream captured comes another way in, ``deliver_captured``, and goes to target lists of its own: live
topics pay nothing for streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.fanout.blocked import Blocked
from gateway.core.fanout.limits import HubLimits, HubStatistics
from gateway.core.fanout.parked import ParkedReaders
from gateway.core.fanout.run import FanOut
from gateway.core.fanout.spill import Spills
from gateway.core.fanout.subscription import Subscription, SubscriptionState
from gateway.core.fanout.subscriptions import Subscriptions
from gateway.core.messages.commands import Overflow
from gateway.errors import NotFound, TooMany

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.catchup.readers import HistoryReader, Reader, Step
    from gateway.core.catchup.spill_reader import SpillReader
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.parked import CatchUp
    from gateway.core.messages.commands import Position
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.stream import FollowedStream

__all__ = ["Hub", "HubLimits", "HubStatistics"]


class Hub:
    """All subscriptions of one node, and the way from a publication to the outboxes."""

    def __init__(self, limits: HubLimits | None = None) -> None:
        self._limits = limits or HubLimits()
        self._subscriptions = Subscriptions(self._limits)
        self._match = self._subscriptions.match
        self._targets = self._subscriptions.lists
        self._parked = ParkedReaders()
        self._spills = Spills(self._subscriptions, self._parked)
        self._blocked = Blocked(self._spills)
        self._fan_out = FanOut(self._limits, self._blocked)
        self._connections: set[Outbox] = set()
        self._published = self._unmatched = 0

    # Subscriptions

    def attach(self, outbox: Outbox) -> None:
        """Take a connection in; it has no subscription yet."""
        self._connections.add(outbox)

    def detach(self, outbox: Outbox) -> list[str]:
        """Let a connection go; idempotent. It gets nothing more, and its subscriptions go with ``let_leave``.

        Returns:
            As ``let_leave``: the first of them have gone at once.
        """
        if outbox not in self._connections:
            return []
        self.flush_run()
        self._connections.discard(outbox)
        self._blocked.remove(outbox)
        # Before its subscriptions are put away: the lists that it was left out of are found by them.
        self._spills.forget(outbox)
        self._subscriptions.leave(outbox)
        outbox.close()
        # After the close, from which on nothing is parked for it any more.
        self._parked.take(outbox)
        return self.let_leave()

    @property
    def leaving(self) -> bool:
        """Whether subscriptions of connections that have gone are still there."""
        return self._subscriptions.leaving

    def let_leave(self) -> list[str]:
        """Remove the next subscriptions of connections that have gone, so many that it does not take long.

        Returns:
            The filters in which they were the node's last interest.
        """
        self.flush_run()
        ended = self._subscriptions.let_leave()
        self._targets.tidy()
        return ended

    def subscribe(
        self,
        outbox: Outbox,
        topic_filter: str,
        overflow: Overflow = Overflow.SPILL,
        streams: tuple[FollowedStream, ...] = (),
        *,
        live: bool = True,
    ) -> bool:
        """Add a subscription, or replace the options of the one with the same filter.

        Args:
            outbox: an attached connection.
            topic_filter: already parsed.
            overflow: what it loses first when the connection can't take more.
            streams: those of which the filter may match something; all of them followed, where ``live``.
            live: it gets publications from now on; otherwise from ``read`` and ``join`` on.

        Returns:
            Whether this is the node's first interest in the filter.

        Raises:
            TooMany: the connection holds as many subscriptions as it may.
            TooManyShapes: the filter would make matching too expensive.
        """
        self.flush_run()
        state = SubscriptionState.LIVE if live else SubscriptionState.WAITING
        old = outbox.subscriptions.get(topic_filter)
        if old is None:
            if len(outbox.subscriptions) >= self._limits.subscriptions:
                raise TooMany(f"a connection may hold {self._limits.subscriptions} subscriptions")
            self._subscriptions.check(outbox, topic_filter)
        new = Subscription(topic_filter, overflow, streams, state=state)
        first = self._subscriptions.add(outbox, new)
        self._targets.tidy()
        if old is not None:
            new.given = old.given
            old.end_reader()
            # After the new one has taken its place: what waited for the old one is the new one's to get.
            outbox.discard(old, self._subscriptions.matching(outbox))
        if outbox in self._spills.readers:
            self._spills.subscriptions_changed(outbox)
        return first

    def unsubscribe(self, outbox: Outbox, topic_filter: str) -> bool:
        """End a subscription; what waits for it alone is let go.

        Returns:
            Whether this was the node's last interest in the filter.

        Raises:
            NotFound: the connection holds no subscription with this filter.
        """
        if topic_filter not in outbox.subscriptions:
            raise NotFound(f"not subscribed to {topic_filter!r}")
        self.flush_run()
        subscription = outbox.subscriptions.pop(topic_filter)
        subscription.end_reader()
        last = self._subscriptions.remove(outbox, topic_filter)
        self._targets.tidy()
        outbox.discard(subscription, self._subscriptions.matching(outbox))
        if outbox in self._spills.readers:
            self._spills.subscriptions_changed(outbox)
        return last

    # Streams

    def read(self, outbox: Outbox, subscription: Subscription, reader: HistoryReader) -> None:
        """A subscription that isn't live has its history read; what is live comes to it with its filter."""
        self.flush_run()
        subscription.read(reader)
        self._subscriptions.move(outbox, subscription)
        self._targets.tidy()

    def may_join(self, outbox: Outbox, reader: HistoryReader, step: Step) -> bool:
        """Whether all streams of a subscription can join the live path now, in one step.

        Not while the connection itself has spilled from one of them: what it still has to get without a
        filter would come to this subscription a second time.
        """
        spilled = self._spills.readers.get(outbox)
        return len(step.level) == len(reader.positions) and (
            spilled is None or spilled.positions.keys().isdisjoint(reader.positions)
        )

    def join(self, outbox: Outbox, subscription: Subscription) -> None:
        """A subscription is live from now on; where it has a reader, that has ended."""
        self.flush_run()
        subscription.go_live()
        self._subscriptions.move(outbox, subscription)
        self._targets.tidy()
        if outbox in self._spills.readers:
            self._spills.subscriptions_changed(outbox)

    def begin_live(
        self, outbox: Outbox, subscription: Subscription, earlier: Subscription | None = None
    ) -> dict[FollowedStream, Position]:
        """The positions before what ``subscription``, live from now on, gets of its streams.

        Args:
            outbox: its connection.
            subscription: has just joined; all of its streams are followed.
            earlier: the live one that it replaced: what waits for that comes to this one.
        """
        return self._spills.begin_live(outbox, subscription, earlier)

    def spill_reader(self, outbox: Outbox) -> SpillReader | None:
        """What reads on for the live subscriptions of ``outbox`` in streams that it spilled from, or None."""
        return self._spills.readers.get(outbox)

    def park(self, outbox: Outbox, reader: Reader) -> None:
        """Keep ``reader`` until ``outbox`` is direct again and ``take_parked`` gives it back."""
        self._parked.park(outbox, reader)

    def has_parked(self, outbox: Outbox) -> bool:
        """Whether readers wait until ``outbox`` is direct again."""
        return outbox in self._parked

    def take_parked(self, outbox: Outbox) -> list[CatchUp]:
        """Remove and return the readers that were parked for ``outbox``."""
        return self._parked.take(outbox)

    def rejoin(self, outbox: Outbox, stream: FollowedStream) -> None:
        """A connection that had spilled stands where the stream's tail does, and is live on it again."""
        self.flush_run()
        self._spills.rejoin(outbox, stream)

    def interrupt(self, stream: FollowedStream) -> list[CatchUp]:
        """The stream's tail lost the thread: everyone reads on from where it was, before it restarts.

        Returns:
            The readers that can begin now; the others are parked.
        """
        self.flush_run()
        return self._spills.leave_all(stream)

    def release(self, outbox: Outbox) -> bool:
        """Whether a connection that takes nothing may stay, since streams hold all that waits for it.

        Then it keeps its positions only.
        """
        self.flush_run()
        return self._spills.release(outbox)

    # Fan-out

    def deliver(self, publication: Publication) -> bool:
        """Give ``publication`` to every connection that subscribes to its topic, each once; never waits.

        Returns:
            True when this tick has grown to its bound: the caller must then write everything now.
        """
        self._published += 1
        entries = self._match(publication.topic)
        if not entries:
            self._unmatched += 1
            return False
        targets = self._targets.recall(entries) or self._targets.make(entries)
        if (only_target := targets.only_target) is not None and only_target.direct:
            return self._fan_out.deliver_one(only_target, publication)
        return self._fan_out.deliver(publication, targets)

    def deliver_captured(self, publication: Publication, stream: FollowedStream) -> bool:
        """As ``deliver``, for what the tail of a stream brings: to all that are in its live path."""
        self._published += 1
        entries = self._match(publication.topic)
        if not entries:
            self._unmatched += 1
            return False
        targets = self._targets.recall((stream, entries)) or self._targets.make(
            entries, stream, without=self._spills.spilled.get(stream, ())
        )
        if (only_target := targets.only_target) is not None and only_target.direct:
            return self._fan_out.deliver_one(only_target, publication)
        return self._fan_out.deliver(publication, targets)

    def reads_on(self, outbox: Outbox) -> Mapping[FollowedStream, Position]:
        """Where ``outbox`` is in the streams that it reads on from: it was too slow for their live path."""
        reader = self._spills.readers.get(outbox)
        return {} if reader is None else reader.positions

    def flush_run(self) -> None:
        """End the current run: append its joined frames to every target."""
        self._fan_out.flush_run()

    def views(self, stream: FollowedStream, topic_filter: str) -> list[tuple[Outbox, Subscription]]:
        """See ``Subscriptions.views``; later replies come after what was delivered."""
        self.flush_run()
        return self._subscriptions.views(stream, topic_filter)

    def connections(self) -> list[tuple[Outbox, list[str]]]:
        """Every connection that subscribes, with its filters; later replies come after what was delivered."""
        self.flush_run()
        return [(outbox, list(outbox.subscriptions)) for outbox in self._connections if outbox.subscriptions]

    def reply(self, outbox: Outbox, event: Event) -> None:
        """Send one event to one connection."""
        self._fan_out.reply(outbox, event)

    # Writing

    @property
    def unwritten(self) -> int:
        """How many connections have pending bytes, an open run's targets not counted."""
        return self._fan_out.unwritten

    @property
    def delivered(self) -> int:
        """Publications times the connections that were given them, an open run not counted."""
        return self._fan_out.delivered

    def take_writes(self, limit: int) -> list[Outbox]:
        """Remove and return the connections that are to be written next, at most ``limit``.

        Once none is left a new tick begins.
        """
        return self._fan_out.take(limit)

    def put_back(self, outboxes: list[Outbox]) -> None:
        """Give back what ``take_writes`` has just returned and was not written: the tick goes on."""
        self._fan_out.put_back(outboxes)

    def take_overflowed(self) -> list[Outbox]:
        """Remove and return the slow consumers whose policy is to disconnect."""
        # Asked after each slice that was written, and nearly always there is none.
        return self._blocked.take_overflowed() if self._blocked.overflowed else []

    def block(self, outbox: Outbox, transport_bytes: int, *, now: float) -> None:
        """``outbox``'s transport takes no more; from now on its publications wait."""
        outbox.block(transport_bytes, now=now)
        if outbox in self._connections:
            self._blocked.add(outbox)

    def unblock(self, outbox: Outbox) -> None:
        """``outbox``'s transport takes again; the caller now empties ``Outbox.take``."""
        # A run that was open while the connection was blocked must wait behind what waits already.
        self.flush_run()
        outbox.unblock()
        self._blocked.remove(outbox)

    def blocked_before(self, moment: float) -> list[Outbox]:
        """The connections that have taken nothing since before ``moment``."""
        return self._blocked.before(moment)

    def statistics(self) -> HubStatistics:
        """A snapshot for metrics, health and tests."""
        index = self._subscriptions.statistics()
        return HubStatistics(
            connections=len(self._connections),
            subscriptions=self._subscriptions.subscriptions,
            filters=index.filters,
            index=index,
            target_list_bytes=self._targets.bytes,
            published=self._published,
            unmatched=self._unmatched,
            delivered=self._fan_out.delivered,
            delivered_bytes=self._fan_out.delivered_bytes,
            dropped=dict(self._blocked.dropped),
            blocked=len(self._blocked),
            unwritten=self._fan_out.unwritten,
            spills=self._spills.spills,
            spilled=len(self._spills),
        )
