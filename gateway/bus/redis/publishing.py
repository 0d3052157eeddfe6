"""The way out: one server's connection to publish, and what becomes of the batches on their way."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import BusUnavailable
from gateway.redis.keeping import keep_connected
from gateway.redis.wire import CommandRefused, Moved

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.bus.redis.interruptible_sleep import InterruptibleSleep
    from gateway.bus.redis.partition_queue import PartitionBatch, PartitionQueue, PublishBudget
    from gateway.core.timing.backoff import Backoff
    from gateway.redis.servers import Address, Servers
    from gateway.redis.wire import Command, Wire

_WARN_SECONDS = 10.0

_REFUSING_SECONDS = 60.0
"""A partition that was refused counts as such for so long, unless something passes: nobody may ask again."""

_log = logging.getLogger("gateway.bus")


class PublishLink:
    """The connection by which one server is published to.

    Attributes:
        up: it is open.
        accepting: it is open, or was until a moment ago and may be again.
        beats: heartbeats that the server has confirmed.
        connections: made so far.
    """

    def __init__(
        self,
        servers: Servers,
        address: Address,
        outgoing: PublishBudget,
        *,
        beat_channel: bytes,
        beat_seconds: float,
        backoff: Backoff,
        pause: InterruptibleSleep,
        other: InterruptibleSleep,
        relocate: Callable[[], None],
    ) -> None:
        """Make it; ``pause`` is its wait between attempts, ``other`` that of its listening counterpart."""
        self._servers = servers
        self._address = address
        self._outgoing = outgoing
        self._beat: Command = ("PING",) if servers.sharded else ("PUBLISH", beat_channel, b"")
        self._beat_seconds = beat_seconds
        self._verb = "SPUBLISH" if servers.sharded else "PUBLISH"
        self._backoff = backoff
        self._relocate = relocate
        self._pause = pause
        self._other = other
        self._work = asyncio.Event()
        self._ready: dict[PartitionQueue, None] = {}
        self._unmarked: set[PartitionQueue] = set()
        self._giving_up: asyncio.TimerHandle | None = None
        self._asked_at: float | None = None
        self._warned = -math.inf
        self._refused: dict[PartitionQueue, float] = {}
        self.up = False
        self.accepting = True
        self.beats = 0
        self.connections = 0

    @property
    def refusing(self) -> bool:
        """Whether it has refused a moment ago what was published, though it takes heartbeats."""
        now = asyncio.get_running_loop().time()
        return any(now - refused < _REFUSING_SECONDS for refused in self._refused.values())

    def wake(self, lane: PartitionQueue) -> None:
        """``lane`` has something to send."""
        self._ready[lane] = None
        self._work.set()

    def adopt(self, lane: PartitionQueue) -> None:
        """``lane`` is this server's from now on."""
        if lane.link is not None and lane.link is not self:
            lane.link.release(lane)
        if lane.link is not self:
            self._unmarked.add(lane)
            self._work.set()
        lane.link = self
        if lane.batches or lane.moved:
            self.wake(lane)

    def release(self, lane: PartitionQueue) -> None:
        """``lane`` is another server's from now on."""
        self._refused.pop(lane, None)
        self._ready.pop(lane, None)
        self._unmarked.discard(lane)

    async def run(self) -> None:
        """Keep the connection for ever."""
        self._trouble(asyncio.get_running_loop().time())
        await keep_connected(
            self._connected,
            self._backoff,
            relocate=self._relocate,
            log=_log,
            what="publishing to Redis",
            wait=self._pause.wait,
        )

    def stop(self) -> None:
        """Let go of what waits."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        self.accepting = False
        self._fail_lanes("the node ends")

    async def _connected(self) -> None:
        wire = await self._servers.connect(self._address)
        try:
            # A login does not show that the node may publish: where it may not, nothing has recovered.
            await self._exchange(wire, [], beat=True)
            self.beats += 1
            self._recovered()
            await self._serve(wire)
        finally:
            self.up = False
            self._trouble(self._asked_at or asyncio.get_running_loop().time())
            self._asked_at = None
            await wire.close()

    async def _serve(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        beat_due = loop.time() + self._beat_seconds
        wire.when_lost(self._work.set)
        while True:
            if not self._ready:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(beat_due):
                        await self._work.wait()
            self._work.clear()
            wire.check()
            await self._mark(wire)
            batches = self._take()
            beat = loop.time() >= beat_due
            if batches or beat:
                self._asked_at = loop.time()
                await self._exchange(wire, batches, beat=beat)
                self._asked_at = None
            if beat:
                self.beats += 1
                beat_due = loop.time() + self._beat_seconds

    async def _mark(self, wire: Wire) -> None:
        """Tell how far the numbers have come, ahead of what is published by this server from now on.

        Nodes that listen here have missed what was published by another one, and would not notice before the
        next publication, or where they have not heard this node before.
        """
        # What is on its way by another server may come back, and has its number already.
        while lanes := [lane for lane in self._unmarked if lane.travelling is None]:
            self._unmarked.difference_update(lanes)
            marks = [(lane, self._outgoing.mark(lane, self._address)) for lane in lanes]
            commands: list[Command] = [(self._verb, lane.channel, mark) for lane, mark in marks if mark]
            try:
                async with asyncio.timeout(self._outgoing.timeout):
                    if commands:
                        await wire.send(commands)
                    for lane, mark in marks:
                        if mark is None or await self._is_taken(wire):
                            lane.server = self._address
            except TimeoutError:
                raise BusUnavailable("Redis does not answer") from None

    async def _is_taken(self, wire: Wire) -> bool:
        try:
            await wire.receive()
        except CommandRefused:
            # Either the partition is another server's, by which it is told then, or nothing gets through.
            return False
        return True

    def _take(self) -> list[tuple[PartitionQueue, PartitionBatch]]:
        ready, self._ready = self._ready, {}
        taken = []
        for lane in ready:
            batch = self._outgoing.take(lane)
            if batch is not None:
                taken.append((lane, batch))
        return taken

    async def _exchange(
        self, wire: Wire, batches: list[tuple[PartitionQueue, PartitionBatch]], *, beat: bool
    ) -> None:
        commands: list[Command] = [(self._verb, lane.channel, batch.payload) for lane, batch in batches]
        if beat:
            commands.append(self._beat)
        try:
            async with asyncio.timeout(self._outgoing.timeout):
                await wire.send(commands)
                for lane, batch in batches:
                    await self._settle(wire, lane, batch)
                if beat:
                    await wire.receive()
        except TimeoutError:
            raise BusUnavailable("Redis does not answer") from None
        except CommandRefused as exc:
            raise BusUnavailable(f"Redis refuses a heartbeat: {exc}") from exc
        finally:
            for lane, batch in batches:
                if lane.travelling is batch:
                    self._outgoing.refuse(lane, batch, "Redis did not confirm it; it may have been delivered")
                if lane.link is not None and (lane.batches or lane.link is not self):
                    lane.link.wake(lane)

    async def _settle(self, wire: Wire, lane: PartitionQueue, batch: PartitionBatch) -> None:
        try:
            await wire.receive()
        except Moved:
            self._hold_moved(lane, batch)
            return
        except CommandRefused as exc:
            self._warn(exc)
            self._refused[lane] = asyncio.get_running_loop().time()
            self._outgoing.refuse(lane, batch, "Redis refuses what is published")
            self._relocate()
        else:
            self._refused.pop(lane, None)
            self._outgoing.confirm(lane, batch)

    def _warn(self, refused: CommandRefused) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warned >= _WARN_SECONDS:
            self._warned = now
            _log.warning("Redis refuses what is published: %s", refused)

    def _hold_moved(self, lane: PartitionQueue, batch: PartitionBatch) -> None:
        # It was not delivered, for certain: it goes again, as it is, once the new server is known.
        lane.travelling = None
        lane.moved = batch
        left = batch.opened + self._outgoing.timeout - asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(max(0.0, left), self._expire, lane, batch)
        self._relocate()

    def _expire(self, lane: PartitionQueue, batch: PartitionBatch) -> None:
        if lane.moved is batch:
            self._outgoing.give_up(lane, "no server of the cluster has it")

    def _recovered(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self.connections += 1
        self.up = self.accepting = True
        self._other.end()
        if self.connections > 1:
            _log.info("publishing to Redis again")
        for lane in self._outgoing.lanes:
            if lane.link is self:
                self._unmarked.add(lane)
                self._work.set()
                if lane.batches:
                    self.wake(lane)

    def _trouble(self, since: float) -> None:
        """Publishers may wait for a new connection, but no longer than for any answer."""
        if self._giving_up is None:
            loop = asyncio.get_running_loop()
            wait = min(self._outgoing.timeout, since + self._outgoing.timeout - loop.time())
            self._giving_up = loop.call_later(max(0.0, wait), self._give_up)

    def _give_up(self) -> None:
        self.accepting = False
        self._fail_lanes("Redis is away")

    def _fail_lanes(self, reason: str) -> None:
        for lane in self._outgoing.lanes:
            if lane.link is self:
                self._outgoing.give_up(lane, reason)
