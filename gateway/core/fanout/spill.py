"""Connections that a stream's live path has left behind, and how they come back to it.

A connection that can't take what its streams bring loses nothing: the stream has it. The connection leaves
the stream's live path, with the offset before the first publication that it did not get, and a reader goes on
from there once it can be written again. So does everyone at once where the tail itself lost the thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.catchup.readers import SpillReader, live_filters
from gateway.core.messages.commands import Overflow, Position

if TYPE_CHECKING:
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.fanout.subscriptions import Subscriptions
    from gateway.core.streams.stream import FollowedStream


def begin_live(
    outbox: Outbox, subscription: Subscription, earlier: Subscription | None = None
) -> dict[FollowedStream, Position]:
    """The positions before what ``subscription``, live from now on, gets of its streams.

    Args:
        outbox: its connection.
        subscription: has just joined; all of its streams are followed.
        earlier: the live one that it replaced: what waits for that comes to this one.
    """
    positions = {path: _standing(outbox, path, earlier) for path in subscription.paths}
    if any(outbox.first_waiting(path) is not None for path in positions):
        subscription.since = positions
    return positions


def _standing(outbox: Outbox, path: FollowedStream, earlier: Subscription | None) -> Position:
    position = None if outbox.spill is None else outbox.spill.positions.get(path)
    if position is None:
        position = Position(path.tail.epoch, path.tail.last)
    first = None if earlier is None else outbox.first_waiting(path)
    if earlier is None or first is None:
        return position
    # Some of what waits may be for other subscriptions, from before the earlier one began.
    since = None if earlier.since is None else earlier.since.get(path)
    begun = since.offset if since is not None and since.epoch == position.epoch else 0
    return Position(position.epoch, max(first - 1, begun))


class Spills:
    """Who is behind on which stream.

    Attributes:
        spilled: how often a connection has left a stream's live path.
    """

    def __init__(self, membership: Subscriptions) -> None:
        self._subscriptions = membership
        self._behind = 0
        self.spilled = 0

    def __len__(self) -> int:
        return self._behind

    def leave(self, outbox: Outbox, path: FollowedStream, offset: int) -> SpillReader:
        """``outbox`` has the stream up to ``offset``; what follows it will read.

        Where it is behind already, it goes back.
        """
        if outbox.spill is None:
            outbox.spill = SpillReader(outbox, self._subscriptions.match)
            if not outbox.direct:
                outbox.spill.park()
        epoch = path.tail.epoch
        if outbox in path.behind:
            # What waited is older than where it left, so of that epoch.
            epoch = outbox.spill.positions[path].epoch
        else:
            path.behind.add(outbox)
            self._behind += 1
            self.spilled += 1
            self._subscriptions.forget_path(outbox, path)
        outbox.spill.positions[path] = Position(epoch, offset)
        return outbox.spill

    def rejoin(self, outbox: Outbox, path: FollowedStream) -> None:
        """``outbox`` is level with the stream's tail, or has no live subscription on it any more."""
        assert outbox.spill is not None
        path.behind.discard(outbox)
        self._behind -= 1
        del outbox.spill.positions[path]
        self._subscriptions.forget_path(outbox, path)
        if not outbox.spill.positions:
            outbox.spill.ended = True
            outbox.spill = None

    def leave_all(self, path: FollowedStream) -> list[SpillReader]:
        """The tail lost the thread: everyone live on the stream reads on from where the tail was.

        To be called before the window restarts.

        Returns:
            The readers that are new and can begin now.
        """
        last = path.tail.last
        begun: list[SpillReader] = []
        for outbox in self._subscriptions.live_members(path):
            known = outbox.spill is not None
            reader = self.leave(outbox, path, last)
            if not known and outbox.direct:
                begun.append(reader)
        return begun

    def let_go(self, outbox: Outbox) -> bool:
        """Have a connection that takes nothing keep its positions only, if streams hold what waits for it.

        Returns:
            Whether they do: the connection may stay.
        """
        subscriptions = outbox.subscriptions.values()
        if not any(each.paths and each.overflow is Overflow.SPILL for each in subscriptions):
            return False
        first = outbox.let_go()
        if first is None:
            return False
        for path, offset in first.items():
            self.leave(outbox, path, offset - 1)
        return True

    def subscriptions_changed(self, outbox: Outbox) -> None:
        """``outbox`` has other live subscriptions than before."""
        if outbox.spill is None:
            return
        outbox.spill.subscriptions_changed()
        for path in [each for each in outbox.spill.positions if not live_filters(outbox, each)]:
            self.rejoin(outbox, path)

    def forget(self, outbox: Outbox) -> None:
        """``outbox``'s connection has ended."""
        if outbox.spill is not None:
            for path in list(outbox.spill.positions):
                self.rejoin(outbox, path)
