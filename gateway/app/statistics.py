"""Says where a node's statistics are read, and builds what keeps and tells them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.app.resident_memory import resident_bytes
from gateway.core.cluster.control import AskStatistics
from gateway.core.statistics.series import DROPPED
from gateway.engine.cluster.peers import NoPeers
from gateway.engine.cluster.statistics import StatisticsService
from gateway.engine.statistics import Figures, Held, StatisticsRecorder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.app.groups import GroupParts
    from gateway.app.streams import StreamParts
    from gateway.bus.base import Bus
    from gateway.core.fanout.hub import Hub
    from gateway.core.statistics.ring import Value
    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.engine.cluster.node import Cluster
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.publishing import PublishService
    from gateway.engine.runtime.upkeep import Upkeep
    from gateway.engine.sessions import Sessions
    from gateway.streams.groups.base import GroupStatistics
    from gateway.streams.statistics import StreamStatistics
    from gateway.transports.http.connection_room import ConnectionRoom


def build_statistics(
    *,
    node: str,
    hub: Hub,
    publisher: PublishService,
    delivery: DeliveryService,
    sessions: Sessions,
    room: ConnectionRoom,
    upkeep: Upkeep,
    refusals: Refusals,
    bus: Bus,
    streams: StreamParts,
    groups: GroupParts,
    cluster: Cluster | None,
    administration: ClusterAdministration,
) -> tuple[StatisticsRecorder, StatisticsService]:
    """Build what keeps the statistics of these parts, and what tells them, those of ``cluster`` too.

    Returns:
        The recorder, whose ``run`` is to be started; and the service.
    """
    figures = Figures(refused=refusals.statistics)
    _read_clients(figures, hub, publisher, delivery=delivery, sessions=sessions, room=room, upkeep=upkeep)
    if cluster is not None:
        _read_bus(figures, bus)
    if streams.store is not None:
        _read_streams(figures, streams, groups)
    recorder = StatisticsRecorder(figures)
    if cluster is not None:
        cluster.told[AskStatistics] = recorder.page
    peers = NoPeers() if cluster is None else cluster
    return recorder, StatisticsService(recorder, peers, node=node, reach=administration.reach)


def _read_clients(
    figures: Figures,
    hub: Hub,
    publisher: PublishService,
    *,
    delivery: DeliveryService,
    sessions: Sessions,
    room: ConnectionRoom,
    upkeep: Upkeep,
) -> None:
    def gauges() -> Mapping[str, Value]:
        held = hub.statistics()
        return {
            "connections": sessions.connections,
            "subscriptions": held.subscriptions,
            "slow_consumers": held.blocked,
            "behind": held.spilled,
            "http_connections": room.statistics().connections,
            "lag_ms": round(upkeep.lag * 1000, 3),
            "memory_bytes": resident_bytes(),
        }

    def counted() -> Mapping[str, float]:
        fanned_out, published = hub.statistics(), publisher.statistics()
        return {
            "opened": sessions.statistics().opened,
            "publications": published.accepted,
            "publication_bytes": published.bytes,
            "unmatched": fanned_out.unmatched,
            "fanned_out": fanned_out.published - fanned_out.unmatched,
            "deliveries": fanned_out.delivered,
            "delivery_bytes": fanned_out.delivered_bytes,
            "spills": fanned_out.spills,
            **{DROPPED[policy]: count for policy, count in fanned_out.dropped.items()},
        }

    figures.gauges.append(gauges)
    figures.counted.append(counted)
    figures.latencies["fanout"] = lambda: delivery.latencies.counts


def _read_bus(figures: Figures, bus: Bus) -> None:
    def gauges() -> Mapping[str, Value]:
        read = bus.statistics()
        return {
            "bus_connected": read.connected,
            "bus_waiting_bytes": read.waiting_bytes,
            "bus_unread_bytes": read.unread_bytes,
        }

    def counted() -> Mapping[str, float]:
        read = bus.statistics()
        return {
            "bus_out": read.publications_out,
            "bus_in": read.publications_in,
            "bus_failed": read.failed,
            "bus_lost": read.lost,
        }

    def latencies() -> Sequence[int] | None:
        return bus.statistics().latency_counts

    figures.gauges.append(gauges)
    figures.counted.append(counted)
    figures.latencies["bus"] = latencies


def _read_streams(figures: Figures, streams: StreamParts, groups: GroupParts) -> None:
    store, appender = streams.store, streams.appender
    assert store is not None, "the caller's own check"
    assert appender is not None, "as above"

    def gauges() -> Mapping[str, Value]:
        read = store.statistics()
        return {
            "store_connected": read.connected,
            "store_waiting": read.waiting,
            "members": groups.consumer.members,
            "pulls_waiting": groups.puller.waiting,
        }

    def counted() -> Mapping[str, float]:
        read = appender.statistics()
        done = groups.administration.counts().values()
        return {
            "stored": sum(read.appended.values()),
            "store_failed": sum(read.failed.values()),
            "delivered_to_members": sum(each.delivered for each in done),
            "acknowledged": sum(each.acknowledged for each in done),
            "rejected": sum(each.rejected for each in done),
        }

    async def look() -> None:
        await streams.overview.refresh()
        await groups.administration.refresh()

    def held() -> Held:
        now = time.time()
        return Held(
            {name: _stream_held(each, now) for name, each in streams.overview.latest().items()},
            {
                f"{stream}/{group}": _group_held(each, now)
                for (stream, group), each in groups.administration.latest().items()
            },
        )

    figures.gauges.append(gauges)
    figures.counted.append(counted)
    figures.latencies["store"] = lambda: appender.latencies.counts
    figures.look, figures.held = look, held


def _stream_held(held: StreamStatistics, now: float) -> Mapping[str, Value]:
    bounds = held.bounds
    return {
        "messages": bounds.last - bounds.first + 1,
        "bytes": held.bytes,
        "last": bounds.last,
        "topics": held.topics,
        "oldest_age_ms": _age(held.first_time, now),
    }


def _group_held(held: GroupStatistics, now: float) -> Mapping[str, Value]:
    return {
        "depth": held.depth,
        "in_flight": held.in_flight,
        "delayed": held.delayed,
        "parked": held.parked,
        "dead": held.dead,
        "redelivered": held.redelivered,
        "lost": held.lost,
        "oldest_age_ms": _age(held.oldest, now),
    }


def _age(time_ms: int | None, now: float) -> Value:
    return None if time_ms is None else max(0, int(now * 1000) - time_ms)
