"""Q5: what order by key and fair turns cost, next to the oldest first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection
from benchmarks.load.members import Tally
from benchmarks.load.work_queue import FULL, MEMORY, REDIS, work_queue
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

MESSAGES = 200_000
MEMBERS = 10
ORDERED_KEYS, FAIR_KEYS = 100_000, 10_000
STORES = (MEMORY, FULL, REDIS)
ORDERED, FAIR = f"`ordered_by_key`, {ORDERED_KEYS:,} keys", f"`fair_by` {FAIR_KEYS:,} keys"
WAYS: dict[str, tuple[int, dict[str, object]]] = {
    f"{ORDERED_KEYS:,} keys": (ORDERED_KEYS, {}),
    ORDERED: (ORDERED_KEYS, {"ordered_by_key": True}),
    f"{FAIR_KEYS:,} keys": (FAIR_KEYS, {}),
    FAIR: (FAIR_KEYS, {"fair_by": "key"}),
}


class ManyKeys(Scenario):
    id = "Q5"
    grows = False
    title = f"{MESSAGES:,} messages of 256 bytes with keys are worked off by {MEMBERS} members"
    columns = (
        Column("server_microseconds", "server CPU µs / message", 1),
        Column("acknowledged_per_second", "acknowledged / s"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = tuple(
        Target(
            f"{store}, {way}",
            "server_microseconds",
            at_most=1.5,
            over=("gateway", f"{store}, {keys:,} keys"),
        )
        for store in STORES
        for way, keys in ((ORDERED, ORDERED_KEYS), (FAIR, FAIR_KEYS))
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        return [await _measure(peer, bench, store, way) for store in STORES for way in WAYS]


async def _measure(peer: Peer, bench: Bench, store: str, way: str) -> Measurement:
    (keys, settings), count = WAYS[way], max(1_000, round(MESSAGES * bench.scale))
    async with work_queue(peer, store, ack_wait="60s", **settings) as queue:
        await queue.fill(count, more=lambda number: f',"key":"key-{number % keys}"')
        tally = Tally(count)
        members = await queue.join(tally, MEMBERS)
        with no_garbage_collection(), bench.profiled(queue.at.server, f"{store}, {way}"):
            began, cpu, load = time.monotonic(), queue.cpu_seconds(), time.process_time()
            for each in members:
                each.begin()
            await tally.done()
            passed, spent = time.monotonic() - began, queue.cpu_seconds() - cpu
        problems = tally.problems + await queue.problems()
        for each in members:
            each.leave()
    figures = {
        "server_microseconds": spent / count * 1e6,
        "acknowledged_per_second": tally.acknowledged / passed,
        "server_cpu": spent / passed * 100,
        "load_cpu": (time.process_time() - load) / passed * 100,
    }
    return Measurement(f"{store}, {way}", figures, problems)
