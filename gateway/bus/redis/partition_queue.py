"""What waits to be published: a queue per partition, gathered while the last round trip is under way.

A queue has one payload on its way at a time, so a partition's publications arrive in the order in which they
were accepted, also when a cluster moves the partition to another server.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.bus.redis.payload import Mark, PayloadHead, encode_mark, encode_payload, encode_record
from gateway.core.statistics.latencies import Latencies
from gateway.errors import BusUnavailable, RateLimited
from gateway.redis.batch_state import BatchState

if TYPE_CHECKING:
    from gateway.core.messages.publication import MessageEncoder, Publication
    from gateway.redis.servers import Address

_PAYLOAD_BYTES = 1024 * 1024
"""A queue's batch takes no more; what is published beyond goes into the next one."""


class PartitionLink(Protocol):
    """The connection to the server that has a partition, as its queue knows it."""

    accepting: bool
    """It is open, or was until a moment ago and may be again."""

    def wake(self, queue: PartitionQueue) -> None:
        """``queue`` has something to send."""
        ...

    def release(self, queue: PartitionQueue) -> None:
        """``queue`` is another server's from now on."""
        ...


class PartitionBatch:
    """Publications that travel together.

    Attributes:
        state: how far they have come.
        done: what their publishers wait for.
        payload: their encoded form, with their numbers, once they were sent; the same if they are sent again.
    """

    __slots__ = ("bytes", "done", "opened", "payload", "records", "state")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.records: list[bytes] = []
        self.bytes = 0
        self.state = BatchState.QUEUED
        # One future for all: with one each, a tick of a thousand publications would wake a thousand tasks.
        self.done: asyncio.Future[None] = loop.create_future()
        self.payload = b""
        self.opened = loop.time()

    def fail(self, reason: str) -> None:
        """Tell the publishers that it can't be promised."""
        if not self.done.done():
            self.done.set_exception(BusUnavailable(reason))
            # Publishers that have gone ask nobody: that is no record in the log.
            self.done.exception()


class PartitionQueue:
    """One partition's way out.

    Attributes:
        link: the connection to the server that has the partition; None while that isn't known.
        in_flight: the batch that awaits its answer.
        returned: a batch that a server refused because the partition is another one's.
        next: the number of the next publication that goes.
        unconfirmed: how many of the last that went were not confirmed.
        server: the one that has last heard how far the numbers have come; None before the first.
    """

    __slots__ = (
        "batches",
        "channel",
        "in_flight",
        "link",
        "next",
        "number",
        "returned",
        "server",
        "unconfirmed",
    )

    def __init__(self, number: int, channel: bytes) -> None:
        self.number = number
        self.channel = channel
        self.link: PartitionLink | None = None
        self.next = 0
        self.unconfirmed = 0
        self.server: Address | None = None
        self.batches: list[PartitionBatch] = []
        self.in_flight: PartitionBatch | None = None
        self.returned: PartitionBatch | None = None


class PublishBudget:
    """All queues, and what waits in them.

    Attributes:
        bytes: waiting or on their way.
        publications: confirmed.
        payloads: confirmed.
        failed: publications that were not confirmed.
        latencies: of payloads, from their first publication until they were confirmed.
    """

    def __init__(
        self, node: str, channels: list[bytes], encoder: MessageEncoder, *, limit_bytes: int, timeout: float
    ) -> None:
        self.node = node
        self.timeout = timeout
        self.queues = [PartitionQueue(number, channel) for number, channel in enumerate(channels)]
        self._encoder = encoder
        self._limit = limit_bytes
        self.bytes = self.publications = self.payloads = self.failed = 0
        self.latencies = Latencies()

    def publish(self, publication: Publication, partition: int) -> asyncio.Future[None]:
        """Queue ``publication``.

        Raises:
            BusUnavailable: its server is away, and has been for a while.
            RateLimited: too much waits.
        """
        queue = self.queues[partition]
        link = queue.link
        if link is None or not link.accepting:
            raise BusUnavailable("Redis is away")
        record = encode_record(publication, self._encoder)
        size = len(record)
        if self.bytes + size > self._limit:
            raise RateLimited("more is published than Redis takes")
        batches = queue.batches
        if not batches or batches[-1].bytes + size > _PAYLOAD_BYTES:
            batches.append(PartitionBatch(asyncio.get_running_loop()))
            link.wake(queue)
        batch = batches[-1]
        batch.records.append(record)
        batch.bytes += size
        self.bytes += size
        return batch.done

    def take(self, queue: PartitionQueue) -> PartitionBatch | None:
        """The batch of ``queue`` that goes next, encoded and numbered; None while one is on its way."""
        if queue.in_flight is not None:
            return None
        # What came back goes first: it has lower numbers than all that waits, and they have to come in order.
        batch, queue.returned = queue.returned, None
        if batch is None:
            if not queue.batches:
                return None
            batch = queue.batches.pop(0)
            count = len(batch.records)
            head = PayloadHead(self.node, len(self.queues), queue.next, count)
            # Numbered as it goes, not as it was accepted: what is refused before leaves no gap that the other
            # nodes would take for a loss.
            batch.payload = encode_payload(head, batch.records)
            queue.next += count
        batch.state = batch.state.to(BatchState.IN_FLIGHT)
        queue.in_flight = batch
        return batch

    def mark(self, queue: PartitionQueue, server: Address) -> bytes | None:
        """What tells ``server`` how far the numbers of ``queue`` have come; None where there are none yet."""
        # What was refused as another server's goes again, under the numbers that it has.
        following = queue.next - (0 if queue.returned is None else len(queue.returned.records))
        if not following:
            return None
        moved = queue.server not in {None, server}
        return encode_mark(Mark(self.node, len(self.queues), following, queue.unconfirmed, moved))

    def confirm(self, queue: PartitionQueue, batch: PartitionBatch) -> None:
        """The server has taken ``batch``."""
        batch.state = batch.state.to(BatchState.KEPT)
        queue.in_flight = None
        # Whoever has missed what was in doubt before sees the gap in front of this one.
        queue.unconfirmed = 0
        self.bytes -= batch.bytes
        self.payloads += 1
        self.publications += len(batch.records)
        self.latencies.note(asyncio.get_running_loop().time() - batch.opened)
        if not batch.done.done():
            batch.done.set_result(None)

    def hold_returned(self, queue: PartitionQueue, batch: PartitionBatch) -> None:
        """``batch`` was not delivered, for certain: it goes again once the new server is known."""
        batch.state = batch.state.to(BatchState.RETURNED)
        queue.in_flight = None
        queue.returned = batch

    def fail(self, queue: PartitionQueue, batch: PartitionBatch, state: BatchState, reason: str) -> None:
        """``batch`` was not confirmed, and won't be; ``state`` says whether it may have been delivered."""
        if queue.in_flight is batch:
            queue.in_flight = None
        if batch.state is not BatchState.QUEUED:
            # Its numbers are given. Publishers know of it, so the others need not take them for a loss.
            queue.unconfirmed += len(batch.records)
        batch.state = batch.state.to(state)
        self.bytes -= batch.bytes
        self.failed += len(batch.records)
        batch.fail(reason)

    def discard(self, queue: PartitionQueue, reason: str) -> None:
        """Let go of everything that waits in ``queue``, on its way or not."""
        in_flight = queue.in_flight
        unsent = [batch for batch in (queue.returned, *queue.batches) if batch is not None]
        queue.batches.clear()
        queue.returned = None
        if in_flight is not None:
            self.fail(queue, in_flight, BatchState.UNKNOWN, reason)
        for batch in unsent:
            self.fail(queue, batch, BatchState.REFUSED, reason)
