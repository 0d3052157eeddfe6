"""S7: the last values of 100,000 topics, to one client, and of 100 topics each, to a thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection
from benchmarks.load.fanout import Usage, percentiles
from benchmarks.load.returning import each_wrong
from benchmarks.load.topic_log import REDIS, SQLITE, stores, topic_log
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.scenarios.base import LOAD_CPU, MESSAGES_PER_CPU, MESSAGES_PER_SECOND, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load.returning import Returning
    from benchmarks.load.topic_log import TopicLog
    from benchmarks.peers.base import Peer

GROUPS = 1_000
IN_GROUP = 100
VALUES = 2
"""Publications on each topic: what is not its last value is there as well."""

WITHIN_SECONDS = 1.0


class Snapshots(Scenario):
    id = "S7"
    title = "snapshots: 100,000 topics to one client; 100 topics each to 1,000 clients within a second"
    peers = ("gateway", "jetstream")
    columns = (
        MESSAGES_PER_SECOND,
        MESSAGES_PER_CPU,
        Column("caught_up_seconds", "until all have all s", 2),
        Column("client_p50", "one client p50 ms", 1),
        Column("client_p99", "one client p99 ms", 1),
        Column("clients", "clients"),
        Column("messages", "messages"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = tuple(
        Target(f"{store}, one client", "messages_per_second", 100_000) for store in (SQLITE, REDIS)
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        return [each for store in stores(peer) for each in await _measure(peer, store, bench)]


async def _measure(peer: Peer, store: str, bench: Bench) -> list[Measurement]:
    groups = bench.count(GROUPS)
    topics = groups * IN_GROUP
    async with topic_log(peer, store, last_values=True) as log:
        await log.fill(lambda number: _topic((number - 1) % topics), topics * VALUES)
        last = range(topics * (VALUES - 1) + 1, topics * VALUES + 1)
        one = await _read(log, bench, f"{store}, one client", [("bench/#", last)])
        many = await _read(
            log,
            bench,
            f"{store}, {GROUPS:,} clients",
            [
                (f"bench/{each:04d}/+", last[each * IN_GROUP : (each + 1) * IN_GROUP])
                for each in range(groups)
            ],
        )
    return [one, many]


async def _read(log: TopicLog, bench: Bench, variant: str, wanted: list[tuple[str, range]]) -> Measurement:
    asked = [
        log.snapshot(topic_filter, len(values), number)
        for number, (topic_filter, values) in enumerate(wanted)
    ]
    within = WITHIN_SECONDS if len(asked) > 1 else 0.0
    with no_garbage_collection(), bench.profiled(log.at.server, f"{log.at.peer.name}, {variant}"):
        before = Usage.now(log.at)
        clients = await log.read(asked, within=within)
        after = Usage.now(log.at)
    problems = each_wrong(clients, [values for _, values in wanted])
    figures = _figures(clients, sum(len(values) for _, values in wanted), before, after)
    for client in clients:
        client.close()
    return Measurement(variant, figures, problems)


def _figures(clients: list[Returning], messages: int, before: Usage, after: Usage) -> dict[str, float]:
    wall, cpu = after.wall - before.wall, max(after.server - before.server, 0.01)
    # Of one client from its connecting on; of many from the first one's, who come within a second.
    done = max(client.done for client in clients) - min(client.begun for client in clients)
    return {
        "messages_per_second": messages / done,
        "messages_per_cpu_second": messages / cpu,
        "caught_up_seconds": done,
        **percentiles(sorted((client.done - client.begun) * 1000 for client in clients), "client"),
        "clients": len(clients),
        "messages": messages,
        "server_cpu": cpu / wall * 100,
        "load_cpu": (after.load - before.load) / wall * 100,
    }


def _topic(number: int) -> str:
    group, device = divmod(number, IN_GROUP)
    return f"bench/{group:04d}/{device:02d}"
