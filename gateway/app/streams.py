"""Builds what keeps streams: the store that is chosen, and the parts that write, read and describe it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio

from gateway.core.cluster.stream_agreement import StreamAgreement
from gateway.engine.appending import Appender
from gateway.engine.cluster.captured_live import CapturedLive
from gateway.engine.following.following import Following
from gateway.engine.following.last_values import LastValueReader
from gateway.engine.following.reading import StreamReader
from gateway.engine.following.stream_overview import StreamOverview
from gateway.engine.following.watched_store import WatchedStore
from gateway.engine.group_administration import ConfiguredGroups
from gateway.engine.metrics.following_metrics import register_following_metrics
from gateway.engine.metrics.stream_metrics import register_stream_metrics
from gateway.errors import StreamUnavailable
from gateway.http_api.last_values import LastValueRoutes
from gateway.http_api.purging import PurgeRoute
from gateway.http_api.streams import StreamRoutes
from gateway.settings.store import MEMORY, REDIS, SQLITE, store_url
from gateway.settings.stream import stream_map

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.routing import Route

    from gateway.app.surroundings import NodeClock, Surroundings
    from gateway.bus.base import Bus
    from gateway.core.fanout.hub import Hub
    from gateway.core.streams.stream import StreamMap
    from gateway.core.topics.grammar import TopicLimits
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.group_administration import GroupAdministration
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.purging import PurgeService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.observability.health import Health
    from gateway.observability.metrics import Metrics
    from gateway.settings import Settings
    from gateway.streams.base import Store
    from gateway.supervision import Supervision


@dataclass(slots=True)
class StreamParts:
    """The parts of a node that deal with streams.

    Attributes:
        map: which streams there are.
        store: what keeps them; None where there are none, and then nothing is opened.
        watched: the same for all that read it; None as above.
        appender: the way in; None as above.
        reader: for those who read without a subscription.
        overview: what there is to say about each.
        supervision: keeps their tasks running.
        agreement: whether all nodes capture the same topics.
        live: the way of what they capture over the bus while they don't; None where this node is alone.
        groups: those that are configured.
    """

    map: StreamMap
    store: Store | None
    watched: WatchedStore | None
    appender: Appender | None
    reader: StreamReader
    overview: StreamOverview
    supervision: Supervision
    agreement: StreamAgreement
    live: CapturedLive | None
    groups: ConfiguredGroups
    _opened: bool = field(default=False, init=False)

    async def open(self) -> None:
        """Open the store, unless that is done.

        Raises:
            StoreUnusable: what is there can't be opened, isn't a store, or is another process'.
        """
        if self.store is not None and not self._opened:
            await self.store.start()
            self._opened = True
            # Where the store is away the node starts all the same, and goes on trying.
            with suppress(StreamUnavailable):
                await self.groups.make(self.store)

    async def make_groups(self) -> None:
        """Make what configured groups could not be made at the start."""
        if self.store is not None:
            await self.groups.keep_making(self.store)

    def follow(self, hub: Hub, delivery: DeliveryService) -> Following | None:
        """Make what reads streams for the subscriptions of ``hub``; None where there are no streams."""
        if self.watched is None:
            return None
        return Following(
            self.map, self.watched, hub, delivery, supervision=self.supervision, agreement=self.agreement
        )

    def tell_losses(self, delivery: DeliveryService) -> None:
        """Have ``delivery`` tell subscribers of what nodes with other streams may have kept from them."""
        if self.live is not None:
            self.live.announce = delivery.announce_loss
            delivery.both_ways = lambda: self.agreement.both_ways

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the store open.

        Raises:
            StoreUnusable: as ``open``.
        """
        await self.open()
        try:
            yield
        finally:
            if self.store is not None:
                with anyio.CancelScope(shield=True):
                    self._opened = False
                    await self.store.stop()


def build_streams(
    settings: Settings, bus: Bus, supervision: Supervision, refusals: Refusals, surroundings: Surroundings
) -> StreamParts:
    """Build the parts; nothing is opened yet.

    Args:
        settings: of the node.
        bus: where other nodes are reached.
        supervision: keeps their tasks running.
        refusals: counts who is turned away.
        surroundings: the time, and what stands in for the store.

    Raises:
        ValueError: ``redis.url`` is none that can be used.
    """
    streams = stream_map(settings.streams)
    store = None
    if len(streams):
        store = surroundings.store(_build_store(settings, streams, supervision, surroundings.clock))
    agreement = StreamAgreement(streams.digest)
    live = None if settings.redis.url is None else CapturedLive(bus, streams, agreement)
    watched = None
    if store is not None:
        watched = WatchedStore(store, connected=lambda: store.statistics().connected)
    return StreamParts(
        streams,
        store,
        watched,
        None if store is None else Appender(store, streams, live=live),
        StreamReader(watched, streams, most_waiting=settings.limits.long_polls, refusals=refusals),
        StreamOverview(store, streams),
        supervision,
        agreement,
        live,
        ConfiguredGroups(
            (stream.name, group.configuration()) for stream in settings.streams for group in stream.groups
        ),
    )


def watch_streams(
    parts: StreamParts, metrics: Metrics, health: Health, *, hub: Hub, following: Following | None
) -> None:
    """Show in metrics and readiness how it stands with the streams, if there are any."""
    if (live := parts.live) is not None:
        health.reasons.append(lambda: live.problem)
    store, watched, appender = parts.store, parts.watched, parts.appender
    if store is None or watched is None or appender is None or following is None:
        return
    register_following_metrics(metrics, hub=hub, following=following)
    register_stream_metrics(
        metrics,
        store=store,
        watched=watched,
        appender=appender,
        reader=parts.reader,
        overview=parts.overview,
    )
    health.parts["store"] = lambda: store.statistics().connected

    def answers(stream: str) -> bool:
        # Where the whole store is away that says it all.
        readable = watched.readable(stream)
        return readable and not (store.statistics().connected and following.tails.failing(stream))

    for each in parts.map:
        health.parts[f"stream:{each.name}"] = partial(answers, each.name)


def stream_routes(
    parts: StreamParts,
    purges: PurgeService,
    *,
    authenticate: RequestAuthenticator,
    administrator: RequestAuthenticator,
    lasting: LastingRequests,
    topic_limits: TopicLimits,
    groups: GroupAdministration,
) -> list[Route]:
    """The routes that read, describe and purge streams."""
    purging = PurgeRoute(
        parts.map, purges, administrator=administrator, lasting=lasting, topic_limits=topic_limits
    )
    reading = StreamRoutes(
        parts.map,
        overview=parts.overview,
        reader=parts.reader,
        authenticate=authenticate,
        administrator=administrator,
        lasting=lasting,
        topic_limits=topic_limits,
        groups=groups,
    )
    return [*reading.routes(), *purging.routes()]


def last_value_routes(
    parts: StreamParts,
    *,
    authenticate: RequestAuthenticator,
    lasting: LastingRequests,
    topic_limits: TopicLimits,
) -> LastValueRoutes:
    """What reads last values over HTTP."""
    values = LastValueReader(parts.watched, parts.map)
    return LastValueRoutes(values, authenticate=authenticate, lasting=lasting, topic_limits=topic_limits)


def _build_store(settings: Settings, streams: StreamMap, supervision: Supervision, clock: NodeClock) -> Store:
    from gateway.streams.limits import StoreLimits  # noqa: PLC0415 - a node without streams loads no store

    store = settings.store
    url = store_url(store, joined=settings.redis.url is not None)
    if url == REDIS:
        return _build_redis_store(settings, streams, supervision)
    limits = StoreLimits(
        waiting_messages=store.waiting_messages,
        waiting_bytes=store.waiting_bytes,
        timeout=store.timeout,
        topics_per_read=settings.limits.topics_per_read,
    )
    if url == MEMORY:
        from gateway.streams.memory import MemoryStore  # noqa: PLC0415 - as above

        return MemoryStore(streams, limits=limits, clock=clock.steady.milliseconds, supervision=supervision)
    from gateway.streams.sqlite.store import SqliteStore  # noqa: PLC0415 - as above

    return SqliteStore(
        url.removeprefix(SQLITE),
        streams,
        synchronous=store.synchronous,
        limits=limits,
        clock=clock.steady.milliseconds,
        supervision=supervision,
    )


def _build_redis_store(settings: Settings, streams: StreamMap, supervision: Supervision) -> Store:
    from gateway.streams.limits import RedisStoreLimits  # noqa: PLC0415 - as above
    from gateway.streams.redis.store import RedisStore  # noqa: PLC0415 - a second and 40 MB, for many nodes only

    store, redis = settings.store, settings.redis
    assert redis.url is not None, "the settings' own check"
    limits = RedisStoreLimits(
        timeout=store.timeout,
        waiting_messages=store.waiting_messages,
        waiting_bytes=store.waiting_bytes,
        beat=min(1.0, redis.silence_timeout / 3),
        silence=redis.silence_timeout,
        topics_per_read=settings.limits.topics_per_read,
    )
    try:
        return RedisStore(
            redis.url.get_secret_value(),
            streams,
            prefix=redis.prefix,
            limits=limits,
            supervision=supervision,
        )
    except ValueError as exc:
        raise ValueError(f"redis.url: {exc}") from exc
