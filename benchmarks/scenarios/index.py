"""F8: the filter index with a million filters, and what hostile ones cost at worst."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.hostile_shapes import BOUNDS
from benchmarks.machine import server_cpu
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

FILTERS = 1_000_000


class Index(Scenario):
    id = "F8"
    title = "1,000,000 filters, half wildcards, in the index; no network"
    columns = (
        Column("hot_microseconds", "hot match µs", 2),
        Column("cold_microseconds", "cold match µs", 1),
        Column("change_microseconds", "subscribe + unsubscribe µs", 1),
        Column("build_microseconds", "insert while filling µs", 1),
        Column("bytes_per_filter", "bytes / filter"),
        Column("flushed", "hot topics flushed"),
        Column("worst_publish_visited", "worst publish: nodes visited"),
        Column("worst_publish_links", "worst publish: links"),
        Column("worst_command_links", "worst command: links"),
        Column("filters", "filters"),
    )
    targets = (
        Target("index", "hot_microseconds", at_most=2),
        Target("index", "cold_microseconds", at_most=30),
        Target("index", "change_microseconds", at_most=15),
        Target("index", "flushed", at_most=0),
        *(Target("index", f"worst_{name}", at_most=most) for name, most in BOUNDS.items()),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:  # noqa: ARG002
        module = [sys.executable, "-m", "benchmarks.index_run", str(bench.count(FILTERS))]
        process = await asyncio.create_subprocess_exec(
            *("taskset", "--cpu-list", str(server_cpu()), *module),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        printed, _ = await process.communicate()
        if process.returncode != 0:
            return [Measurement("index", {}, [f"the index's process ended with {process.returncode}"])]
        figures = json.loads(printed)
        wrong = figures.pop("wrong")
        return [Measurement("index", figures, [f"{wrong} topics matched wrongly"] if wrong else [])]
