"""Streams in Redis, shared by all nodes of a gateway: one server, Sentinel, or Cluster.

Every node appends and reads by scripts that take one atomic step each (``scripts`` says what is kept
and how). Per server a node has three connections: one appends, so that nothing large delays it, one reads,
one hears what others appended.

How durable an answered append is, is Redis' matter: ``appendonly``, ``appendfsync``, replicas. What Redis
loses all the same is noticed by the nodes that had seen it, and told by a new epoch.

Turned down: ``XREAD BLOCK`` to wait (one blocked connection per reader, or all of them woken up to change
what is waited for), offsets from ``*`` (they would not be consecutive), redis-py's clients (they repeat in
silence what may have been done).

Spec: docs/streams.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import StreamUnavailable
from gateway.redis.lifetime import log_failure, wait_until
from gateway.redis.servers import servers_of
from gateway.streams.base import SelectedPage
from gateway.streams.limits import RedisStoreLimits
from gateway.streams.redis.batch import AppendBudget, LogQueue
from gateway.streams.redis.calls import DescribeCall, ReadCall
from gateway.streams.redis.groups import RedisGroups
from gateway.streams.redis.indexed_log import IndexedLog
from gateway.streams.redis.log import RedisLog
from gateway.streams.redis.routes import LogRoutes
from gateway.streams.redis.tending import IndexTending
from gateway.streams.statistics import StoreStatistics
from gateway.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds, StreamConfiguration
    from gateway.core.streams.pages import Page
    from gateway.streams.base import Appended, Dedupe, TopicPage
    from gateway.streams.statistics import Extent, StreamStatistics

_POLL_SECONDS = 0.5
"""How often a reader looks by itself while appends can't be heard of."""

_UNKNOWN_POLL_SECONDS = 0.5
"""How often it is looked at a stream that could not be read yet, or that Redis refuses to show."""

_log = logging.getLogger("gateway.streams")


class RedisStore:
    """Keeps streams in Redis Streams."""

    def __init__(
        self,
        url: str,
        configurations: Iterable[StreamConfiguration],
        *,
        prefix: str = "gateway",
        limits: RedisStoreLimits | None = None,
        supervision: Supervision | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Make the store; nothing is opened yet.

        Args:
            url: as ``gateway.redis.servers.servers_of`` reads it.
            configurations: of all streams, the same on every node.
            prefix: what all keys and channels begin with; without braces.
            limits: bounds and times.
            supervision: keeps the tasks running.
            clock: what groups go by in place of Redis' own clock, in tests; milliseconds since 1970.

        Raises:
            ValueError: ``url`` is none of ``servers_of``'s.
        """
        self._limits = limits = limits or RedisStoreLimits()
        self._supervision = supervision or Supervision()
        servers = servers_of(url, timeout=limits.timeout)
        self._publish = "SPUBLISH" if servers.sharded else "PUBLISH"
        self._budget = AppendBudget(
            messages=limits.waiting_messages,
            size=limits.waiting_bytes,
            timeout=limits.timeout,
            publish=self._publish,
        )
        self._queues = {
            each.name: LogQueue(RedisLog(each, prefix, servers.database), self._budget)
            for each in configurations
        }
        logs = [queue.log for queue in self._queues.values()]
        self._indexes = {log.name: IndexedLog(log, self._publish, limits) for log in logs}
        self._groups = RedisGroups(
            self, {log.name: log for log in logs}, self._publish, timeout=limits.timeout, clock=clock
        )
        self._routes = LogRoutes(servers, logs, limits, self._supervision)
        self._running: asyncio.Task[None] | None = None
        self._read = self._purged = 0

    @property
    def available(self) -> bool:
        """Every log can be appended to and read."""
        return all(queue.log.available for queue in self._queues.values())

    @property
    def groups(self) -> RedisGroups:
        """The groups that work the streams off."""
        return self._groups

    @property
    def evicting(self) -> str | None:
        """Redis' ``maxmemory-policy`` where it may throw streams away; None where all is well."""
        return self._routes.evicting

    async def start(self) -> None:
        """Begin; returns when Redis is there, or without it after the time limit of an answer."""
        self._running = asyncio.create_task(self._run(), name="store")
        self._running.add_done_callback(partial(log_failure, _log, "the store of streams"))
        await wait_until(lambda: self.available, self._limits.timeout)

    async def stop(self) -> None:
        """End, once what was accepted is answered or its time is up."""
        # From here on nothing is accepted, so that what there is can come to an end.
        running, self._running = self._running, None
        if running is None:
            return
        await wait_until(lambda: all(queue.idle for queue in self._queues.values()), self._limits.timeout)
        running.cancel()
        await asyncio.wait([running])
        # Connections have ended and told the batches in flight; these are what never got to one.
        for queue in self._queues.values():
            queue.discard("the node ends")
        self._routes.close()

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        """Hand ``publication`` to Redis, with everything else of this turn of the event loop."""
        if self._running is None:
            raise StreamUnavailable("the store of streams is closed")
        return self._queues[stream].append(publication, dedupe)

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1024 * 1024, wait: float = 0.0
    ) -> Page:
        """Read on behind ``after``; a wait ends early with what this node or another one appends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        log = self._queues[stream].log
        page, notified = await self._page(log, after, messages, size)
        begun = page.bounds
        # Beyond the end nothing is worth waiting for: what the reader had seen is lost.
        while not page.publications and page.bounds.last == after and page.bounds.epoch == begun.epoch:
            left = until - loop.time()
            if left <= 0:
                break
            # Asked anew each time: an announcement that can't be heard just now may be a while later.
            seconds = left if log.announced() else min(left, _POLL_SECONDS)
            await log.signal.wait(notified, seconds)
            page, notified = await self._page(log, after, messages, size)
        self._read += len(page.publications)
        return page

    async def bounds(self, stream: str) -> Bounds:
        """Ask Redis for the log's bounds."""
        return (await self.describe(stream)).bounds

    async def before(self, stream: str, time: int) -> int:
        """Look for ``time`` in the log, by halves."""
        return (await self._describe(stream, time=time))[1]

    async def select(
        self, stream: str, filters: Sequence[str], after: int, *, messages: int, size: int = 1024 * 1024
    ) -> SelectedPage | None:
        """Look for the filters' topics in the index, and fetch what they lead to."""
        page = await self._index(stream).select(filters, after, messages=messages, size=size)
        return page and self._counted(page)

    async def at(self, stream: str, offsets: Sequence[int]) -> Sequence[Publication]:
        """Fetch ``offsets`` from the log."""
        found = await self._index(stream).at(offsets)
        self._read += len(found)
        return found

    async def count(self, stream: str, topic_filter: str, after: int, through: int) -> int:
        """Count in the index."""
        return await self._index(stream).count(topic_filter, after, through)

    async def before_newest(self, stream: str, topic_filter: str, count: int) -> int | None:
        """Count back in the index."""
        return await self._index(stream).before_newest(topic_filter, count)

    async def newest_by_topic(
        self,
        stream: str,
        topic_filter: str,
        count: int,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1024 * 1024,
    ) -> SelectedPage:
        """Count back in each topic."""
        index = self._index(stream)
        page = index.newest_by_topic(topic_filter, count, after, through, messages=messages, size=size)
        return self._counted(await page)

    async def snapshot(
        self,
        stream: str,
        topic_filter: str,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1024 * 1024,
    ) -> SelectedPage:
        """Read the last values, from the log and of those that have left it."""
        index = self._index(stream)
        if not index.log.configuration.last_values:
            return SelectedPage(bounds := await self.bounds(stream), (), bounds.last)
        return self._counted(await index.snapshot(topic_filter, after, through, messages=messages, size=size))

    async def last_value(self, stream: str, topic: str) -> tuple[Bounds, Publication | None]:
        """Read one of them."""
        page = await self.snapshot(stream, topic, 0, None, messages=1)
        return page.bounds, next(iter(page.publications), None)

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        """Look through the index."""
        return await self._index(stream).topics(topic_filter, after, limit)

    async def purge(
        self, stream: str, topic_filter: str, before: int | None = None
    ) -> AsyncGenerator[int, None]:
        """Remove what the index leads to."""
        index = self._index(stream)
        end = (await self.bounds(stream)).last + 1 if before is None else before
        async with aclosing(index.purge(topic_filter, end)) as steps:
            async for removed in steps:
                self._purged += removed
                yield removed
        await self._groups.purged(stream, topic_filter, end)

    async def measure(self, stream: str, topic_filter: str, before: int | None = None) -> Extent:
        """Ask for what a purge would remove."""
        end = (await self.bounds(stream)).last + 1 if before is None else before
        return await self._index(stream).measure(topic_filter, end)

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Let Redis compare the log with ``seen``, and begin a new epoch if it falls short of it."""
        return (await self._describe(stream, seen=seen))[0].bounds

    async def describe(self, stream: str) -> StreamStatistics:
        """Ask Redis for the log's figures."""
        return (await self._describe(stream))[0]

    def statistics(self) -> StoreStatistics:
        """A snapshot for metrics, health and tests."""
        budget = self._budget
        return StoreStatistics(
            connected=self.available,
            appended=budget.appended,
            repeated=budget.repeated,
            failed=budget.failed,
            commits=budget.commits,
            read=self._read,
            waiting=budget.messages,
            waiting_bytes=budget.bytes,
            epochs_raised=sum(queue.log.raised for queue in self._queues.values()),
            purged=self._purged,
            last_values_evicted=budget.evicted,
            refused=sum(
                refusals.count
                for queue in self._queues.values()
                for refusals in (queue.log.appends, queue.log.reads, queue.log.tending, queue.log.consuming)
            ),
        )

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._supervision.keep("store_upkeep", self._keep_tidy))
            tasks.create_task(self._supervision.keep("store_looking", self._keep_looking))
            tasks.create_task(self._supervision.keep("store_tending", self._keep_tending))
            tasks.create_task(self._supervision.keep("store_groups", self._groups.keep_looking))
            tasks.create_task(self._supervision.keep("store_groups_upkeep", self._groups.keep_tidy))
            tasks.create_task(self._routes.run())

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(self._limits.tidy)
            now = asyncio.get_running_loop().time()
            for queue in self._queues.values():
                queue.tidy_at(now)

    async def _keep_looking(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._queues:
                tasks.create_task(self._look_at(name))

    async def _look_at(self, stream: str) -> None:
        """Know whether a stream can be read, whoever reads it: a connection alone does not show that."""
        while True:
            try:
                await self._describe(stream)
            except StreamUnavailable as exc:
                _log.debug("stream %r can't be looked at: %s", stream, exc)
            log = self._queues[stream].log
            known = log.epoch and not log.reads.lasting
            await asyncio.sleep(self._limits.look if known else _UNKNOWN_POLL_SECONDS)

    async def _keep_tending(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for index in self._indexes.values():
                tasks.create_task(IndexTending(index, self._publish, self._limits).run())

    # Calls

    def _index(self, stream: str) -> IndexedLog:
        if self._running is None:
            raise StreamUnavailable("the store of streams is closed")
        return self._indexes[stream]

    def _counted(self, page: SelectedPage) -> SelectedPage:
        self._read += len(page.publications)
        return page

    async def _page(self, log: RedisLog, after: int, messages: int, size: int) -> tuple[Page, int]:
        if self._running is None:
            raise StreamUnavailable("the store of streams is closed")
        call = ReadCall(log, self._publish, after, messages=messages, size=size, timeout=self._limits.timeout)
        return await call.answer(), call.notified

    async def _describe(
        self, stream: str, *, time: int = 0, seen: Position | None = None
    ) -> tuple[StreamStatistics, int]:
        if self._running is None:
            raise StreamUnavailable("the store of streams is closed")
        log = self._queues[stream].log
        return await DescribeCall(
            log, self._publish, timeout=self._limits.timeout, time=time, seen=seen
        ).answer()
