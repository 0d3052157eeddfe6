"""The metrics of a node, in one list: docs/operations.md, "Metrics", explains each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.bus.base import Bus
    from gateway.core.fanout.hub import Hub
    from gateway.engine.cluster.node import Cluster
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.publishing import PublishService
    from gateway.engine.runtime.upkeep import Upkeep
    from gateway.engine.sessions import Sessions
    from gateway.observability.metrics import Metrics


def register_metrics(
    metrics: Metrics,
    *,
    hub: Hub,
    publisher: PublishService,
    sessions: Sessions,
    upkeep: Upkeep,
    refusals: Refusals,
) -> None:
    """Have ``metrics`` read these parts when it is scraped."""
    metrics.gauge("connections", "Open client connections.", lambda: sessions.statistics().connections)
    metrics.counter(
        "connections_opened", "Connections since the start.", lambda: sessions.statistics().opened
    )
    metrics.counter(
        "connections_refused",
        "Connections refused for lack of room.",
        lambda: sessions.statistics().refused,
    )
    metrics.gauge(
        "subscriptions", "Subscriptions of all connections.", lambda: hub.statistics().subscriptions
    )
    metrics.gauge("filters", "Distinct topic filters.", lambda: hub.statistics().filters)
    metrics.counter(
        "matches", "Topics matched with no answer at hand.", lambda: hub.statistics().index.misses
    )
    metrics.gauge(
        "match_cache_bytes",
        "What remembered matches take, about.",
        lambda: hub.statistics().index.cached_bytes + hub.statistics().target_list_bytes,
    )
    metrics.gauge(
        "filter_shapes",
        "What long filters' shapes take of their budget.",
        lambda: hub.statistics().index.shape_beginnings,
    )
    metrics.gauge("slow_consumers", "Connections that take nothing now.", lambda: hub.statistics().blocked)
    metrics.counter("publications", "Accepted publications.", lambda: publisher.statistics().accepted)
    metrics.counter("publication_bytes", "Bytes of their bodies.", lambda: publisher.statistics().bytes)
    metrics.counter(
        "publications_repeated", "Repeats of an idempotency key.", lambda: publisher.statistics().repeated
    )
    metrics.counter(
        "publications_unmatched", "Publications nobody subscribed to.", lambda: hub.statistics().unmatched
    )
    metrics.counter(
        "deliveries", "Publications times connections they went to.", lambda: hub.statistics().delivered
    )
    metrics.counters(
        "dropped",
        "Publications lost to slow consumers, by overflow policy.",
        "overflow",
        lambda: {policy.value: count for policy, count in hub.statistics().dropped.items()},
    )
    metrics.gauge("event_loop_lag_seconds", "How late the event loop was last.", lambda: upkeep.lag)
    metrics.counters(
        "refused",
        "Connections, commands and requests refused, by the limit or rule.",
        "limit",
        refusals.statistics,
    )


def register_bus_metrics(metrics: Metrics, bus: Bus) -> None:
    """Have ``metrics`` read what goes on between the nodes."""
    read = bus.statistics
    metrics.gauge("bus_connected", "Whether all nodes can be reached.", lambda: read().connected)
    metrics.gauge("bus_partitions", "Partitions listened to.", lambda: read().partitions)
    metrics.gauge("bus_waiting_bytes", "Waiting to be handed to the bus.", lambda: read().waiting_bytes)
    metrics.gauge("bus_unread_bytes", "Heard, waiting for the fan-out.", lambda: read().unread_bytes)
    metrics.counter(
        "bus_publications_out", "Publications the bus has taken.", lambda: read().publications_out
    )
    metrics.counter("bus_batches_out", "Payloads that carried them.", lambda: read().batches_out)
    metrics.counter(
        "bus_publications_in", "Publications heard, own included.", lambda: read().publications_in
    )
    metrics.counter("bus_batches_in", "Payloads that carried them.", lambda: read().batches_in)
    metrics.counter("bus_failed", "Publications the bus did not confirm.", lambda: read().failed)
    metrics.counter("bus_lost", "Publications known not to have come.", lambda: read().lost)
    metrics.counter(
        "bus_foreign",
        "Payloads of nodes of another version, or that have another number of partitions.",
        lambda: read().foreign,
    )
    metrics.counter("bus_breaks", "Times that listening was interrupted.", lambda: read().breaks)
    metrics.counter("bus_reconnects", "Connections made again.", lambda: read().reconnects)


def register_cluster_metrics(metrics: Metrics, cluster: Cluster) -> None:
    """Have ``metrics`` read how it stands with the other nodes."""
    read = cluster.statistics
    metrics.gauge("nodes", "Nodes heard of, this one included.", lambda: read().nodes)
    metrics.gauge(
        "nodes_differing",
        "Nodes whose streams capture other topics than this one's.",
        lambda: read().differing,
    )
    metrics.gauge("nodes_divided", "Nodes with another number of partitions.", lambda: read().divided)
    metrics.counter(
        "captured_live",
        "Publications stored, and sent over the bus too for such nodes.",
        lambda: read().copies,
    )
    metrics.counter("questions", "Questions to the other nodes.", lambda: read().questions)
    metrics.counter(
        "questions_unanswered", "Answers to them that did not come in time.", lambda: read().unanswered
    )
    metrics.counter(
        "control_unreadable",
        "Messages of other nodes that could not be understood.",
        lambda: read().unreadable,
    )
    metrics.counter(
        "control_dropped", "Questions and nodes for which there was no room.", lambda: read().dropped
    )
