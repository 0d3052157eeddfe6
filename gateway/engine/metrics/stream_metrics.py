"""The metrics of streams and their store: docs/operations.md, "Streams", explains each.

The label ``stream`` holds configured names only, so there are no more of them than there are streams.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engine.appending import Appender
    from gateway.engine.following.reading import StreamReader
    from gateway.engine.following.stream_overview import StreamOverview
    from gateway.engine.following.watched_store import WatchedStore
    from gateway.observability.metrics import Metrics
    from gateway.streams.base import Store
    from gateway.streams.statistics import StreamStatistics


def register_stream_metrics(
    metrics: Metrics,
    *,
    store: Store,
    watched: WatchedStore,
    appender: Appender,
    reader: StreamReader,
    overview: StreamOverview,
) -> None:
    """Have ``metrics`` read these parts when it is scraped."""
    metrics.look_first(overview.refresh)
    _register_store(metrics, store)
    metrics.gauge("store_readers_waiting", "Long polls that wait.", lambda: reader.waiting)
    counts = appender.statistics
    metrics.counters(
        "stream_appended", "Publications stored, by stream.", "stream", lambda: counts().appended
    )
    metrics.counters(
        "stream_repeated", "Repeats of an idempotency key, by stream.", "stream", lambda: counts().repeated
    )
    metrics.counters(
        "stream_failed", "Publications whose storing was not confirmed.", "stream", lambda: counts().failed
    )

    metrics.counters(
        "stream_missing",
        "Publications that readers were told are missing or damaged, by stream.",
        "stream",
        watched.missing,
    )

    def gauges(name: str, meaning: str, read: Callable[[StreamStatistics], float]) -> None:
        metrics.gauges(
            name, meaning, "stream", lambda: {each: read(held) for each, held in overview.latest().items()}
        )

    gauges("stream_first_offset", "The oldest publication's offset.", lambda held: held.bounds.first)
    gauges("stream_last_offset", "The newest publication's offset.", lambda held: held.bounds.last)
    gauges("stream_bytes", "What the log holds, as max_bytes counts.", lambda held: held.bytes)
    metrics.gauges(
        "stream_topics",
        "Topics of which the log holds something.",
        "stream",
        lambda: {each: held.topics for each, held in overview.latest().items() if held.topics is not None},
    )
    gauges("stream_oldest_age_seconds", "How old the oldest publication is.", _oldest_age)
    gauges("stream_last_values", "Topics whose last value is kept.", lambda held: held.last_values)


def _register_store(metrics: Metrics, store: Store) -> None:
    read = store.statistics
    metrics.gauge("store_connected", "Whether streams can be read and written.", lambda: read().connected)
    metrics.gauge("store_waiting", "Publications that wait to be stored.", lambda: read().waiting)
    metrics.gauge("store_waiting_bytes", "Their size.", lambda: read().waiting_bytes)
    metrics.counter("store_commits", "Transactions that stored publications.", lambda: read().commits)
    metrics.counter(
        "store_refused", "Calls that the store refused, or did not answer in time.", lambda: read().refused
    )
    metrics.counter("store_read", "Publications read from the store.", lambda: read().read)
    metrics.counter("store_purged", "Publications removed on purpose.", lambda: read().purged)
    metrics.counter(
        "store_epochs_raised",
        "Times that a log was found shorter than it had been seen.",
        lambda: read().epochs_raised,
    )
    metrics.counter(
        "store_last_values_evicted",
        "Last values that went since more topics had one than may.",
        lambda: read().last_values_evicted,
    )


def _oldest_age(held: StreamStatistics) -> float:
    return 0.0 if held.first_time is None else max(0.0, time.time() - held.first_time / 1000)
