"""What is shown of streams and their store: counts, and logs as they were looked at last; all documented."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.core.streams.configuration import Bounds, StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.engine.appending import AppendStatistics
from gateway.engine.following.stream_overview import StreamOverview
from gateway.engine.metrics import stream_metrics
from gateway.engine.metrics.stream_metrics import register_stream_metrics
from gateway.errors import StreamUnavailable
from gateway.observability.metrics import Metrics
from gateway.streams.statistics import StoreStatistics, StreamStatistics
from tests.unit.engine.metrics.test_node_metrics import numbered, shown

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
STREAMS = StreamMap([StreamConfiguration("s", "s/#"), StreamConfiguration("empty", "e/#")])
NOW = 1000.0


class Store:
    """Two logs, one of which holds nothing; away when it should be."""

    def __init__(self) -> None:
        self.counts = numbered(StoreStatistics, 100)
        self.away = False
        self.last = 9

    def statistics(self) -> StoreStatistics:
        counts: StoreStatistics = self.counts
        return counts

    async def describe(self, stream: str) -> StreamStatistics:
        if self.away:
            raise StreamUnavailable("away")
        if stream == "empty":
            return StreamStatistics(Bounds("e", 1, 0), 0, None, None)
        return StreamStatistics(
            Bounds("e", 3, self.last), 77, int((NOW - 60) * 1000), int(NOW * 1000), topics=5, last_values=6
        )


class Node:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream_metrics, "time", SimpleNamespace(time=lambda: NOW))
        self.now = 0.0
        self.store, self.metrics = Store(), Metrics()
        self.appended = AppendStatistics({"s": 1}, {"s": 2}, {"s": 3})
        parts: dict[str, Any] = {
            "store": self.store,
            "watched": SimpleNamespace(missing=lambda: {"s": 4}),
            "appender": SimpleNamespace(statistics=lambda: self.appended),
            "reader": SimpleNamespace(waiting=5),
            "overview": StreamOverview(self.store, STREAMS, clock=lambda: self.now),  # type: ignore[arg-type]
        }
        register_stream_metrics(self.metrics, **parts)

    async def scrape(self) -> dict[str, float]:
        await self.metrics.scrape()
        return shown(self.metrics)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(monkeypatch)


async def test_what_was_appended_is_counted_by_stream(node: Node) -> None:
    found = await node.scrape()
    names = ("appended", "repeated", "failed", "missing")
    assert [found[f'gateway_stream_{name}_total{{stream="s"}}'] for name in names] == [1, 2, 3, 4]
    assert found["gateway_store_readers_waiting"] == 5


async def test_what_the_store_counts_is_shown_under_its_own_name(node: Node) -> None:
    found, counts = await node.scrape(), node.store.counts
    for name in ("connected", "waiting", "waiting_bytes"):
        assert found[f"gateway_store_{name}"] == getattr(counts, name)
    for name in ("commits", "refused", "read", "purged", "epochs_raised"):
        assert found[f"gateway_store_{name}_total"] == getattr(counts, name)


async def test_each_log_is_shown_as_it_was_found(node: Node) -> None:
    found = await node.scrape()
    names = ("first_offset", "last_offset", "bytes", "oldest_age_seconds", "last_values")
    assert [found[f'gateway_stream_{name}{{stream="s"}}'] for name in names] == [3, 9, 77, 60, 6]
    assert [found[f'gateway_stream_{name}{{stream="empty"}}'] for name in names] == [1, 0, 0, 0, 0]
    assert found['gateway_stream_topics{stream="s"}'] == 5
    assert 'gateway_stream_topics{stream="empty"}' not in found, "it isn't known"


async def test_while_the_store_is_away_the_last_that_is_known_is_shown(node: Node) -> None:
    last = 'gateway_stream_last_offset{stream="s"}'
    node.store.away = True
    assert last not in await node.scrape()
    node.store.away, node.now = False, 10.0
    assert (await node.scrape())[last] == 9
    node.store.away, node.store.last, node.now = True, 12, 20.0
    assert (await node.scrape())[last] == 9
    node.store.away, node.now = False, 30.0
    assert (await node.scrape())[last] == 12


async def test_every_metric_of_streams_is_documented(node: Node) -> None:
    documented = OPERATIONS.read_text("utf-8")
    names = {name.partition("{")[0] for name in await node.scrape()}
    assert {name for name in names if f"`{name}`" not in documented} == set()
