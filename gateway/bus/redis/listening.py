"""The way in: one server's connection that listens to partitions, and knows when it did not.

    asked --confirmed--> heard --connection lost, or the server let it go--> missed
      ^                                                                        |
      +----------------------- asked again, then told as a loss --------------+

One task reads and does nothing else; another one writes what is to be asked, and watches the time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import BusUnavailable
from gateway.redis.keeping import keep_connected
from gateway.redis.wire import MESSAGES, SUBSCRIBED, UNSUBSCRIBED, CommandRefused, Moved

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
        interests: filters of this node that need it.
        link: the connection to the server that has it; None while that isn't known.
        asked: the server was asked for it on the present connection.
        leaving: times that the server was told to let it go, and has not confirmed yet.
        heard: nothing of it is missed.
        missed: it was heard, then not, and that has not been told.
        idle_since: when the last interest ended.
    """

    __slots__ = (
        "asked",
        "channel",
        "heard",
        "idle_since",
        "interests",
        "leaving",
        "link",
        "missed",
        "number",
        "waiter",
    )

    def __init__(self, number: int, channel: bytes) -> None:
        self.number = number
        self.channel = channel
        self.link: PartitionListener | None = None
        self.interests = 0
        self.asked = False
        self.leaving = 0
        self.heard = False
        self.missed = False
        self.idle_since = 0.0
        self.waiter: asyncio.Future[None] | None = None

    def confirmed(self) -> None:
        """It is heard from now on."""
        self.heard = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        self.waiter = None

    def interrupted(self) -> None:
        """It is not heard any more, and has to be asked for again."""
        self.missed = (self.missed or self.heard) and self.interests > 0
        self.heard = self.asked = False
        self.leaving = 0

    def fail_waiter(self, waiter: asyncio.Future[None]) -> None:
        """Whoever waits has waited long enough."""
        if not waiter.done():
            waiter.set_exception(BusUnavailable("Redis does not confirm the subscription"))
            waiter.exception()
        if self.waiter is waiter:
            self.waiter = None


class PartitionListener:
    """The connection by which one server is listened to.

    Attributes:
        up: it is open, and everything that was wanted when it was opened is heard.
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
        """Make it; ``missed`` is called, once per interruption, when its partitions are heard again."""
        self._servers = servers
        self._address = address
        self._publishing = publishing
        self._inbox = inbox
        self._beat_channel = None if servers.sharded else beat_channel
        self._beat_seconds = beat_seconds
        self._silence_seconds = silence_seconds
        self._backoff = backoff
        self._sleep = sleep
        self._neighbour = neighbour
        self._relocate = relocate
        self._missed = missed
        self._verb = "SSUBSCRIBE" if servers.sharded else "SUBSCRIBE"
        self._unverb = "SUNSUBSCRIBE" if servers.sharded else "UNSUBSCRIBE"
        self._wanting = asyncio.Event()
        self._by_channel: dict[bytes, Partition] = {}
        self._heard_at = 0.0
        self._beats_heard = 0
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
        self._by_channel[partition.channel] = partition
        self.want()

    def release(self, partition: Partition) -> None:
        """``partition`` is another server's from now on."""
        self.partitions.discard(partition)
        self._by_channel.pop(partition.channel, None)
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
            self._heard_at = asyncio.get_running_loop().time()
            self._beats_heard = self._publishing.beats
            self.connections += 1
            self._neighbour.end()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(wire))
                tasks.create_task(self._ask(wire))
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
        await wire.send([(self._verb, self._beat_channel)])
        try:
            async with asyncio.timeout(self._silence_seconds):
                await wire.receive()
        except TimeoutError:
            raise BusUnavailable("Redis does not answer") from None
        except CommandRefused as exc:
            raise BusUnavailable(f"Redis refuses to be listened to: {exc}") from exc

    # Writing

    async def _ask(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        ping_due = loop.time() + self._beat_seconds
        while True:
            self._wanting.clear()
            self._complete()
            commands = self._changes(loop.time())
            if loop.time() >= ping_due:
                self._check_silence(loop.time())
                commands.append(("PING",))
                ping_due = loop.time() + self._beat_seconds
            if commands:
                await wire.send(commands)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(ping_due):
                    await self._wanting.wait()

    def _changes(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for partition in self.partitions:
            if partition.interests and not partition.asked:
                partition.asked = True
                commands.append((self._verb, partition.channel))
            elif partition.heard and not partition.interests and self._idle(partition, now):
                partition.asked = partition.heard = False
                partition.leaving += 1
                self._inbox.forget(partition.number)
                commands.append((self._unverb, partition.channel))
        return commands

    def _idle(self, partition: Partition, now: float) -> bool:
        return now - partition.idle_since >= LINGER_SECONDS

    def _check_silence(self, now: float) -> None:
        if now - self._heard_at > self._silence_seconds:
            raise BusUnavailable(f"Redis said nothing for {self._silence_seconds:g} s")
        # What one's own publications reach must be heard here; if it isn't, publishing and listening have
        # ended up on different servers.
        unheard = self._publishing.beats - self._beats_heard
        if self._beat_channel is not None and unheard * self._beat_seconds > self._silence_seconds:
            raise BusUnavailable("what is published doesn't arrive")

    # Reading

    async def _read(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        receive, put, by_channel = wire.receive, self._inbox.put, self._by_channel
        while True:
            try:
                reply = await receive()
            except Moved:
                self._ask_again()
                continue
            except CommandRefused as exc:
                raise BusUnavailable(f"Redis refuses to be listened to: {exc}") from exc
            self._heard_at = loop.time()
            if type(reply) is list and reply[0] in MESSAGES:
                partition = by_channel.get(reply[1])
                if partition is not None:
                    put(partition.number, reply[2])
                elif reply[1] == self._beat_channel:
                    self._beats_heard = self._publishing.beats
            else:
                self._push_received(reply)

    def _ask_again(self) -> None:
        # Which partition was meant isn't said. Those of this server are asked for with the next heartbeat.
        for partition in self.partitions:
            partition.asked = partition.heard
        self._relocate()

    def _push_received(self, reply: Reply) -> None:
        if type(reply) is not list or (partition := self._by_channel.get(reply[1])) is None:
            return  # an answer to PING, or about the channel of the heartbeat
        if reply[0] in SUBSCRIBED:
            if partition.asked:
                if not partition.missed:
                    self._inbox.forget(partition.number)
                partition.confirmed()
                self._complete()
        elif reply[0] in UNSUBSCRIBED:
            if partition.leaving:
                partition.leaving -= 1
            else:
                # The server let it go by itself: the partition is another one's now.
                self._interrupt(partition)
                self._relocate()

    def _complete(self) -> None:
        wanted = [partition for partition in self.partitions if partition.interests]
        if not all(partition.heard for partition in wanted):
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
