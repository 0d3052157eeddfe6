"""Every number that the parts of a node count is shown once, under its own name."""

from __future__ import annotations

import re
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from gateway.bus.base import BusStatistics
from gateway.core.fanout.limits import HubStatistics
from gateway.core.messages.commands import Overflow
from gateway.core.topics.filter_index import IndexStatistics
from gateway.engine.cluster.node import ClusterStatistics
from gateway.engine.metrics.node_metrics import (
    register_bus_metrics,
    register_cluster_metrics,
    register_metrics,
)
from gateway.engine.metrics.refusals import LIMITS, Refusals
from gateway.engine.publishing import PublishStatistics
from gateway.engine.sessions import SessionStatistics
from gateway.observability.metrics import Metrics


def numbered(kind: Any, first: int, **others: Any) -> Any:
    """Statistics of ``kind``, each of whose fields has a number of its own."""
    names = [field.name for field in fields(kind) if field.name not in others]
    return kind(**{name: first + number for number, name in enumerate(names)}, **others)


def part(statistics: Any) -> Any:
    return SimpleNamespace(statistics=lambda: statistics)


def shown(metrics: Metrics) -> dict[str, float]:
    """The gateway's samples by name and labels, without the ``_created`` of each counter."""
    lines = metrics.render().decode().splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if line.startswith("gateway_")]
    return {name: float(number) for name, number in samples if "_created" not in name}


def test_everything_that_a_bus_counts_is_shown_under_its_own_name() -> None:
    metrics, statistics = Metrics(), numbered(BusStatistics, 100, latency_counts=None)
    register_bus_metrics(metrics, part(statistics))
    found = {re.sub(r"_total$", "", name): number for name, number in shown(metrics).items()}
    assert found == {
        f"gateway_bus_{field.name}": getattr(statistics, field.name)
        for field in fields(BusStatistics)
        if field.name != "latency_counts"  # no number: percentiles are read out of it elsewhere
    }


def test_everything_that_is_counted_of_other_nodes_is_shown_once() -> None:
    metrics, statistics = Metrics(), numbered(ClusterStatistics, 100)
    register_cluster_metrics(metrics, part(statistics))
    found = shown(metrics)
    assert sorted(found.values()) == sorted(
        getattr(statistics, field.name) for field in fields(ClusterStatistics)
    )
    assert found["gateway_nodes"] == statistics.nodes
    assert found["gateway_nodes_differing"] == statistics.differing
    assert found["gateway_nodes_divided"] == statistics.divided
    assert found["gateway_questions_unanswered_total"] == statistics.unanswered


class Node:
    """The parts of a node, with statistics that are made up."""

    def __init__(self) -> None:
        self.metrics, self.refusals = Metrics(), Refusals()
        self.index = numbered(IndexStatistics, 100)
        dropped = {policy: 200 + number for number, policy in enumerate(Overflow)}
        self.hub = numbered(HubStatistics, 300, index=self.index, dropped=dropped)
        self.publisher = numbered(PublishStatistics, 400)
        self.sessions = numbered(SessionStatistics, 500)
        register_metrics(
            self.metrics,
            hub=part(self.hub),
            publisher=part(self.publisher),
            sessions=part(self.sessions),
            upkeep=SimpleNamespace(lag=0.25),  # type: ignore[arg-type]  # no more of it is read
            refusals=self.refusals,
        )


def test_what_operators_watch_of_a_node_is_what_its_parts_count() -> None:
    """Spec: docs/operations.md, "Metrics"."""
    node = Node()
    found = shown(node.metrics)
    assert {name: found[f"gateway_{name}"] for name in ("connections", "subscriptions", "filters")} == {
        "connections": node.sessions.open - node.sessions.requests,
        "subscriptions": node.hub.subscriptions,
        "filters": node.hub.filters,
    }
    assert found["gateway_connections_opened_total"] == node.sessions.opened
    assert found["gateway_connections_refused_total"] == node.sessions.refused
    assert found["gateway_slow_consumers"] == node.hub.blocked
    assert found["gateway_deliveries_total"] == node.hub.delivered
    assert found["gateway_publications_total"] == node.publisher.accepted
    assert found["gateway_publications_repeated_total"] == node.publisher.repeated
    assert found["gateway_event_loop_lag_seconds"] == 0.25
    assert found["gateway_matches_total"] == node.index.misses
    assert found["gateway_match_cache_bytes"] == node.index.cached_bytes + node.hub.target_list_bytes


def test_losses_are_told_apart_by_policy() -> None:
    node = Node()
    found = shown(node.metrics)
    assert {
        policy: found[f'gateway_dropped_total{{overflow="{policy.value}"}}'] for policy in Overflow
    } == node.hub.dropped


def test_refusals_are_told_apart_by_a_fixed_set_of_limits_as_they_come() -> None:
    node = Node()
    refused = re.compile(r'gateway_refused_total\{limit="(.+)"\}')
    for times in range(3):
        found = {match[1]: n for name, n in shown(node.metrics).items() if (match := refused.fullmatch(name))}
        assert found == {limit: times * (limit == "origin") for limit in LIMITS}
        node.refusals.count("origin")
