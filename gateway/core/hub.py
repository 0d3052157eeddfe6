"""Fans a publication out to the outboxes of all that subscribe to its topic.

The costs decide the shape. A topic's targets are a flat tuple per wire format, kept as long as no
subscription changes it, so a publication costs two dictionary look-ups to match. Consecutive
publications with the same targets form a run; when it ends its frames are joined once and the shared
bytes appended once to every target. Bounds are accounted per tick for all connections together, which is
an upper bound for each of them; only connections that are not writable are looked at one by one.

What a stream captured comes another way in, ``deliver_captured``, and goes to target lists of its own: live
topics pay nothing for streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.backlog import Offer
from gateway.core.batch import Batch
from gateway.core.commands import Overflow
from gateway.core.hub_facts import HubLimits, HubStatistics
from gateway.core.spill import Spills
from gateway.core.subscription import Subscription
from gateway.core.subscriptions import Subscriptions
from gateway.core.write_queue import WriteQueue
from gateway.errors import NotFound, TooMany

if TYPE_CHECKING:
    from gateway.core.catchup import HistoryReader, SpillReader
    from gateway.core.events import Event
    from gateway.core.outbox import Encoder, Outbox
    from gateway.core.publication import Publication
    from gateway.core.stream_path import StreamPath
    from gateway.core.targets import Targets

__all__ = ["Hub", "HubLimits", "HubStatistics"]


class Hub:
    """All subscriptions of one node, and the way from a publication to the outboxes."""

    def __init__(self, limits: HubLimits | None = None) -> None:
        self._limits = limits or HubLimits()
        self._subscriptions = Subscriptions(
            cached_topics=self._limits.cached_topics, cached_targets=self._limits.cached_targets
        )
        self._match = self._subscriptions.match
        self._targets = self._subscriptions.lists
        self._spills = Spills(self._subscriptions)
        self._run: list[Publication] = []
        self._run_targets: Targets | None = None
        self._run_bytes = 0
        self._tick_bytes = 0
        self._tick_messages = 0
        self._taken_bytes = self._taken_messages = 0  # the tick's, before the last `take_writes`
        self._writes = WriteQueue()
        self._overflowed: list[Outbox] = []
        self._connections: set[Outbox] = set()
        self._blocked: dict[Outbox, None] = {}
        self._published = self._unmatched = self._delivered = 0
        self._dropped = dict.fromkeys(Overflow, 0)

    # Subscriptions

    def attach(self, outbox: Outbox) -> None:
        """Take a connection in; it has no subscription yet."""
        self._connections.add(outbox)

    def detach(self, outbox: Outbox) -> list[str]:
        """Let a connection and its subscriptions go; idempotent.

        Returns:
            The filters in which this was the node's last interest.
        """
        if outbox not in self._connections:
            return []
        self.settle()
        self._connections.discard(outbox)
        self._blocked.pop(outbox, None)
        self._spills.forget(outbox)
        for subscription in outbox.subscriptions.values():
            _end_reader(subscription)
        ended = [each for each in list(outbox.subscriptions) if self._subscriptions.remove(outbox, each)]
        outbox.subscriptions.clear()
        outbox.close()
        return ended

    def subscribe(
        self,
        outbox: Outbox,
        topic_filter: str,
        overflow: Overflow = Overflow.SPILL,
        paths: tuple[StreamPath, ...] = (),
        *,
        live: bool = True,
    ) -> bool:
        """Add a subscription, or replace the options of the one with the same filter.

        Args:
            outbox: an attached connection.
            topic_filter: already parsed.
            overflow: what it loses first when the connection can't take more.
            paths: the streams of which the filter may match something; all of them followed, where ``live``.
            live: it gets publications from now on; otherwise from ``read`` and ``join`` on.

        Returns:
            Whether this is the node's first interest in the filter.

        Raises:
            TooMany: the connection holds as many subscriptions as it may.
        """
        self.settle()
        old = outbox.subscriptions.get(topic_filter)
        if old is None and len(outbox.subscriptions) >= self._limits.subscriptions:
            raise TooMany(f"a connection may hold {self._limits.subscriptions} subscriptions")
        first = self._subscriptions.add(outbox, Subscription(topic_filter, overflow, paths, live=live))
        if old is not None:
            _end_reader(old)
            outbox.release(old)
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
        self.settle()
        subscription = outbox.subscriptions.pop(topic_filter)
        _end_reader(subscription)
        last = self._subscriptions.remove(outbox, topic_filter)
        outbox.release(subscription)
        self._spills.subscriptions_changed(outbox)
        return last

    # Streams

    def read(self, reader: HistoryReader) -> None:
        """A subscription that isn't live has its history read; what is live comes to it with its filter."""
        self.settle()
        reader.subscription.reader = reader
        self._subscriptions.move(reader.outbox, reader.subscription)

    def join(self, outbox: Outbox, subscription: Subscription) -> None:
        """A subscription is live from now on; where it has a reader, that has ended."""
        self.settle()
        _end_reader(subscription)
        subscription.live = True
        self._subscriptions.move(outbox, subscription)
        self._spills.subscriptions_changed(outbox)

    def rejoin(self, outbox: Outbox, path: StreamPath) -> None:
        """A connection that was behind stands where the stream's tail does, and is live on it again."""
        self.settle()
        self._spills.rejoin(outbox, path)

    def interrupt(self, path: StreamPath) -> list[SpillReader]:
        """The stream's tail lost the thread: everyone reads on from where it was, before it restarts.

        Returns:
            The readers that can begin now; the others are parked.
        """
        self.settle()
        return self._spills.leave_all(path)

    def let_go(self, outbox: Outbox) -> bool:
        """Whether a connection that takes nothing may stay, since streams hold all that waits for it.

        Then it keeps its positions only.
        """
        self.settle()
        return self._spills.let_go(outbox)

    # Fan-out

    def deliver(self, publication: Publication) -> bool:
        """Give ``publication`` to every connection that subscribes to its topic, each once; never waits.

        Returns:
            True when this tick has grown to its bound: the caller must then write everything now.
        """
        self._published += 1
        interests = self._match(publication.topic)
        if not interests:
            self._unmatched += 1
            return False
        targets = self._targets.recall(interests) or self._targets.make(interests)
        if (lone := targets.lone) is not None and lone.direct:
            return self._append_to_one(lone, publication)
        return self._extend_run(publication, targets)

    def deliver_captured(self, publication: Publication, path: StreamPath) -> bool:
        """As ``deliver``, for what the tail of a stream brings: to all that are not behind on it."""
        self._published += 1
        interests = self._match(publication.topic)
        if not interests:
            self._unmatched += 1
            return False
        targets = self._subscriptions.targets(interests, path)
        if (lone := targets.lone) is not None and lone.direct:
            return self._append_to_one(lone, publication)
        return self._extend_run(publication, targets)

    def _extend_run(self, publication: Publication, targets: Targets) -> bool:
        if targets is not self._run_targets:
            self.settle()
            self._run_targets = targets
        self._run.append(publication)
        self._run_bytes += len(publication.data or publication.binary or b"") + 128
        return (
            self._tick_bytes + self._run_bytes >= self._limits.tick_bytes
            or self._tick_messages + len(self._run) >= self._limits.tick_messages
        )

    def _append_to_one(self, outbox: Outbox, publication: Publication) -> bool:
        # Without fan-out there is nothing to share: a run of one would cost more than it joins.
        if self._run_targets is not None:
            self.settle()
        frame = publication.frame(outbox.encoder)
        pending = outbox.pending
        if not pending:
            self._writes.fresh.append(outbox)
        pending.append(frame)
        self._delivered += 1
        self._tick_bytes += len(frame)
        self._tick_messages += 1
        return (
            self._tick_bytes >= self._limits.tick_bytes or self._tick_messages >= self._limits.tick_messages
        )

    def settle(self) -> None:
        """End the current run: append its joined frames to every target."""
        targets, run = self._run_targets, self._run
        if targets is None:
            return
        self._run_targets = None
        self._run = []
        self._run_bytes = 0
        self._tick_messages += len(run)
        for encoder, outboxes in targets.groups:
            if len(run) == 1:
                joined = run[0].frame(encoder)
            else:
                joined = b"".join([publication.frame(encoder) for publication in run])
            self._tick_bytes += len(joined)
            behind = self._append(outboxes, joined)
            if behind:
                self._offer(behind, Batch(run, encoder, targets.path), targets)
        if targets.aside:
            self._give_aside(targets.aside, run)
        self._delivered += len(run) * targets.count

    def _append(self, outboxes: tuple[Outbox, ...], joined: bytes) -> list[Outbox]:
        """Give ``joined`` to all that are direct, and return the others."""
        behind: list[Outbox] = []
        touch = self._writes.fresh.append
        for outbox in outboxes:
            if outbox.direct:
                pending = outbox.pending
                if not pending:
                    touch(outbox)
                pending.append(joined)
            else:
                behind.append(outbox)
        return behind

    def _offer(self, behind: list[Outbox], batch: Batch, targets: Targets) -> None:
        # The list may have been found before the run that it follows was settled and left some behind.
        left = () if batch.path is None else batch.path.behind
        for outbox in behind:
            if outbox.closed or outbox in left:
                continue
            subscription = targets.governing(outbox)
            if batch.path is not None and subscription.overflow is Overflow.SPILL:
                queued = outbox.hold(batch, subscription)
                if queued < len(batch):
                    self._spills.leave(outbox, batch.path, (batch.publications[queued].offset or 0) - 1)
            else:
                self._offer_one(outbox, batch, subscription)

    def _offer_one(self, outbox: Outbox, batch: Batch, subscription: Subscription) -> None:
        dropped = outbox.dropped
        if outbox.offer(batch, subscription) is Offer.OVERFLOWED:
            self._dropped[subscription.overflow] += len(batch)
            self._overflowed.append(outbox)
        elif outbox.dropped != dropped:
            self._dropped[subscription.overflow] += outbox.dropped - dropped

    def _give_aside(self, aside: tuple[tuple[Outbox, Subscription], ...], run: list[Publication]) -> None:
        batches: dict[tuple[Encoder, str], Batch] = {}
        for outbox, subscription in aside:
            key = (outbox.encoder, subscription.filter)
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = Batch(run, outbox.encoder, topic_filter=subscription.filter)
            for behind in self._append((outbox,), batch.joined):
                if not outbox.closed:
                    self._offer_one(behind, batch, subscription)

    def connections(self) -> list[tuple[Outbox, list[str]]]:
        """Every connection that subscribes, with its filters; later replies come after what was delivered."""
        self.settle()
        return [(outbox, list(outbox.subscriptions)) for outbox in self._connections if outbox.subscriptions]

    def reply(self, outbox: Outbox, event: Event) -> None:
        """Send one event to one connection."""
        if outbox.reply(event):
            self._writes.fresh.append(outbox)

    # Writing

    @property
    def unwritten(self) -> int:
        """How many connections have pending bytes, an open run's targets not counted."""
        return len(self._writes)

    def take_writes(self, limit: int) -> list[Outbox]:
        """Remove and return the connections that are to be written next, at most ``limit``.

        Once none is left a new tick begins.
        """
        self.settle()
        taken = self._writes.take(limit)
        self._taken_bytes, self._taken_messages = self._tick_bytes, self._tick_messages
        if not self._writes:
            self._tick_bytes = self._tick_messages = 0
        return taken

    def put_back(self, outboxes: list[Outbox]) -> None:
        """Give back what ``take_writes`` has just returned and was not written: the tick goes on."""
        if outboxes:
            self._writes.put_back(outboxes)
            self._tick_bytes, self._tick_messages = self._taken_bytes, self._taken_messages

    def take_overflowed(self) -> list[Outbox]:
        """Remove and return the slow consumers whose policy is to disconnect."""
        overflowed, self._overflowed = self._overflowed, []
        return overflowed

    def block(self, outbox: Outbox, transport_bytes: int, *, now: float) -> None:
        """``outbox``'s transport takes no more; from now on its publications wait."""
        outbox.block(transport_bytes, now=now)
        if outbox in self._connections:
            self._blocked.setdefault(outbox)

    def unblock(self, outbox: Outbox) -> None:
        """``outbox``'s transport takes again; the caller now empties ``Outbox.take``."""
        # A run that was open while the connection was blocked must wait behind what waits already.
        self.settle()
        outbox.unblock()
        self._blocked.pop(outbox, None)

    def blocked_before(self, moment: float) -> list[Outbox]:
        """The connections that have taken nothing since before ``moment``."""
        return [
            outbox
            for outbox in self._blocked
            if outbox.blocked_since is not None and outbox.blocked_since < moment
        ]

    def statistics(self) -> HubStatistics:
        """A snapshot for metrics, health and tests."""
        return HubStatistics(
            connections=len(self._connections),
            subscriptions=self._subscriptions.subscriptions,
            filters=self._subscriptions.filters,
            published=self._published,
            unmatched=self._unmatched,
            delivered=self._delivered,
            dropped=dict(self._dropped),
            blocked=len(self._blocked),
            unwritten=len(self._writes),
            spilled=self._spills.spilled,
            behind=len(self._spills),
        )


def _end_reader(subscription: Subscription) -> None:
    if subscription.reader is not None:
        subscription.reader.ended = True
        subscription.reader = None
