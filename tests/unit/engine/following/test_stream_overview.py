from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.engine.appending import Appender
from gateway.engine.following.reading import StreamReader
from gateway.engine.following.stream_overview import StreamOverview
from gateway.engine.following.watched_store import WatchedStore
from gateway.engine.metrics.stream_metrics import register_stream_metrics
from gateway.errors import NotFound, StreamUnavailable
from gateway.observability.metrics import Metrics
from gateway.streams.memory import MemoryStore

if TYPE_CHECKING:
    from gateway.streams.statistics import StreamStatistics

STREAMS = StreamMap([StreamConfiguration("a", "a/#"), StreamConfiguration("b", "b/#")])


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_streams_are_described_in_configured_order() -> None:
    store = MemoryStore(STREAMS)
    await store.start()
    await store.append("b", Publication("b/x", "m", 0, b"1"))
    overview = StreamOverview(store, STREAMS)
    facts = await overview.describe_all()
    assert [(each.configuration.name, each.statistics.bounds.last) for each in facts] == [("a", 0), ("b", 1)]
    with pytest.raises(NotFound):
        await overview.describe("c")
    await store.stop()
    with pytest.raises(StreamUnavailable):
        await overview.describe("a")


async def test_without_streams_nothing_is_asked() -> None:
    overview = StreamOverview(None, StreamMap())
    assert await overview.describe_all() == []
    with pytest.raises(NotFound):
        await overview.describe("a")


async def test_a_stream_that_can_not_be_described_in_time_does_not_keep_the_others_from_it() -> None:
    store, clock = MemoryStore(STREAMS), Clock()
    await store.start()
    overview, describe = StreamOverview(store, STREAMS, clock=clock), store.describe

    async def one_of_them(stream: str) -> StreamStatistics:
        if stream == "a":
            await anyio.sleep_forever()
        return await describe(stream)

    store.describe = one_of_them  # type: ignore[method-assign]  # made to hang
    for _ in range(2):
        await overview.refresh()
        clock.now += 1.0
    assert list(overview.latest()) == ["b"]
    await store.stop()


async def test_a_refresh_is_remembered_for_a_moment_and_outlives_the_store() -> None:
    store, clock = MemoryStore(STREAMS), Clock()
    await store.start()
    overview = StreamOverview(store, STREAMS, clock=clock)
    assert overview.latest() == {}
    await overview.refresh()
    await store.append("a", Publication("a/x", "m", 0, b"1"))
    await overview.refresh()
    assert overview.latest()["a"].bounds.last == 0
    clock.now += 1.0
    await overview.refresh()
    assert overview.latest()["a"].bounds.last == 1
    await store.stop()
    clock.now += 1.0
    await overview.refresh()
    assert overview.latest()["a"].bounds.last == 1


async def test_a_scrape_looks_first_and_has_a_label_for_each_stream() -> None:
    store, metrics = MemoryStore(STREAMS), Metrics()
    await store.start()
    overview, appender = StreamOverview(store, STREAMS), Appender(store, STREAMS)
    reader = StreamReader(store, STREAMS)
    register_stream_metrics(
        metrics,
        store=store,
        watched=WatchedStore(store),
        appender=appender,
        reader=reader,
        overview=overview,
    )
    appender.append("b", Publication("b/x", "m", 0, b"1"), None, 1)
    page = (await metrics.scrape()).decode()
    for line in (
        'gateway_stream_last_offset{stream="a"} 0.0',
        'gateway_stream_first_offset{stream="a"} 1.0',
        'gateway_stream_last_offset{stream="b"} 1.0',
        'gateway_stream_appended_total{stream="b"} 1.0',
        'gateway_stream_oldest_age_seconds{stream="a"} 0.0',
        "gateway_store_connected 1.0",
    ):
        assert line in page.splitlines()
    await store.stop()
