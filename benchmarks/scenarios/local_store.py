"""S1: appends to the SQLite store, next to one commit per message and to the store in memory."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import server_cpu
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

PUBLISHERS = 100
KINDS = {
    "full": "SQLite, full",
    "normal": "SQLite, normal",
    "plain": "one commit per message, full",
    "memory": "memory",
}


class LocalStore(Scenario):
    id = "S1"
    title = (
        "Appends of 256 bytes to a store of streams, 100 publishers that each wait for the answer; no network"
    )
    columns = (
        Column("appends_per_second", "appends / s"),
        Column("appends_per_commit", "appends / commit", 1),
        Column("append_p50", "p50 ms", 2),
        Column("append_p99", "p99 ms", 2),
        Column("cpu_microseconds", "CPU µs / append", 1),
        Column("fsync_milliseconds", "one fsync ms", 2),
    )
    targets = (
        Target(KINDS["full"], "appends_per_second", at_least=15_000),
        Target(KINDS["full"], "appends_per_second", at_least=10, over=("gateway", KINDS["plain"])),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:  # noqa: ARG002
        return [await self._measure(kind, bench) for kind in KINDS]

    async def _measure(self, kind: str, bench: Bench) -> Measurement:
        arguments = [kind, str(bench.seconds), str(bench.count(PUBLISHERS))]
        process = await asyncio.create_subprocess_exec(
            *("taskset", "--cpu-list", str(server_cpu()), sys.executable, "-m", "benchmarks.local_store_run"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        printed, _ = await process.communicate()
        if process.returncode != 0:
            return Measurement(KINDS[kind], {}, [f"the store's process ended with {process.returncode}"])
        figures = json.loads(printed)
        wrong = figures.pop("wrong")
        return Measurement(KINDS[kind], figures, ["not all that was answered is there"] if wrong else [])
