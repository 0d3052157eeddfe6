"""The metrics of groups: docs/operations.md, "Groups", explains each.

The labels ``stream`` and ``group`` hold the names of groups that there are: only administrators make some,
and a stream has no more than ``MOST_GROUPS``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engine.consuming import ConsumeService
    from gateway.engine.group_administration import GroupAdministration
    from gateway.engine.groups import GroupCounts
    from gateway.engine.pulling import PullService
    from gateway.observability.metrics import Metrics
    from gateway.streams.groups.base import GroupStatistics

_LABELS: Final = ("stream", "group")


def register_group_metrics(
    metrics: Metrics, *, administration: GroupAdministration, consumer: ConsumeService, puller: PullService
) -> None:
    """Have ``metrics`` read these parts when it is scraped."""
    metrics.look_first(administration.refresh)
    metrics.gauge("group_members", "Members that are connections of this node.", lambda: consumer.members)
    metrics.gauge("group_pulls_waiting", "Pulls that wait for a delivery.", lambda: puller.waiting)

    def gauges(name: str, meaning: str, read: Callable[[GroupStatistics], float]) -> None:
        metrics.gauges_of(
            name, meaning, _LABELS, lambda: {key: read(each) for key, each in administration.latest().items()}
        )

    gauges("group_depth", "Publications neither acknowledged nor dead.", lambda each: each.depth)
    gauges("group_in_flight", "Of these, with a member.", lambda each: each.in_flight)
    gauges("group_delayed", "Of these, waiting for a delay to end.", lambda each: each.delayed)
    gauges("group_parked", "Of these, waiting behind another one of their key.", lambda each: each.parked)
    gauges("group_dead", "Dead letters kept.", lambda each: each.dead)
    gauges("group_oldest_age_seconds", "How old the oldest in depth is.", _oldest_age)

    def totals(name: str, meaning: str, read: Callable[[GroupStatistics], float]) -> None:
        metrics.counters_of(
            name, meaning, _LABELS, lambda: {key: read(each) for key, each in administration.latest().items()}
        )

    totals("group_redelivered", "Deliveries that were repeats, on all nodes.", lambda each: each.redelivered)
    totals("group_lost", "What retention took before it was finished.", lambda each: each.lost)

    def counters(name: str, meaning: str, read: Callable[[GroupCounts], float]) -> None:
        metrics.counters_of(
            name, meaning, _LABELS, lambda: {key: read(each) for key, each in administration.counts().items()}
        )

    counters("group_delivered", "Deliveries by this node, repeats included.", lambda each: each.delivered)
    counters("group_acknowledged", "Deliveries that members have done.", lambda each: each.acknowledged)
    counters("group_rejected", "Deliveries that members gave back as failed.", lambda each: each.rejected)
    counters("group_stale", "Answers whose lease had run out.", lambda each: each.stale)


def _oldest_age(held: GroupStatistics) -> float:
    return 0.0 if held.oldest is None else max(0.0, time.time() - held.oldest / 1000)
