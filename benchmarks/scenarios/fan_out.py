"""F1, F1w, F1k: one topic, 1,000 subscribers, at most W messages in flight."""

from __future__ import annotations

from functools import partial
from itertools import combinations, islice
from typing import TYPE_CHECKING, ClassVar

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.checking import same_stream
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, in_flight, measured, warm_up
from benchmarks.measurement import Measurement, Target
from benchmarks.scenarios.base import ALL_PEERS, EMBEDDED, TOPIC, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench, Running
    from benchmarks.peers.base import Peer

SUBSCRIBERS = 1_000
RECORDED = 10


def every(count: int, recorded: int = RECORDED) -> frozenset[int]:
    """The places of ``recorded`` subscribers, spread evenly over ``count``."""
    return frozenset(range(0, count, max(1, count // recorded)))


async def windows(
    at: Running, bench: Bench, variants: dict[str, int], *, size: int = 128
) -> list[Measurement]:
    """Publish to all of the crowd with each variant's number of messages in flight."""
    publisher = await Publisher.open(at, [TOPIC], [len(at.crowd.subscribers)], size=size)
    measurements = []
    try:
        await warm_up(publisher)
        for variant, window in variants.items():
            with no_garbage_collection(), bench.profiled(at.server, f"{at.peer.name}, {variant}"):
                work = partial(in_flight, publisher, window, bench.seconds)
                figures, problems = await measured(publisher, work)
            sent = range(1, publisher.payloads.sent + 1)
            problems += same_stream(at.crowd.subscribers, sent)
            measurements.append(Measurement(variant, figures, problems))
    finally:
        publisher.close()
    return measurements


class FanOut(Scenario):
    id = "F1"
    title = "1,000 subscribers of one topic, 128 bytes, at most W messages in flight"
    peers: ClassVar[Sequence[str]] = ALL_PEERS + EMBEDDED
    variants: ClassVar[dict[str, int]] = {"W=1": 1, "W=8": 8, "W=64": 64}
    size: ClassVar[int] = 128
    targets: ClassVar[Sequence[Target]] = (
        Target("W=64", "deliveries_per_cpu_second", 2.5, over=("nats", "W=64")),
        Target("W=64", "deliveries_per_cpu_second", 1.3, over=("uwebsockets", "W=64")),
        Target("W=64", "deliveries_per_cpu_second", 50, over=("starlette", "W=64")),
        *(Target(f"W={w}", "deliveries_per_cpu_second", 1.5, over=("nats", f"W={w}")) for w in (8, 1)),
        *(
            Target(f"W={w}", "deliveries_per_cpu_second", 0.95, over=("uwebsockets", f"W={w}"))
            for w in (8, 1)
        ),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = bench.count(SUBSCRIBERS)
        async with running(peer) as at:
            filters = [[TOPIC]] * count
            await dial_many(peer, at.ports.websocket, filters, crowd=at.crowd, recorded=every(count))
            return await windows(at, bench, self.variants, size=self.size)


class FanOutLarge(FanOut):
    id = "F1k"
    title = "1,000 subscribers of one topic, 1 KiB, at most 64 messages in flight"
    peers = ("gateway", "nats", "uwebsockets", "floor")
    variants: ClassVar[dict[str, int]] = {"W=64": 64}
    size = 1024
    targets = (
        Target("W=64", "deliveries_per_cpu_second", 1.3, over=("nats", "W=64")),
        Target("W=64", "deliveries_per_cpu_second", 0.8, over=("uwebsockets", "W=64")),
    )


def matching_filters(count: int) -> list[str]:
    """``count`` different filters with wildcards, up to 63, that all match ``TOPIC``."""
    levels = TOPIC.split("/")
    places = (chosen for size in range(1, 7) for chosen in combinations(range(len(levels)), size))
    return [
        "/".join("+" if place in chosen else level for place, level in enumerate(levels))
        for chosen in islice(places, count)
    ]


class FanOutWildcards(Scenario):
    id = "F1w"
    title = "as F1 with W=64, every subscriber on one of 50 wildcard filters that all match"
    targets = (Target("wildcards", "deliveries_per_cpu_second", 0.9, over=("gateway", "exact")),)

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        count = bench.count(SUBSCRIBERS)
        wild = matching_filters(50)
        measurements = []
        for variant, filters in (("exact", [TOPIC]), ("wildcards", wild)):
            async with running(peer) as at:
                wanted = [[filters[place % len(filters)]] for place in range(count)]
                await dial_many(peer, at.ports.websocket, wanted, crowd=at.crowd, recorded=every(count))
                measurements += await windows(at, bench, {variant: 64})
        return measurements
