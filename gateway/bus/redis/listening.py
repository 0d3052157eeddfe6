"""The way in: one server's connection that listens to partitions, and knows when it did not.

    wanted --confirmed--> subscribed --connection lost, or ended by the server--> missed
      ^                                                                             |
      +--------------- confirmed again, and only then told as a loss ---------------+

A loss is told once everything that is wanted is subscribed again: whoever is told reads on from where it was,
and what comes after that is heard.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.errors import BusUnavailable
from gateway.redis.channels import ChannelState, ChannelSubscription, PushConnection
from gateway.redis.keeping import keep_connected
from gateway.redis.round_trips import AnswerTimeout
from gateway.redis.wire import MESSAGES, SUBSCRIBED, UNSUBSCRIBED, CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.bus.redis.inbox import Inbox
    from gateway.bus.redis.interruptible_sleep import InterruptibleSleep
    from gateway.bus.redis.publishing import PublishLink
    from gateway.core.timing.backoff import Backoff
    from gateway.redis.servers import Address, Servers
    from gateway.redis.wire import Command, Reply, Wire

LINGER_SECONDS = 10.0
"""How long a partition is listened to after the last interest in it: interests come back."""

_log = logging.getLogger("gateway.bus")


class Partition:
    """One partition, as far as this node listens to it.

    Attributes:
        subscription: what the server has confirmed of it.
        interests: filters of this node that need it.
        link: the connection to the server that has it; None while that isn't known.
        missed: it was subscribed to, then not, and that has not been told.
        idle_since: when the last interest ended.
        waiter: done when it is subscribed to; None where nobody waits for that.
    """

    __slots__ = ("idle_since", "interests", "link", "missed", "number", "subscription", "waiter")

    def __init__(self, number: int, channel: bytes) -> None:
        self.number = number
        self.subscription = ChannelSubscription(channel)
        self.link: PartitionListener | None = None
        self.interests = 0
        self.missed = False
        self.idle_since = 0.0
        self.waiter: asyncio.Future[None] | None = None

    @property
    def subscribed(self) -> bool:
        """Nothing of it is missed."""
        return self.subscription.subscribed

    def confirmed(self) -> None:
        """It is subscribed to from now on."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        self.waiter = None

    def interrupted(self) -> None:
        """It is not listened to any more, and has to be asked for again."""
        # Only where somebody listens is anything missed: an interest that ended can't be told of a loss.
        self.missed = (self.missed or self.subscribed) and self.interests > 0
        self.subscription.lost()

    def fail_waiter(self, waiter: asyncio.Future[None]) -> None:
        """Whoever waits has waited long enough."""
        if not waiter.done():
            waiter.set_exception(BusUnavailable("Redis does not confirm the subscription"))
            # Whoever has gone meanwhile asks nobody: that is no record in the log.
            waiter.exception()
        if self.waiter is waiter:
            self.waiter = None


class PartitionListener:
    """The connection by which one server is listened to.

    Attributes:
        up: it is open, and everything that was wanted when it was opened is subscribed to.
        connections: made so far.
        partitions: those that the server has.
    """

    def __init__(
        self,
        servers: Servers,
        address: Address,
        publishing: PublishLink,
        inbox: Inbox,
        *,
        beat_channel: bytes,
        beat_seconds: float,
        silence_seconds: float,
        backoff: Backoff,
        sleep: InterruptibleSleep,
        neighbour: InterruptibleSleep,
        relocate: Callable[[], None],
        missed: Callable[[Iterable[Partition]], None],
    ) -> None:
        """Make it; ``missed`` is called once per interruption, when its partitions are heard again."""
        self._servers = servers
        self._address = address
        self._publishing = publishing
        self._inbox = inbox
        # In a cluster a channel of the node's own would belong to one server, and say nothing of the others.
        self._beat_channel = None if servers.sharded else beat_channel
        self._sharded = servers.sharded
        self._beat_seconds = beat_seconds
        self._silence_seconds = silence_seconds
        self._backoff = backoff
        self._sleep = sleep
        self._neighbour = neighbour
        self._relocate = relocate
        self._missed = missed
        self._wanting = asyncio.Event()
        self._by_channel: dict[bytes, Partition] = {}
        self._beats_received = 0
        self._unconfirmed: set[Partition] = set()
        self.partitions: set[Partition] = set()
        self.up = False
        self.connections = 0

    def want(self) -> None:
        """The interests in its partitions have changed."""
        self._wanting.set()

    def adopt(self, partition: Partition) -> None:
        """``partition`` is this server's from now on."""
        if partition.link is self:
            return
        if partition.link is not None:
            partition.link.release(partition)
        partition.link = self
        self.partitions.add(partition)
        self._by_channel[partition.subscription.channel] = partition
        self.want()

    def release(self, partition: Partition) -> None:
        """``partition`` is another server's from now on."""
        self.partitions.discard(partition)
        self._unconfirmed.discard(partition)
        self._by_channel.pop(partition.subscription.channel, None)
        self._interrupt(partition)
        partition.link = None

    async def run(self) -> None:
        """Keep the connection for ever."""
        await keep_connected(
            self._connected,
            self._backoff,
            relocate=self._relocate,
            log=_log,
            what="listening to Redis",
            wait=self._sleep.wait,
        )

    async def _connected(self) -> None:
        wire = await self._servers.connect(self._address)
        try:
            await self._begin(wire)
            # Only heartbeats published from now on can be expected here.
            self._beats_received = self._publishing.beats
            self.connections += 1
            self._neighbour.end()
            connection = PushConnection(
                wire,
                self,
                changed=self._wanting,
                beat_seconds=self._beat_seconds,
                silence_seconds=self._silence_seconds,
            )
            await connection.serve()
        finally:
            self.up = False
            await wire.close()
            for partition in self.partitions:
                self._interrupt(partition)

    def _interrupt(self, partition: Partition) -> None:
        partition.interrupted()
        if partition.missed:
            self._inbox.interrupt(partition.number)
        else:
            self._inbox.forget(partition.number)

    async def _begin(self, wire: Wire) -> None:
        """Listen to the heartbeats, where there are any; a login does not show that the node may."""
        if self._beat_channel is None:
            return
        await wire.send([("SUBSCRIBE", self._beat_channel)])
        try:
            async with AnswerTimeout(self._silence_seconds):
                await wire.receive()
        except CommandRefused as exc:
            raise BusUnavailable(f"Redis refuses to be listened to: {exc}") from exc

    # What the connection asks, and tells

    def changes(self, now: float) -> list[Command]:
        """What is to be asked for, and what nobody has needed for a while."""
        self._complete()
        commands: list[Command] = []
        for partition in self.partitions:
            subscription = partition.subscription
            if partition.interests:
                if subscription.state is ChannelState.UNSUBSCRIBED:
                    commands.append(subscription.subscribe(sharded=self._sharded))
            elif partition.subscribed and now - partition.idle_since >= LINGER_SECONDS:
                commands.append(subscription.unsubscribe(sharded=self._sharded))
                # Before the server confirms it: whatever it loses from here on, nobody is there to miss.
                self._inbox.forget(partition.number)
        self._unconfirmed = {each for each in self.partitions if each.interests and not each.subscribed}
        return commands

    def check(self) -> None:
        """Raise ``BusUnavailable`` if this node's own heartbeats don't come back."""
        # What one's own publications reach must be heard here; if it isn't, publishing and listening have
        # ended up on different servers.
        missing = self._publishing.beats - self._beats_received
        if self._beat_channel is not None and missing * self._beat_seconds > self._silence_seconds:
            raise BusUnavailable("what is published doesn't arrive")

    def push(self, push: Reply) -> None:
        """Hand on what was published, and take note of what the server confirms."""
        kind, channel = push[0], push[1]
        partition = self._by_channel.get(channel)
        if kind in MESSAGES:
            if partition is not None:
                self._inbox.put(partition.number, push[2])
            elif channel == self._beat_channel:
                self._beats_received = self._publishing.beats
        elif partition is None:
            return  # an answer to PING, or about the channel of the heartbeat
        elif kind in SUBSCRIBED:
            if partition.subscription.confirmed():
                # After an interruption the numbers are kept: what they lack was missed, and is counted so.
                if not partition.missed:
                    self._inbox.forget(partition.number)
                partition.confirmed()
                self._unconfirmed.discard(partition)
                # Looking through all partitions with each answer would cost the square of their number.
                if not self._unconfirmed:
                    self._complete()
        elif kind in UNSUBSCRIBED and partition.subscription.ended():
            self._interrupt(partition)
            self._relocate()

    def moved(self) -> None:
        """Ask with the next heartbeat for all that isn't confirmed: which partition was meant isn't said."""
        for partition in self.partitions:
            partition.subscription.moved()
        self._relocate()

    def _complete(self) -> None:
        wanted = [partition for partition in self.partitions if partition.interests]
        if not all(partition.subscribed for partition in wanted):
            return
        if not self.up:
            self.up = True
            if self.connections > 1:
                _log.info("listening to Redis again")
        missed = [partition for partition in wanted if partition.missed]
        if missed:
            for partition in missed:
                partition.missed = False
            self._missed(missed)
