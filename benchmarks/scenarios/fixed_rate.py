"""F4: how late messages are at a rate that one core can just bear."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.checking import same_stream
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, at_rate, measured, warm_up
from benchmarks.measurement import BEST, Measurement, Target
from benchmarks.scenarios.base import (
    LOAD_CPU,
    P50,
    P99,
    P999,
    PER_CPU,
    PER_SECOND,
    SERVER_CPU,
    TOPIC,
    Scenario,
)
from benchmarks.scenarios.fan_out import SUBSCRIBERS, every

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

RATES = (100, 200)
FIGURES = ("latency_p50", "latency_p99", "latency_p999")


class FixedRate(Scenario):
    id = "F4"
    title = "1,000 subscribers of one topic at a fixed rate"
    peers = ("gateway", "nats", "uwebsockets", "floor")
    columns = (P99, P50, P999, PER_SECOND, PER_CPU, SERVER_CPU, LOAD_CPU)
    targets = tuple(
        Target(f"{rate} / s", figure, at_most=1.1, over=(BEST, f"{rate} / s"))
        for rate in RATES
        for figure in FIGURES
    )
    seconds = 6.0

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = bench.count(SUBSCRIBERS)
        async with running(peer) as at:
            port = at.ports.websocket
            await dial_many(peer, port, [[TOPIC]] * count, crowd=at.crowd, recorded=every(count, 20))
            publisher = await Publisher.open(at, [TOPIC], [count])
            await warm_up(publisher)
            measurements = []
            for rate in RATES:
                with no_garbage_collection(), bench.profiled(at.server, f"{peer.name}, {rate} / s"):
                    work = partial(at_rate, publisher, rate, bench.seconds)
                    figures, problems = await measured(publisher, work)
                problems += same_stream(at.crowd.subscribers, range(1, publisher.payloads.sent + 1))
                measurements.append(Measurement(f"{rate} / s", figures, problems))
            publisher.close()
            return measurements
