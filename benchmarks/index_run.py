"""``python -m benchmarks.index_run FILTERS``: the filter index by itself; prints its figures as JSON.

A process of its own, so that its memory is the index's alone.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.hostile_shapes import worst
from gateway.core.topics.filter_index import FilterIndex

HOT = 1_000
COLD = 50_000
CHANGES = 50_000


def main(filters: int) -> dict[str, float]:
    """Fill an index, half of it with wildcards, and time what is done to it."""
    gc.disable()
    before = _rss()
    index: FilterIndex[int] = FilterIndex()
    begin = perf_counter()
    for number in range(filters):
        index.insert(_filter(number), number)
    figures = {
        "filters": len(index),
        "build_microseconds": (perf_counter() - begin) / filters * 1e6,
        "bytes_per_filter": (_rss() - before) / filters,
    }
    figures |= _matching(index, filters) | _changing(index, max(1, filters // COLD))
    del index
    return figures | {f"worst_{name}": most for name, most in worst(filters // 10).items()}


def _filter(number: int) -> str:
    match number % 4:
        case 0:
            return f"site/+/room/{number:07d}/temperature"
        case 1:
            return f"tenant/{number:07d}/#"
        case _:
            return f"device/{number:07d}/telemetry"


def _topic(number: int) -> str:
    """One that the filter of that number matches."""
    return _filter(number).replace("+", f"{number % 97}").replace("#", "orders/created")


def _matching(index: FilterIndex[int], filters: int) -> dict[str, float]:
    step = max(1, filters // COLD)
    cold = [_topic(number) for number in range(0, filters, step)]
    begin = perf_counter()
    for topic in cold:
        index.match(topic)
    cold_seconds = perf_counter() - begin
    hot = cold[:HOT] * 100
    match = index.match
    begin = perf_counter()
    for topic in hot:
        match(topic)
    hot_seconds = perf_counter() - begin
    wrong = sum(index.match(topic) != (number * step,) for number, topic in enumerate(cold))
    return {
        "cold_microseconds": cold_seconds / len(cold) * 1e6,
        "hot_microseconds": hot_seconds / len(hot) * 1e6,
        "wrong": wrong,
    }


def _changing(index: FilterIndex[int], step: int) -> dict[str, float]:
    """Filters come and go that match none of the topics in the cache, which are published to meanwhile."""
    coming = [f"other/{number}/#" if number % 2 else f"other/{number}/x" for number in range(CHANGES)]
    cached = index.statistics()
    begin = perf_counter()
    for topic_filter in coming:
        index.insert(topic_filter, 0)
    for topic_filter in coming:
        index.remove(topic_filter)
    seconds = perf_counter() - begin
    hot = [_topic(number * step) for number in range(HOT)]
    for topic in hot:
        index.match(topic)
    before = index.statistics()
    for number, topic_filter in enumerate(coming[:HOT]):
        index.insert(topic_filter, 0)
        for topic in hot[number % 10 :: 10]:
            index.match(topic)
    after = index.statistics()
    return {
        "change_microseconds": seconds / CHANGES * 1e6,
        "cached_topics": cached.cached_topics,
        "flushed": after.misses - before.misses,
    }


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
