"""The metrics of following streams: docs/operations.md, "Metrics", explains each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.fanout.hub import Hub
    from gateway.engine.following.following import Following
    from gateway.observability.metrics import Metrics


def register_following_metrics(metrics: Metrics, *, hub: Hub, following: Following) -> None:
    """Have ``metrics`` read how subscriptions to streams do."""
    read = following.catching_up.statistics
    metrics.gauge("stream_tails", "Streams this node follows.", lambda: following.tails.statistics().followed)
    metrics.gauge(
        "stream_tails_failing",
        "Of these, the ones whose store can't be read now.",
        lambda: following.tails.statistics().failing,
    )
    metrics.counter(
        "stream_interruptions",
        "Times that a tail could not go on without a gap.",
        lambda: following.tails.statistics().interrupted,
    )
    metrics.counter(
        "spills",
        "Times that a slow consumer was left to read on from a stream.",
        lambda: hub.statistics().spills,
    )
    metrics.gauge(
        "behind", "Connections times streams that they read on from.", lambda: hub.statistics().spilled
    )
    metrics.counter("caught_up", "Subscriptions that have had their history.", lambda: read().caught_up)
    metrics.gauge("catch_up_ready", "Readers that wait for their turn.", lambda: read().ready)
    metrics.gauge("catch_up_reads", "Reads of the store under way or wanted.", lambda: read().reading)
    metrics.counter("catch_up_pages", "Pages read for those who are behind.", lambda: read().pages)
    metrics.counter(
        "catch_up_selected_pages",
        "Of these, the ones that the index of topics found for a filter.",
        lambda: read().selected,
    )
    metrics.counter("catch_up_failures", "Reads that failed and were tried again.", lambda: read().failed)
