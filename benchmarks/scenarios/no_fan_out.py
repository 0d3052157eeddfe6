"""F3: as many topics as subscribers, one each."""

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
WINDOW = 64


class NoFanOut(Scenario):
    id = "F3"
    title = "1,000 topics with one subscriber each, at most 64 messages in flight"
    peers = ("gateway", "nats", "uwebsockets", "starlette", "floor")
    columns = (MESSAGES_PER_CPU, MESSAGES_PER_SECOND, P50, P99, SERVER_CPU, LOAD_CPU)
    targets = (
        Target("W=64", "messages_per_cpu_second", 0.7, over=("nats", "W=64")),
        Target("W=64", "messages_per_cpu_second", 0.4, over=("uwebsockets", "W=64")),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = bench.count(TOPICS)
        topics = [f"bench/one/{number:04d}" for number in range(count)]
        async with running(peer) as at:
            await dial_many(
                peer,
                at.ports.websocket,
                [[topic] for topic in topics],
                crowd=at.crowd,
                recorded=frozenset(range(count)),
            )
            publisher = await Publisher.open(
                at, topics, [1] * count, next_topic=lambda number: number % count
            )
            await warm_up(publisher)
            with no_garbage_collection(), bench.profiled(at.server, peer.name):
                figures, problems = await measured(
                    publisher, partial(in_flight, publisher, WINDOW, bench.seconds)
                )
            sent = publisher.payloads.sent
            due = [range(1 + place, sent + 1, count) for place in range(count)]
            problems += own_streams(at.crowd.subscribers, due)
            publisher.close()
            return [Measurement(f"W={WINDOW}", figures, problems)]
