"""F2: many subscribers, each on many filters, exact and wildcard."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.checking import parts_of_stream
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, in_flight, measured, warm_up
from benchmarks.measurement import Measurement, Target
from benchmarks.scenarios.base import (
    LOAD_CPU,
    MESSAGES_PER_CPU,
    P50,
    P99,
    PER_CPU,
    PER_SECOND,
    SERVER_CPU,
    Scenario,
)

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

SUBSCRIBERS = 1_000
TOPICS = [f"region/{r:02d}/site/{s}/device/{d}" for r in range(20) for s in range(10) for d in range(10)]
WILDCARDS = [f"region/+/site/{s}/device/{d}" for s in range(10) for d in range(10)] + [
    f"region/{r:02d}/site/{s}/#" for r in range(10) for s in range(10)
]


class ManyFilters(Scenario):
    id = "F2"
    title = "1,000 subscribers, each on 20 filters of 2,000 topics and 200 wildcards; 200 topics at random"
    columns = (PER_CPU, PER_SECOND, MESSAGES_PER_CPU, P50, P99, SERVER_CPU, LOAD_CPU)
    targets = (Target("W=1024", "deliveries_per_cpu_second", 1_000_000),)

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        choice = random.Random(1)
        filters = [choice.sample(TOPICS + WILDCARDS, 20) for _ in range(bench.count(SUBSCRIBERS))]
        topics = choice.sample(TOPICS, 200)
        wanted = [{place for place, topic in enumerate(topics) if naive(own, topic)} for own in filters]
        # One more, who sees everything: the others must have got parts of what it got, byte by byte.
        receivers = [1 + sum(place in own for own in wanted) for place in range(len(topics))]
        order = [choice.randrange(len(topics)) for _ in range(1 << 16)]
        async with running(peer) as at:
            await dial_many(peer, at.ports.websocket, filters, crowd=at.crowd)
            await dial_many(peer, at.ports.websocket, [["#"]], crowd=at.crowd, recorded=frozenset([0]))
            publisher = await Publisher.open(
                at, topics, receivers, next_topic=lambda number: order[number % len(order)]
            )
            await warm_up(publisher)
            measurements = []
            for window in (64, 512, 1024):
                label = f"W={window}"
                with no_garbage_collection(), bench.profiled(at.server, f"{peer.name}, {label}"):
                    figures, problems = await measured(
                        publisher, partial(in_flight, publisher, window, bench.seconds)
                    )
                everyone, witness = at.crowd.subscribers[:-1], at.crowd.subscribers[-1]
                places = places_by_topic(publisher.published, len(topics))
                due = [sorted(place for topic in own for place in places[topic]) for own in wanted]
                problems += parts_of_stream(everyone, witness, due, suffix=peer.suffix)
                measurements.append(Measurement(label, figures, problems))
            publisher.close()
            return measurements


def naive(filters: list[str], topic: str) -> bool:
    """Whether any of the filters of this scenario matches, found by comparing level by level."""
    levels = topic.split("/")
    for topic_filter in filters:
        wanted = topic_filter.split("/")
        if wanted[-1] == "#":
            if wanted[:-1] == levels[: len(wanted) - 1]:
                return True
        elif all(one in {"+", other} for one, other in zip(wanted, levels, strict=True)):
            return True
    return False


def places_by_topic(published: list[int], topics: int) -> list[list[int]]:
    """For each topic, which messages (from 0) were published to it."""
    places: list[list[int]] = [[] for _ in range(topics)]
    for place, topic in enumerate(published):
        places[topic].append(place)
    return places
