"""The way out: one server's connection to publish, and what becomes of the batches on their way."""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import BusUnavailable
from gateway.redis.batch_state import BatchState
from gateway.redis.keeping import keep_connected
from gateway.redis.round_trips import AnswerTimeout, serve_round_trips
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
        budget: PublishBudget,
        *,
        beat_channel: bytes,
        beat_seconds: float,
        backoff: Backoff,
        sleep: InterruptibleSleep,
        neighbour: InterruptibleSleep,
        relocate: Callable[[], None],
    ) -> None:
        """Make it; ``sleep`` is its wait between attempts, ``neighbour`` that of the listener."""
        self._servers = servers
        self._address = address
        self._budget = budget
        self._beat: Command = ("PING",) if servers.sharded else ("PUBLISH", beat_channel, b"")
        self._beat_seconds = beat_seconds
        self._verb = "SPUBLISH" if servers.sharded else "PUBLISH"
        self._backoff = backoff
        self._relocate = relocate
        self._sleep = sleep
        self._neighbour = neighbour
        self._work = asyncio.Event()
        self._ready: dict[PartitionQueue, None] = {}
        self._unmarked: set[PartitionQueue] = set()
        self._giving_up: asyncio.TimerHandle | None = None
        self._exchange_began: float | None = None
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

    def wake(self, queue: PartitionQueue) -> None:
        """``queue`` has something to send."""
        self._ready[queue] = None
        self._work.set()

    def adopt(self, queue: PartitionQueue) -> None:
        """``queue`` is this server's from now on."""
        if queue.link is not None and queue.link is not self:
            queue.link.release(queue)
        if queue.link is not self:
            self._unmarked.add(queue)
            self._work.set()
        queue.link = self
        if queue.batches or queue.returned:
            self.wake(queue)

    def release(self, queue: PartitionQueue) -> None:
        """``queue`` is another server's from now on."""
        # The batch in flight stays: its reply comes by this connection, and says whether it has to go again.
        self._refused.pop(queue, None)
        self._ready.pop(queue, None)
        self._unmarked.discard(queue)

    async def run(self) -> None:
        """Keep the connection for ever."""
        # From the start: a server that is never reached must not make publishers wait any longer than one
        # lost.
        self._trouble(asyncio.get_running_loop().time())
        await keep_connected(
            self._connected,
            self._backoff,
            relocate=self._relocate,
            log=_log,
            what="publishing to Redis",
            wait=self._sleep.wait,
        )

    def stop(self) -> None:
        """Let go of what waits."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        self.accepting = False
        self._fail_queues("the node ends")

    async def _connected(self) -> None:
        wire = await self._servers.connect(self._address)
        try:
            # A login does not show that the node may publish: where it may not, nothing has recovered.
            await self._exchange(wire, [], beat=True)
            self.beats += 1
            self._recovered()
            await serve_round_trips(
                wire,
                self._work,
                waiting=lambda: self._ready,
                beat_seconds=self._beat_seconds,
                round_trip=partial(self._round_trip, wire),
            )
        finally:
            self.up = False
            # Publishers have waited since the last exchange began, not since the end of the connection was
            # noticed.
            self._trouble(self._exchange_began or asyncio.get_running_loop().time())
            self._exchange_began = None
            await wire.close()

    async def _round_trip(self, wire: Wire, beat: bool) -> bool:
        await self._mark(wire)
        batches = self._take()
        if batches or beat:
            self._exchange_began = asyncio.get_running_loop().time()
            await self._exchange(wire, batches, beat=beat)
            self._exchange_began = None
        self.beats += beat
        # Publications are no heartbeat: the other side counts on those to see that it still hears this one.
        return beat

    async def _mark(self, wire: Wire) -> None:
        """Tell how far the numbers have come, ahead of what is published by this server from now on.

        Nodes that listen here have missed what was published by another one, and would not notice before the
        next publication, or where they have not heard this node before.
        """
        # What is on its way by another server may come back, and has its number already.
        while queues := [queue for queue in self._unmarked if queue.in_flight is None]:
            self._unmarked.difference_update(queues)
            marks = [(queue, self._budget.mark(queue, self._address)) for queue in queues]
            commands: list[Command] = [(self._verb, queue.channel, mark) for queue, mark in marks if mark]
            async with AnswerTimeout(self._budget.timeout):
                if commands:
                    await wire.send(commands)
                for queue, mark in marks:
                    if mark is None or await self._is_taken(wire):
                        queue.server = self._address

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
        for queue in ready:
            batch = self._budget.take(queue)
            if batch is not None:
                taken.append((queue, batch))
        return taken

    async def _exchange(
        self, wire: Wire, batches: list[tuple[PartitionQueue, PartitionBatch]], *, beat: bool
    ) -> None:
        commands: list[Command] = [(self._verb, queue.channel, batch.payload) for queue, batch in batches]
        if beat:
            commands.append(self._beat)
        try:
            async with AnswerTimeout(self._budget.timeout):
                await wire.send(commands)
                for queue, batch in batches:
                    await self._resolve(wire, queue, batch)
                if beat:
                    await wire.receive()
        except CommandRefused as exc:
            raise BusUnavailable(f"Redis refuses a heartbeat: {exc}") from exc
        finally:
            # Whatever ended the exchange, also its cancellation: what has no reply by now never gets one.
            for queue, batch in batches:
                if queue.in_flight is batch:
                    self._budget.fail(
                        queue,
                        batch,
                        BatchState.UNKNOWN,
                        "Redis did not confirm it; it may have been delivered",
                    )
                if queue.link is not None and (queue.batches or queue.link is not self):
                    queue.link.wake(queue)

    async def _resolve(self, wire: Wire, queue: PartitionQueue, batch: PartitionBatch) -> None:
        try:
            await wire.receive()
        except Moved:
            self._hold_moved(queue, batch)
            return
        except CommandRefused as exc:
            self._warn(exc)
            # Heartbeats still pass, so only this shows that nothing is delivered: the node is not ready then.
            self._refused[queue] = asyncio.get_running_loop().time()
            self._budget.fail(queue, batch, BatchState.REFUSED, "Redis refuses what is published")
            self._relocate()
        else:
            self._refused.pop(queue, None)
            self._budget.confirm(queue, batch)

    def _warn(self, refused: CommandRefused) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warned >= _WARN_SECONDS:
            self._warned = now
            _log.warning("Redis refuses what is published: %s", refused)

    def _hold_moved(self, queue: PartitionQueue, batch: PartitionBatch) -> None:
        self._budget.hold_returned(queue, batch)
        # From when its first publication was accepted: going again gives nobody more time to wait.
        left = batch.opened + self._budget.timeout - asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(max(0.0, left), self._expire, queue, batch)
        self._relocate()

    def _expire(self, queue: PartitionQueue, batch: PartitionBatch) -> None:
        if queue.returned is batch:
            self._budget.discard(queue, "no server of the cluster has it")

    def _recovered(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self.connections += 1
        self.up = self.accepting = True
        # Or the listener would sleep on before it tries a server that is known to be there.
        self._neighbour.end()
        if self.connections > 1:
            _log.info("publishing to Redis again")
        for queue in self._budget.queues:
            if queue.link is self:
                # Also the same server may have been down, or been emptied: whoever listens has to be told
                # again.
                self._unmarked.add(queue)
                self._work.set()
                if queue.batches:
                    self.wake(queue)

    def _trouble(self, since: float) -> None:
        """Publishers may wait for a new connection, but no longer than for any answer."""
        if self._giving_up is None:
            loop = asyncio.get_running_loop()
            wait = min(self._budget.timeout, since + self._budget.timeout - loop.time())
            self._giving_up = loop.call_later(max(0.0, wait), self._stop_accepting)

    def _stop_accepting(self) -> None:
        self.accepting = False
        self._fail_queues("Redis is away")

    def _fail_queues(self, reason: str) -> None:
        for queue in self._budget.queues:
            if queue.link is self:
                self._budget.discard(queue, reason)
