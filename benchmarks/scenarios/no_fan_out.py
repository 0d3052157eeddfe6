"""F3: as many topics as subscribers, one each, and with two each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.checking import own_streams
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, in_flight, measured, warm_up
from benchmarks.measurement import Measurement, Target
from benchmarks.scenarios.base import (
    LOAD_CPU,
    MESSAGES_PER_CPU,
    MESSAGES_PER_SECOND,
    P50,
    P99,
    SERVER_CPU,
    Scenario,
)

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

TOPICS = 1_000
WINDOWS = {"W=64": 64, "W=2,000": 2_000}
EACH = {"": 1, "two each, ": 2}


class NoFanOut(Scenario):
    id = "F3"
    title = "1,000 topics with one or two subscribers each, at most W messages in flight"
    peers = ("gateway", "compiled", "nats", "uwebsockets", "starlette", "floor")
    columns = (MESSAGES_PER_CPU, MESSAGES_PER_SECOND, P50, P99, SERVER_CPU, LOAD_CPU)
    targets = tuple(
        Target(f"{each}{window}", "messages_per_cpu_second", share, over=(peer, f"{each}{window}"), peer=own)
        for own in ("gateway", "compiled")
        for each in EACH
        for window, peer, share in (
            ("W=64", "nats", 1.0),
            ("W=64", "uwebsockets", 0.6),
            ("W=2,000", "nats", 0.75),
        )
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        found = []
        for label, each in EACH.items():
            found += await self._measure(peer, bench, label, each)
        return found

    async def _measure(self, peer: Peer, bench: Bench, label: str, each: int) -> list[Measurement]:
        count = bench.count(TOPICS)
        topics = [f"bench/one/{number:04d}" for number in range(count)]
        measurements = []
        async with running(peer) as at:
            await dial_many(
                peer,
                at.ports.websocket,
                [[topic] for topic in topics for _ in range(each)],
                crowd=at.crowd,
                recorded=frozenset(range(0, count * each, each)),
            )
            publisher = await Publisher.open(
                at, topics, [each] * count, next_topic=lambda number: number % count
            )
            await warm_up(publisher)
            for window, in_flight_at_most in WINDOWS.items():
                with no_garbage_collection(), bench.profiled(at.server, f"{peer.name}, {label}{window}"):
                    work = partial(in_flight, publisher, in_flight_at_most, bench.seconds)
                    figures, problems = await measured(publisher, work)
                sent = publisher.payloads.sent
                due = [range(1 + place, sent + 1, count) for place in range(count)]
                problems += own_streams(at.crowd.subscribers[::each], due)
                measurements.append(Measurement(f"{label}{window}", figures, problems))
            publisher.close()
        return measurements
