"""S2: appending to a stream in Redis, answered one by one; and what redis-py makes of the same."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import load_cpu, server_cpu
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.redis_server import Redis
from benchmarks.scenarios.base import MESSAGES_PER_SECOND, Scenario
from benchmarks.server_process import ServerProcess, free_ports

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

PUBLISHERS = 100
PLAIN = f"{PUBLISHERS} publishers"
WITH_KEYS = f"{PUBLISHERS} publishers, each message with an idempotency key"
ONE = "1 publisher"
ROOT = Path(__file__).parents[2]


class RedisAppends(Scenario):
    id = "S2"
    grows = False
    title = "appending 256 bytes to a stream in Redis, each answered; plain XADD by redis-py"
    peers = ("gateway", "redis-asyncio")
    columns = (
        MESSAGES_PER_SECOND,
        Column("node_microseconds", "node CPU µs / message", 1),
        Column("redis_microseconds", "Redis CPU µs / message", 1),
        Column("latency_p50", "p50 ms", 2),
        Column("latency_p99", "p99 ms", 2),
        Column("per_call", "messages / call"),
        Column("read_per_second", "read again / s"),
    )
    targets = (
        Target(PLAIN, "messages_per_second", 30_000),
        Target(PLAIN, "messages_per_second", 1, over=("redis-asyncio", PLAIN)),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        measurements = [await _measure(peer.name, PLAIN, bench.seconds, PUBLISHERS, "")]
        if peer.name == "gateway":
            measurements.append(await _measure(peer.name, WITH_KEYS, bench.seconds, PUBLISHERS, "keys"))
        measurements.append(await _measure(peer.name, ONE, bench.seconds, 1, ""))
        return measurements


async def _measure(way: str, variant: str, seconds: float, publishers: int, keys: str) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        ports = free_ports()
        start = Redis().start(Path(name), ports, {})
        redis = ServerProcess(start.command, directory=Path(name), environment={}, cpus=str(load_cpu()))
        try:
            redis.wait_until_listening(ports.feed)
            arguments = (way, f"redis://127.0.0.1:{ports.feed}/0", str(seconds), str(publishers), keys)
            node = await asyncio.create_subprocess_exec(
                *("taskset", "--cpu-list", str(server_cpu())),
                *(sys.executable, "-m", "benchmarks.redis_store_run", *arguments),
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            printed, _ = await node.communicate()
        finally:
            redis.stop()
    if node.returncode != 0:
        return Measurement(variant, {}, [f"the node's process ended with {node.returncode}"])
    figures: dict[str, float] = json.loads(printed)
    missing = figures.pop("missing")
    return Measurement(variant, figures, [f"{missing:.0f} answered appends are not there"] if missing else [])
