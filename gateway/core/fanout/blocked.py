"""Connections that can't be written now: what waits for them, and which of them are too slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.fanout.backlog import Offer
from gateway.core.messages.commands import Overflow

if TYPE_CHECKING:
    from gateway.core.fanout.batch import Batch
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.spill import Spills
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.fanout.targets import Targets


class Blocked:
    """Looks at each of these connections by itself, under its subscriptions' overflow policies.

    Attributes:
        dropped: by policy, publications that a connection lost.
        overflowed: the slow consumers whose policy is to disconnect, until ``take_overflowed``.
    """

    def __init__(self, spills: Spills) -> None:
        """Make it; who has no room for what a stream brings leaves the stream's live path in ``spills``."""
        self._spills = spills
        # In the order in which they were blocked, and each found at once.
        self._connections: dict[Outbox, None] = {}
        self.overflowed: list[Outbox] = []
        self.dropped = dict.fromkeys(Overflow, 0)

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, outbox: Outbox) -> None:
        """``outbox``'s transport takes no more; one that was here stays in its place."""
        self._connections.setdefault(outbox)

    def remove(self, outbox: Outbox) -> None:
        """``outbox``'s transport takes again, or its connection has ended."""
        self._connections.pop(outbox, None)

    def before(self, moment: float) -> list[Outbox]:
        """The connections that have taken nothing since before ``moment``."""
        return [
            outbox
            for outbox in self._connections
            if outbox.blocked_since is not None and outbox.blocked_since < moment
        ]

    def offer(self, outboxes: list[Outbox], batch: Batch, targets: Targets) -> None:
        """Have ``batch`` wait for those of its ``targets`` that aren't direct."""
        # The list may be older than the run before it, whose end had some leave the stream's live path.
        spilled = () if batch.stream is None else self._spills.spilled.get(batch.stream, ())
        for outbox in outboxes:
            if outbox.closed or outbox in spilled:
                continue
            subscription = targets.governing(outbox)
            if batch.stream is not None and subscription.overflow is Overflow.SPILL:
                queued = outbox.enqueue_prefix(batch, subscription)
                if queued < len(batch):
                    # What follows the last one that waits is the reader's: not one more may be queued, or it
                    # would come twice, and not one less, or nobody would bring it.
                    self._spills.leave(outbox, batch.stream, (batch.publications[queued].offset or 0) - 1)
            else:
                self.offer_one(outbox, batch, subscription)

    def offer_one(self, outbox: Outbox, batch: Batch, subscription: Subscription) -> None:
        """Have ``batch`` wait for ``outbox``, or apply the policy of ``subscription``."""
        # By difference: what is lost is what made room for this batch, and not the batch.
        dropped = outbox.dropped
        if outbox.offer(batch, subscription) is Offer.OVERFLOWED:
            self.dropped[subscription.overflow] += len(batch)
            # Not closed here: a connection that ends changes subscriptions, in the middle of a fan-out.
            self.overflowed.append(outbox)
        elif outbox.dropped != dropped:
            self.dropped[subscription.overflow] += outbox.dropped - dropped

    def take_overflowed(self) -> list[Outbox]:
        """Remove and return the slow consumers whose policy is to disconnect."""
        overflowed, self.overflowed = self.overflowed, []
        return overflowed
