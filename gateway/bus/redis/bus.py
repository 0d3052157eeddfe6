"""The bus of a gateway that is many nodes: live publications travel through Redis' publish and subscribe.

A topic belongs to a partition, a partition is a channel, and a node listens to the partitions in which its
clients have an interest. What a node publishes goes through Redis to all nodes, itself included, so that
every subscriber sees a topic's publications in the order in which Redis took them.

Turned down: patterns (``PSUBSCRIBE`` costs every publish of the whole server), a channel per topic (a
subscription per topic and node), and redis-py's own pub/sub object (it reconnects in silence).
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.bus.base import BusStatistics
from gateway.bus.redis.inbox import Inbox
from gateway.bus.redis.interruptible_sleep import InterruptibleSleep
from gateway.bus.redis.listening import Partition, PartitionListener
from gateway.bus.redis.partition_queue import PublishBudget
from gateway.bus.redis.partitions import CONTROL_PARTITIONS, partition_of, partitions_of
from gateway.bus.redis.publishing import PublishLink
from gateway.core.timing.backoff import Backoff
from gateway.errors import BusUnavailable
from gateway.redis.keeping import keep_all
from gateway.redis.lifetime import log_failure, wait_until
from gateway.redis.locating import keep_located
from gateway.redis.servers import Address, channel_prefix, servers_of
from gateway.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.bus.base import Lost
    from gateway.core.messages.publication import MessageEncoder, Publication

_CACHED_LEVELS = 65536

_log = logging.getLogger("gateway.bus")


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """Bounds of the bus.

    Attributes:
        timeout: seconds that a publish or subscribe waits for Redis.
        beat: seconds between two heartbeats.
        silence: seconds without any word from Redis after which a connection counts as lost.
        backoff: the longest wait between two attempts to connect, in seconds.
        publish_bytes: what may wait to be handed to Redis.
        receive_bytes: what may wait to be fanned out.
    """

    timeout: float = 1.5
    beat: float = 1.0
    silence: float = 3.0
    backoff: float = 2.0
    publish_bytes: int = 16 * 1024 * 1024
    receive_bytes: int = 32 * 1024 * 1024


class RedisBus:
    """Publishes to and listens to every node of the gateway."""

    def __init__(
        self,
        url: str,
        *,
        node: str,
        encoder: MessageEncoder,
        prefix: str = "gateway",
        partitions: int = 64,
        limits: RedisLimits | None = None,
        supervision: Supervision | None = None,
    ) -> None:
        """Make the bus; nothing is opened yet.

        Raises:
            ValueError: ``url`` is none of ``servers_of``'s.
        """
        self._limits = limits = limits or RedisLimits()
        self._supervision = supervision or Supervision()
        self._servers = servers_of(url, timeout=limits.timeout)
        self._node = node
        self._encoder = encoder
        self._live = partitions
        begin = channel_prefix(prefix, self._servers.database)
        self._channels = [f"{begin}live:{number}".encode() for number in range(partitions)]
        self._channels += [f"{begin}control:{number}".encode() for number in range(CONTROL_PARTITIONS)]
        self._beat_channel = f"{begin}beat:{node}".encode()
        self._backoff = Backoff(first_seconds=0.05, limit_seconds=limits.backoff, random=random.random)
        self._partitions = [Partition(number, channel) for number, channel in enumerate(self._channels)]
        self._budget = PublishBudget(
            node, self._channels, encoder, limit_bytes=limits.publish_bytes, timeout=limits.timeout
        )
        self._inbox = Inbox(
            len(self._channels),
            encoder,
            limit_bytes=limits.receive_bytes,
            deliver=_nowhere,
            lost=self._note_lost,
        )
        self._links: dict[Address, tuple[PublishLink, PartitionListener, asyncio.Task[None]]] = {}
        self._interests: dict[str, range] = {}
        self._levels: dict[str, int] = {}
        self._relocating = asyncio.Event()
        self._lost: Lost | None = None
        self._running: asyncio.Task[None] | None = None
        self._breaks = self._reconnects = 0

    @property
    def available(self) -> bool:
        """Every partition has a server that can be published to, refuses nothing and is listened to."""
        located = bool(self._links) and all(queue.link is not None for queue in self._budget.queues)
        return located and all(
            publishing.up and listening.up and not publishing.refusing
            for publishing, listening, _ in self._links.values()
        )

    async def start(self, deliver: Callable[[Publication], None], lost: Lost) -> None:
        """Begin; returns when Redis is there, or without it after the time limit of an answer."""
        self._inbox.deliver = deliver
        self._lost = lost
        self._running = asyncio.create_task(self._run(), name="bus")
        # Nobody awaits it before the stop, so its failure would be told when it is collected, if ever.
        self._running.add_done_callback(partial(log_failure, _log, "the bus"))
        await wait_until(lambda: self.available, self._limits.timeout)

    async def stop(self) -> None:
        """End; what was not confirmed fails."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        for publishing, _, _ in self._links.values():
            publishing.stop()
        self._links.clear()
        for partition in self._partitions:
            if partition.waiter is not None:
                partition.fail_waiter(partition.waiter)
        self._inbox.close()

    def publish(self, publication: Publication) -> asyncio.Future[None]:
        """Hand ``publication`` to Redis, with everything else of this turn of the event loop."""
        topic = publication.topic
        level = topic.partition("/")[0]
        number = self._levels.get(level)
        if number is None:
            if len(self._levels) >= _CACHED_LEVELS:
                self._levels.clear()
            number = self._levels[level] = partition_of(topic, self._live)
        return self._budget.publish(publication, number)

    def subscribe(self, topic_filter: str) -> asyncio.Future[None] | None:
        """Listen to the partitions of ``topic_filter``; done when Redis has confirmed all of them."""
        if self._running is None or self._running.done():
            raise BusUnavailable("the gateway is not running")
        numbers = partitions_of(topic_filter, self._live)
        # A filter counts once, however often it is asked for.
        self.unsubscribe(topic_filter)
        self._interests[topic_filter] = numbers
        waiters = []
        for number in numbers:
            partition = self._partitions[number]
            partition.interests += 1
            if not partition.subscribed:
                waiters.append(self._waiter(partition))
        if not waiters:
            return None
        return self._all_of(waiters, topic_filter, numbers)

    def hears(self, topic_filter: str) -> bool:
        """Whether all partitions of ``topic_filter`` are listened to now.

        A server that takes no publications is taken for frozen, before listening to it finds out.
        """
        queues = self._budget.queues
        return all(
            self._partitions[number].subscribed
            and (link := queues[number].link) is not None
            and link.accepting
            for number in partitions_of(topic_filter, self._live)
        )

    def unsubscribe(self, topic_filter: str) -> None:
        """Listen to its partitions a little longer, then no more unless another filter needs them."""
        now = asyncio.get_running_loop().time()
        for number in self._interests.pop(topic_filter, ()):
            partition = self._partitions[number]
            partition.interests -= 1
            # Not at once: a client that comes again finds it subscribed, and Redis isn't asked in between.
            if not partition.interests:
                partition.idle_since = now
                partition.missed = False

    def statistics(self) -> BusStatistics:
        """A snapshot for metrics, health and tests."""
        budget, inbox = self._budget, self._inbox
        links = [link for pair in self._links.values() for link in pair[:2]]
        return BusStatistics(
            connected=self.available,
            publications_out=budget.publications,
            batches_out=budget.payloads,
            publications_in=inbox.publications,
            batches_in=inbox.payloads,
            failed=budget.failed,
            lost=inbox.lost,
            foreign=inbox.foreign,
            breaks=self._breaks,
            reconnects=self._reconnects + sum(max(0, link.connections - 1) for link in links),
            waiting_bytes=budget.bytes,
            unread_bytes=inbox.bytes,
            partitions=sum(partition.subscribed for partition in self._partitions[: self._live]),
            latency_counts=budget.latencies.counts,
        )

    # Interests

    def _waiter(self, partition: Partition) -> asyncio.Future[None]:
        if partition.waiter is None:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            partition.waiter = waiter
            timer = loop.call_later(self._limits.timeout, partition.fail_waiter, waiter)
            waiter.add_done_callback(lambda _: timer.cancel())
            if partition.link is not None:
                partition.link.want()
        return partition.waiter

    def _all_of(
        self, waiters: list[asyncio.Future[None]], topic_filter: str, numbers: range
    ) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = len(waiters)

        def complete(waiter: asyncio.Future[None]) -> None:
            nonlocal left
            left -= 1
            error = None if waiter.cancelled() else waiter.exception()
            if answer.done():
                return
            if error is not None:
                # Unless it was subscribed to anew meanwhile: that interest is not this call's to take back.
                if self._interests.get(topic_filter) is numbers:
                    self.unsubscribe(topic_filter)
                answer.set_exception(BusUnavailable(str(error)))
                answer.exception()
            elif not left:
                answer.set_result(None)

        for waiter in waiters:
            waiter.add_done_callback(complete)
        return answer

    # Losses

    def _missed(self, partitions: Iterable[Partition]) -> None:
        self._breaks += 1
        self._inbox.miss(frozenset(partition.number for partition in partitions), None)

    def _note_lost(self, numbers: frozenset[int], dropped: int | None) -> None:
        count = self._live
        if self._lost is not None:
            self._lost(
                lambda topic_filter: not numbers.isdisjoint(partitions_of(topic_filter, count)), dropped
            )

    # Servers

    async def _run(self) -> None:
        await keep_located(
            self._servers,
            self._channels,
            self._arrange,
            relocating=self._relocating,
            log=_log,
            supervision=self._supervision,
            name="bus",
        )

    def _arrange(self, located: Mapping[Address, list[int]], tasks: asyncio.TaskGroup) -> None:
        for address, numbers in located.items():
            if address not in self._links:
                self._links[address] = self._open(address, tasks)
            publishing, listening, _ = self._links[address]
            for number in numbers:
                publishing.adopt(self._budget.queues[number])
                listening.adopt(self._partitions[number])
        # The new links first: a partition changes from one to the other without being nobody's in between.
        for address in self._links.keys() - located.keys():
            publishing, listening, task = self._links.pop(address)
            for partition in list(listening.partitions):
                listening.release(partition)
            for queue in self._budget.queues:
                if queue.link is publishing:
                    self._budget.discard(queue, "no server of the cluster has it")
                    queue.link = None
            # Counters never go back, though what they were counted by goes.
            self._reconnects += publishing.connections + listening.connections
            task.cancel()

    def _open(
        self, address: Address, tasks: asyncio.TaskGroup
    ) -> tuple[PublishLink, PartitionListener, asyncio.Task[None]]:
        limits = self._limits
        publish_sleep, listen_sleep = InterruptibleSleep(), InterruptibleSleep()
        publishing = PublishLink(
            self._servers,
            address,
            self._budget,
            beat_channel=self._beat_channel,
            beat_seconds=limits.beat,
            backoff=self._backoff,
            sleep=publish_sleep,
            neighbour=listen_sleep,
            relocate=self._relocating.set,
        )
        listening = PartitionListener(
            self._servers,
            address,
            publishing,
            self._inbox,
            beat_channel=self._beat_channel,
            beat_seconds=limits.beat,
            silence_seconds=limits.silence,
            backoff=self._backoff,
            sleep=listen_sleep,
            neighbour=publish_sleep,
            relocate=self._relocating.set,
            missed=self._missed,
        )
        running = keep_all(self._supervision, bus_publishing=publishing.run, bus_listening=listening.run)
        return publishing, listening, tasks.create_task(running)


def _nowhere(publication: Publication) -> None:
    """Stand in for a deliver until the start."""
