"""F6: a tenth of the subscribers reads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import running
from benchmarks.load.crowd import Crowd
from benchmarks.load.dialling import dial_many
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import LOAD_CPU, P50, P99, PER_CPU, PER_SECOND, SERVER_CPU, TOPIC, Scenario
from benchmarks.scenarios.fan_out import SUBSCRIBERS, every, windows

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

# outbox_bytes, what the transport holds of it included, and a page or two of objects.
BOUND_KIB = 1024 + 64


class StuckSubscribers(Scenario):
    id = "F6"
    title = "as F1 with W=64, 100 of the 1,000 subscribers read nothing"
    columns = (
        PER_CPU,
        PER_SECOND,
        P50,
        P99,
        Column("kib_per_stuck", "KiB grown / stuck subscriber"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = (
        Target("100 stuck", "deliveries_per_cpu_second", 0.9, over=("gateway", "none stuck")),
        Target("100 stuck", "kib_per_stuck", at_most=BOUND_KIB),
    )
    seconds = 5.0

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = bench.count(SUBSCRIBERS)
        measurements = []
        for variant, stuck in (("none stuck", 0), ("100 stuck", max(1, count // 10))):
            async with running(peer) as at:
                port, reading = at.ports.websocket, count - stuck
                silent = Crowd()
                await dial_many(peer, port, [[TOPIC]] * stuck, crowd=silent)
                for subscriber in silent.subscribers:
                    subscriber.transport.pause_reading()
                await dial_many(peer, port, [[TOPIC]] * reading, crowd=at.crowd, recorded=every(reading))
                before = at.server.rss_bytes()
                (found,) = await windows(at, bench, {variant: 64})
                if stuck:
                    found.figures["kib_per_stuck"] = (at.server.rss_bytes() - before) / stuck / 1024
                silent.close()
                measurements.append(Measurement(variant, found.figures, found.problems))
        return measurements
