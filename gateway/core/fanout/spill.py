"""Connections that a stream's live path has left behind, and how they come back to it.

A connection that can't take what its streams bring loses nothing: the stream has it. The connection leaves
the stream's live path, with the offset before the first publication that it did not get, and a reader goes on
from there once it can be written again. So does everyone at once where the tail itself lost the thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.core.catchup.spill_reader import SpillReader
from gateway.core.fanout.parked import CatchUp
from gateway.core.fanout.subscriptions import live_filters
from gateway.core.messages.commands import Overflow, Position

if TYPE_CHECKING:
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.parked import ParkedReaders
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.fanout.subscriptions import Subscriptions
    from gateway.core.streams.stream import FollowedStream


class Spills:
    """Who has spilled: which connections have left which streams' live paths.

    Attributes:
        readers: by connection, what reads on for its live subscriptions in the streams that it spilled from.
        spilled: by stream, the connections that are out of its live path.
        spills: how often a connection has left a stream's live path.

    The two mappings are read by others and changed here alone: nearly always they are empty, and who asks
    pays for no call.
    """

    def __init__(self, membership: Subscriptions, parked: ParkedReaders) -> None:
        """Make it; readers of connections that take no more go to ``parked``."""
        self._subscriptions = membership
        self._parked = parked
        self.readers: dict[Outbox, SpillReader] = {}
        self.spilled: dict[FollowedStream, set[Outbox]] = {}
        self.spills = 0

    def __len__(self) -> int:
        return sum(map(len, self.spilled.values()))

    def begin_live(
        self, outbox: Outbox, subscription: Subscription, earlier: Subscription | None = None
    ) -> dict[FollowedStream, Position]:
        """See ``Hub.begin_live``."""
        positions = {stream: self._standing(outbox, stream, earlier) for stream in subscription.streams}
        if any(outbox.first_waiting(stream) is not None for stream in positions):
            subscription.since = positions
        return positions

    def leave(self, outbox: Outbox, stream: FollowedStream, offset: int) -> SpillReader:
        """``outbox`` has the stream up to ``offset``; what follows it will read.

        Where it has left already, it goes back.
        """
        reader = self.readers.get(outbox)
        if reader is None:
            reader = self.readers[outbox] = SpillReader(
                outbox.encoder,
                filters_of=partial(live_filters, outbox),
                picker_of=partial(self._subscriptions.picker, outbox),
            )
            # Where the tail lost the thread the caller has it begin; in a fan-out nobody would but who wakes
            # the parked ones, when the connection takes again.
            if not outbox.direct:
                self._parked.park(outbox, reader)
        if stream in reader.positions:
            # What waited is older than where it left, so of that epoch.
            epoch = reader.positions[stream].epoch
        else:
            epoch = stream.tail.epoch
            self.spilled.setdefault(stream, set()).add(outbox)
            self.spills += 1
            self._subscriptions.forget_stream(outbox, stream)
        reader.positions[stream] = Position(epoch, offset)
        return reader

    def rejoin(self, outbox: Outbox, stream: FollowedStream) -> None:
        """``outbox`` is level with the stream's tail, or has no live subscription on it any more."""
        reader, others = self.readers[outbox], self.spilled[stream]
        del reader.positions[stream]
        others.discard(outbox)
        if not others:
            del self.spilled[stream]
        self._subscriptions.forget_stream(outbox, stream)
        if not reader.positions:
            reader.ended = True
            del self.readers[outbox]

    def leave_all(self, stream: FollowedStream) -> list[CatchUp]:
        """The tail lost the thread: everyone live on the stream reads on from where the tail was.

        To be called before the window restarts.

        Returns:
            The readers that are new and can begin now.
        """
        # What a tail takes in it hands on in the same step: all who are live have had everything up to here.
        last = stream.tail.last
        begun: list[CatchUp] = []
        spilled = self.spilled.get(stream, ())
        for outbox in [each for each in self._subscriptions.live_members(stream) if each not in spilled]:
            known = outbox in self.readers
            reader = self.leave(outbox, stream, last)
            if not known and outbox.direct:
                begun.append(CatchUp(outbox, reader))
        return begun

    def release(self, outbox: Outbox) -> bool:
        """Have a connection that takes nothing keep its positions only, if streams hold what waits for it.

        Returns:
            Whether they do: the connection may stay.
        """
        subscriptions = outbox.subscriptions.values()
        # Without a stream to read it would only be kept open, for nothing that it can still get.
        if not any(each.streams and each.overflow is Overflow.SPILL for each in subscriptions):
            return False
        first = outbox.release()
        if first is None:
            return False
        # Back to before what waited, also where the connection had left that stream already at a later place.
        for stream, offset in first.items():
            self.leave(outbox, stream, offset - 1)
        return True

    def subscriptions_changed(self, outbox: Outbox) -> None:
        """``outbox``, which has a reader, has other live subscriptions than before."""
        reader = self.readers[outbox]
        reader.subscriptions_changed()
        # Whoever wants nothing of a stream any more must not hold its place there: nobody would end it.
        for stream in [each for each in reader.positions if not live_filters(outbox, each)]:
            self.rejoin(outbox, stream)

    def forget(self, outbox: Outbox) -> None:
        """``outbox``'s connection has ended."""
        reader = self.readers.get(outbox)
        if reader is not None:
            for stream in list(reader.positions):
                self.rejoin(outbox, stream)

    def _standing(self, outbox: Outbox, stream: FollowedStream, earlier: Subscription | None) -> Position:
        reader = self.readers.get(outbox)
        position = None if reader is None else reader.positions.get(stream)
        if position is None:
            position = Position(stream.tail.epoch, stream.tail.last)
        first = None if earlier is None else outbox.first_waiting(stream)
        if earlier is None or first is None:
            return position
        # Some of what waits may be for other subscriptions, from before the earlier one began.
        since = None if earlier.since is None else earlier.since.get(stream)
        begun = since.offset if since is not None and since.epoch == position.epoch else 0
        return Position(position.epoch, max(first - 1, begun))
