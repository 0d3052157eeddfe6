"""Q2: how long it takes until an idle member has a new task."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection
from benchmarks.load.fanout import percentiles
from benchmarks.load.feed import Feed
from benchmarks.load.members import GatewayMember, Tally
from benchmarks.load.work_queue import FULL, MEMORY, NORMAL, REDIS, SIZE, TOPIC, WorkQueue, work_queue
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.payload import Payloads
from benchmarks.scenarios.base import LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

MEMBERS = 10
RATE = 100
_STAMP = re.compile(rb'"\d{12}:(\d{20}):')


class IdleMembers(Scenario):
    id = "Q2"
    grows = False
    title = (
        f"{MEMBERS} members wait, {RATE} tasks come per second: from the publisher's write to the delivery"
    )
    columns = (
        Column("latency_p50", "p50 ms", 2),
        Column("latency_p99", "p99 ms", 2),
        Column("latency_max", "max ms", 1),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = (Target(MEMORY, "latency_p50", at_most=3),)

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        return [await _measure(peer, bench, store) for store in (MEMORY, NORMAL, FULL, REDIS)]


async def _measure(peer: Peer, bench: Bench, store: str) -> Measurement:
    count = max(20, round(RATE * bench.seconds))
    async with work_queue(peer, store) as queue:
        took: list[float] = []

        def arrived(data: bytes) -> None:
            now = time.monotonic_ns()
            took.extend((now - int(stamp)) / 1e6 for stamp in _STAMP.findall(data))

        tally = Tally(count)
        for member in await queue.join(tally, MEMBERS):
            assert isinstance(member, GatewayMember)
            member.on_delivery = arrived
            member.begin()
        await asyncio.sleep(queue.at.peer.settle_seconds)
        with no_garbage_collection(), bench.profiled(queue.at.server, store):
            began, cpu, load = time.monotonic(), queue.cpu_seconds(), time.process_time()
            problems = await _publish(queue, count)
            await tally.done()
            passed = time.monotonic() - began
        figures = {
            **percentiles(sorted(took), "latency"),
            "server_cpu": (queue.cpu_seconds() - cpu) / passed * 100,
            "load_cpu": (time.process_time() - load) / passed * 100,
        }
        problems += tally.problems + await queue.problems()
        return Measurement(store, figures, problems)


async def _publish(queue: WorkQueue, count: int) -> list[str]:
    feed, payloads = await Feed.open(queue.at.peer, queue.at.ports), Payloads(SIZE)
    begin = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
        feed.write(queue.at.peer.publish(TOPIC, payloads.make()))
    problems = feed.problems()
    feed.close()
    return problems
