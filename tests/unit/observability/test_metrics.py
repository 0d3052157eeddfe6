"""Metrics of one node, and of one among several at the same address."""

from __future__ import annotations

from gateway.observability.metrics import Metrics


def samples(metrics: Metrics) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]


def test_values_are_read_when_they_are_asked_for() -> None:
    metrics, value = Metrics(), [1.0]
    metrics.gauge("depth", "How deep.", lambda: value[0])
    value[0] = 7.0
    assert "gateway_depth 7.0" in samples(metrics)


def test_a_label_is_on_every_sample_beside_its_own() -> None:
    metrics = Metrics()
    metrics.label("worker", "2")
    metrics.counters("kinds", "Of two kinds.", "kind", lambda: {"a": 1, "b": 2})
    lines = samples(metrics)
    assert 'gateway_kinds_total{kind="a",worker="2"} 1.0' in lines
    assert 'gateway_kinds_total{kind="b",worker="2"} 2.0' in lines
    assert all('worker="2"' in line for line in lines)
    assert samples(metrics) != []
