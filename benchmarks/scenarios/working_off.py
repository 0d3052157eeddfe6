"""Q1: what waits in a work queue is worked off, by one member, ten, a hundred."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection
from benchmarks.load.members import Tally
from benchmarks.load.topic_log import start_redis
from benchmarks.load.work_queue import FULL, MEMORY, NORMAL, REDIS, work_queue
from benchmarks.machine import server_cpu
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.nats import JetStream
from benchmarks.peers.rabbitmq import RabbitMq
from benchmarks.peers.redis_server import RedisPy
from benchmarks.redis_group_run import TOGETHER
from benchmarks.scenarios.base import LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

ROOT = Path(__file__).parents[2]
MEMBERS = (1, 10, 100)
PER_SECOND = 25_000
"""Messages that wait, for each second that a measurement is to take."""


class WorkingOff(Scenario):
    id = "Q1"
    title = "messages of 256 bytes that wait are worked off by 1, 10, 100 members with a credit of 100"
    peers = ("gateway", "rabbitmq", "jetstream", "redis-py")
    columns = (
        Column("acknowledged_per_cpu_second", "acknowledged / server CPU s"),
        Column("acknowledged_per_second", "acknowledged / s"),
        Column("through_per_cpu_second", "stored and acknowledged / server CPU s"),
        Column("stored_per_cpu_second", "stored before / server CPU s"),
        Column("stored_per_second", "stored before / s"),
        Column("node_microseconds", "node CPU µs / acknowledged", 1),
        Column("redis_microseconds", "Redis CPU µs / acknowledged", 1),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = (
        Target(f"{MEMORY}, 10", "acknowledged_per_second", 60_000),
        Target(f"{FULL}, 10", "acknowledged_per_second", 20_000),
        Target(f"{REDIS}, 10", "acknowledged_per_second", 2, over=("redis-py", f"{REDIS}, 10")),
        *(
            Target(
                f"{store}, {members}", "through_per_cpu_second", 1, over=("rabbitmq", f"{store}, {members}")
            )
            for store in (MEMORY, FULL)
            for members in MEMBERS
        ),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        if isinstance(peer, RedisPy):
            ways = [(members, "") for members in _members(bench)] + [(10, TOGETHER)]
            return [await _plain_loop(bench, members, how) for members, how in ways]
        return [
            await _work_off(peer, bench, store, members)
            for store in _stores(peer)
            for members in _members(bench)
        ]


def _stores(peer: Peer) -> tuple[str, ...]:
    """Each peer in the forms that promise what this store does."""
    if isinstance(peer, Gateway):
        return (MEMORY, FULL, NORMAL, REDIS)
    if isinstance(peer, RabbitMq):
        return (MEMORY, FULL)
    assert isinstance(peer, JetStream)
    return (NORMAL,)


def _members(bench: Bench) -> list[int]:
    """How many join, scaled; at a small scale some of them are alike."""
    return list(dict.fromkeys(max(1, round(members * bench.scale)) for members in MEMBERS))


def _count(bench: Bench) -> int:
    return max(1_000, round(PER_SECOND * bench.seconds * bench.scale))


async def _plain_loop(bench: Bench, members: int, how: str) -> Measurement:
    """Redis has both cores, as it has beside the gateway; the members have the gateway's."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as ending:
        _, port = start_redis(Path(name), ending)
        arguments = map(str, (port, members, _count(bench), how))
        loop = await asyncio.create_subprocess_exec(
            *("taskset", "--cpu-list", str(server_cpu()), sys.executable, "-m", "benchmarks.redis_group_run"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        printed, _ = await loop.communicate()
    variant = f"{REDIS}, {members}" + (f", acknowledged {how}" if how else "")
    if loop.returncode != 0:
        return Measurement(variant, {}, [f"the loop's process ended with {loop.returncode}"])
    figures: dict[str, float] = json.loads(printed)
    left = figures.pop("left")
    return Measurement(variant, _with_both(figures), [f"{left:.0f} messages are left"] if left else [])


def _with_both(figures: dict[str, float]) -> dict[str, float]:
    """A message is stored once and acknowledged once: how many get that for a second of CPU."""
    seconds = 1 / figures["stored_per_cpu_second"] + 1 / figures["acknowledged_per_cpu_second"]
    return figures | {"through_per_cpu_second": 1 / seconds}


async def _work_off(peer: Peer, bench: Bench, store: str, members: int) -> Measurement:
    count = _count(bench)
    async with work_queue(peer, store, ack_wait="60s") as queue:
        began, cpu = time.monotonic(), queue.cpu_seconds()
        await queue.fill(count)
        stored, stored_cpu = time.monotonic() - began, max(queue.cpu_seconds() - cpu, 0.01)
        tally = Tally(count)
        joined = await queue.join(tally, members)
        with no_garbage_collection(), bench.profiled(queue.at.server, f"{peer.name}, {store}, {members}"):
            began, cpu, load = time.monotonic(), queue.cpu_seconds(), time.process_time()
            node = queue.at.server.cpu_seconds()
            for each in joined:
                each.begin()
            await tally.done()
            passed, load = time.monotonic() - began, time.process_time() - load
            spent = max(queue.cpu_seconds() - cpu, 0.01)
            node = queue.at.server.cpu_seconds() - node
        problems = tally.problems + await queue.problems()
        for each in joined:
            each.leave()
    figures = {
        "acknowledged_per_cpu_second": tally.acknowledged / spent,
        "acknowledged_per_second": tally.acknowledged / passed,
        "stored_per_cpu_second": count / stored_cpu,
        "stored_per_second": count / stored,
        "node_microseconds": node / count * 1e6,
        **({"redis_microseconds": (spent - node) / count * 1e6} if queue.redis else {}),
        "server_cpu": spent / passed * 100,
        "load_cpu": load / passed * 100,
    }
    return Measurement(f"{store}, {members}", _with_both(figures), problems)
