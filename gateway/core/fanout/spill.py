"""Connections that a stream's live path has left behind, and how they come back to it.

A connection that can't take what its streams bring loses nothing: the stream has it. The connection leaves
the stream's live path, with the offset before the first publication that it did not get, and a reader goes on
from there once it can be written again. So does everyone at once where the tail itself lost the thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.core.catchup.readers import SpillReader
from gateway.core.fanout.parked import CatchUp
from gateway.core.fanout.subscriptions import live_filters
from gateway.core.messages.commands import Overflow, Position

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.parked import ParkedReaders
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.fanout.subscriptions import Subscriptions
    from gateway.core.streams.stream import FollowedStream


_NOBODY: frozenset[Outbox] = frozenset()


class Spills:
    """Who is behind on which stream.

    Attributes:
        spilled: how often a connection has left a stream's live path.
    """

    def __init__(self, membership: Subscriptions, parked: ParkedReaders) -> None:
        """Make it; readers of connections that take no more go to ``parked``."""
        self._subscriptions = membership
        self._parked = parked
        self._readers: dict[Outbox, SpillReader] = {}
        self._behind: dict[FollowedStream, set[Outbox]] = {}
        self.spilled = 0

    def __len__(self) -> int:
        return sum(map(len, self._behind.values()))

    def reader(self, outbox: Outbox) -> SpillReader | None:
        """What reads on for the live subscriptions of ``outbox`` where they are behind, or None."""
        return self._readers.get(outbox)

    def behind_on(self, path: FollowedStream) -> AbstractSet[Outbox]:
        """The connections that are out of a stream's live path."""
        return self._behind.get(path, _NOBODY)

    def is_behind(self, outbox: Outbox, paths: Iterable[FollowedStream]) -> bool:
        """Whether ``outbox`` is out of the live path of one of these streams."""
        reader = self._readers.get(outbox)
        return reader is not None and not reader.positions.keys().isdisjoint(paths)

    def begin_live(
        self, outbox: Outbox, subscription: Subscription, earlier: Subscription | None = None
    ) -> dict[FollowedStream, Position]:
        """The positions before what ``subscription``, live from now on, gets of its streams.

        Args:
            outbox: its connection.
            subscription: has just joined; all of its streams are followed.
            earlier: the live one that it replaced: what waits for that comes to this one.
        """
        positions = {path: self._standing(outbox, path, earlier) for path in subscription.paths}
        if any(outbox.first_waiting(path) is not None for path in positions):
            subscription.since = positions
        return positions

    def leave(self, outbox: Outbox, path: FollowedStream, offset: int) -> SpillReader:
        """``outbox`` has the stream up to ``offset``; what follows it will read.

        Where it is behind already, it goes back.
        """
        reader = self._readers.get(outbox)
        if reader is None:
            reader = self._readers[outbox] = SpillReader(
                outbox.encoder,
                filters_of=partial(live_filters, outbox),
                picker_of=partial(self._subscriptions.picker, outbox),
            )
            if not outbox.direct:
                self._parked.park(outbox, reader)
        if path in reader.positions:
            # What waited is older than where it left, so of that epoch.
            epoch = reader.positions[path].epoch
        else:
            epoch = path.tail.epoch
            self._behind.setdefault(path, set()).add(outbox)
            self.spilled += 1
            self._subscriptions.forget_path(outbox, path)
        reader.positions[path] = Position(epoch, offset)
        return reader

    def rejoin(self, outbox: Outbox, path: FollowedStream) -> None:
        """``outbox`` is level with the stream's tail, or has no live subscription on it any more."""
        reader, others = self._readers[outbox], self._behind[path]
        del reader.positions[path]
        others.discard(outbox)
        if not others:
            del self._behind[path]
        self._subscriptions.forget_path(outbox, path)
        if not reader.positions:
            reader.ended = True
            del self._readers[outbox]

    def leave_all(self, path: FollowedStream) -> list[CatchUp]:
        """The tail lost the thread: everyone live on the stream reads on from where the tail was.

        To be called before the window restarts.

        Returns:
            The readers that are new and can begin now.
        """
        last = path.tail.last
        begun: list[CatchUp] = []
        behind = self.behind_on(path)
        for outbox in [each for each in self._subscriptions.live_members(path) if each not in behind]:
            known = outbox in self._readers
            reader = self.leave(outbox, path, last)
            if not known and outbox.direct:
                begun.append(CatchUp(outbox, reader))
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
        reader = self._readers.get(outbox)
        if reader is None:
            return
        reader.subscriptions_changed()
        for path in [each for each in reader.positions if not live_filters(outbox, each)]:
            self.rejoin(outbox, path)

    def forget(self, outbox: Outbox) -> None:
        """``outbox``'s connection has ended."""
        reader = self._readers.get(outbox)
        if reader is not None:
            for path in list(reader.positions):
                self.rejoin(outbox, path)

    def _standing(self, outbox: Outbox, path: FollowedStream, earlier: Subscription | None) -> Position:
        reader = self._readers.get(outbox)
        position = None if reader is None else reader.positions.get(path)
        if position is None:
            position = Position(path.tail.epoch, path.tail.last)
        first = None if earlier is None else outbox.first_waiting(path)
        if earlier is None or first is None:
            return position
        # Some of what waits may be for other subscriptions, from before the earlier one began.
        since = None if earlier.since is None else earlier.since.get(path)
        begun = since.offset if since is not None and since.epoch == position.epoch else 0
        return Position(position.epoch, max(first - 1, begun))
