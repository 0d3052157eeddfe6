"""Prometheus metrics, read from the parts' ``statistics()`` when they are scraped.

Nothing is counted per message here: a labelled increment costs more than a delivery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from prometheus_client import Metric

_Sample: TypeAlias = tuple[list[str], float]
"""Values of the labels, and the number."""

Values: TypeAlias = tuple[str, ...]
"""What several labels say."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Readings(Collector):
    def __init__(self) -> None:
        self.families: list[Callable[[], Metric]] = []

    def collect(self) -> Iterable[Metric]:
        return [family() for family in self.families]


class _Labelled(Collector):
    """What ``registry`` collects, each sample with ``labels`` besides its own."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            family.samples = [
                sample._replace(labels={**self._labels, **sample.labels}) for sample in family.samples
            ]
            yield family


class Metrics:
    """One node's metrics: parts register what is to be read."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._registry = CollectorRegistry()
        self._readings = _Readings()
        self._looks: list[Callable[[], Awaitable[None]]] = []
        self._registry.register(self._readings)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def label(self, name: str, value: str) -> None:
        """Have every sample carry one more label: of several nodes at one address, which this is."""
        self._labels[name] = value

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a value that goes up and down."""
        self._add(GaugeMetricFamily, name, meaning, [], lambda: [([], read())])

    def counter(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a value that only grows; ``_total`` is appended to its name."""
        self._add(CounterMetricFamily, name, meaning, [], lambda: [([], read())])

    def counters(self, name: str, meaning: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Add counters that a label tells apart; ``read`` gives a small, fixed set of label values."""
        self._add(CounterMetricFamily, name, meaning, [label], lambda: _by_label(read()))

    def counters_by(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, str],
        read: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        """Add counters that two labels tell apart; ``read`` gives a bounded set of their values."""
        self._add(
            CounterMetricFamily,
            name,
            meaning,
            list(labels),
            lambda: [(list(values), number) for values, number in read().items()],
        )

    def gauges(self, name: str, meaning: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Add values that a label tells apart, as ``counters`` does."""
        self._add(GaugeMetricFamily, name, meaning, [label], lambda: _by_label(read()))

    def counters_of(
        self, name: str, meaning: str, labels: Sequence[str], read: Callable[[], Mapping[Values, float]]
    ) -> None:
        """As ``counters``, told apart by several labels."""
        self._add(CounterMetricFamily, name, meaning, list(labels), lambda: _by_labels(read()))

    def gauges_of(
        self, name: str, meaning: str, labels: Sequence[str], read: Callable[[], Mapping[Values, float]]
    ) -> None:
        """As ``gauges``, told apart by several labels."""
        self._add(GaugeMetricFamily, name, meaning, list(labels), lambda: _by_labels(read()))

    def _add(
        self,
        kind: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        meaning: str,
        labels: list[str],
        read: Callable[[], list[_Sample]],
    ) -> None:
        def family() -> Metric:
            metric = kind(f"gateway_{name}", meaning, labels=labels)
            for values, number in read():
                metric.add_metric(values, number)
            return metric

        self._readings.families.append(family)

    def look_first(self, look: Callable[[], Awaitable[None]]) -> None:
        """Await ``look``, which is bounded in time and doesn't fail, before each scrape."""
        self._looks.append(look)

    async def scrape(self) -> bytes:
        """What ``render`` gives once everything that must be looked at has been."""
        for look in self._looks:
            await look()
        return self.render()

    def render(self) -> bytes:
        """The exposition in Prometheus' text format, of type ``CONTENT_TYPE``."""
        if not self._labels:
            return generate_latest(self._registry)
        labelled = CollectorRegistry()
        labelled.register(_Labelled(self._registry, self._labels))
        return generate_latest(labelled)


def _by_label(numbers: Mapping[str, float]) -> list[_Sample]:
    return [([value], number) for value, number in numbers.items()]


def _by_labels(numbers: Mapping[Values, float]) -> list[_Sample]:
    return [(list(values), number) for values, number in numbers.items()]
