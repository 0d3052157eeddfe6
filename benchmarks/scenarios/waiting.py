"""Q3: a million messages wait: what that takes of memory, and how soon a node is back after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

from benchmarks.bench import running
from benchmarks.load.members import STREAM, Tally
from benchmarks.load.work_queue import FULL, MEMORY, TOPIC, group_figures, work_queue
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load.work_queue import WorkQueue
    from benchmarks.peers.base import Peer

WAITING = 1_000_000
TOPICS = 10_000
HELD = 10
SETTLE_SECONDS = 2.0
GIVEN_SECONDS = 60.0
PLAIN, FAIR = f"{FULL}, oldest first", f"{FULL}, `fair_by` {TOPICS:,} topics"


class Waiting(Scenario):
    id = "Q3"
    title = f"{WAITING:,} messages of 256 bytes wait for one member that acknowledges none"
    columns = (
        Column("more_mib", "MiB more than without a group", 1),
        Column("resident_mib", "resident MiB"),
        Column("start_seconds", "start after a crash s", 2),
        Column("waiting", "waiting"),
    )
    targets = (
        Target(PLAIN, "more_mib", at_most=100),
        Target(FAIR, "more_mib", at_most=100),
        Target(f"{MEMORY}, oldest first", "more_mib", at_most=100),
        Target(PLAIN, "start_seconds", at_most=5),
        Target(FAIR, "start_seconds", at_most=5),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = max(1_000, round(WAITING * bench.scale))
        measured = []
        for store in (FULL, MEMORY):
            without = await _measure(peer, f"{store}, no group", count, store)
            plain = await _measure(peer, f"{store}, oldest first", count, store, fair_by="")
            measured += [without, _compared(plain, without)]
            if store == FULL:
                measured.append(
                    _compared(await _measure(peer, FAIR, count, store, fair_by="level:2"), without)
                )
        return measured


def _compared(measured: Measurement, without: Measurement) -> Measurement:
    measured.figures["more_mib"] = measured.figures["resident_mib"] - without.figures["resident_mib"]
    return measured


async def _measure(peer: Peer, variant: str, count: int, store: str, **group: object) -> Measurement:
    problems: list[str] = []
    figures: dict[str, float] = {"waiting": count}
    async with work_queue(peer, store, grouped=bool(group), ack_wait="10m", **group) as queue:
        await queue.fill(count, topic_of=lambda number: f"{STREAM}/{number % TOPICS:05d}" if group else TOPIC)
        if group:
            tally = Tally(HELD)
            for each in await queue.join(tally, 1, credit=HELD, answer=b""):
                each.begin()
            await asyncio.wait_for(tally.given.wait(), GIVEN_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        figures["resident_mib"] = queue.at.server.rss_bytes() / 2**20
        if group and store != MEMORY:
            os.kill(queue.at.server.pid, signal.SIGKILL)
            figures["start_seconds"], problem = await _start_again(queue, count)
            problems += problem
    return Measurement(variant, figures, problems)


async def _start_again(queue: WorkQueue, count: int) -> tuple[float, list[str]]:
    """Start the node anew on what the crashed one kept; the seconds until it tells how much is waiting."""
    began = time.monotonic()
    async with running(queue.at.peer) as again:
        told = await group_figures(again.ports.websocket)
        seconds = time.monotonic() - began
    return seconds, [] if told["depth"] == count else [f"{told['depth']} of {count} wait after the crash"]
