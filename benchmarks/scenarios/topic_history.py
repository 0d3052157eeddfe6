"""S5: the history of one topic among ten thousand; and what the index of topics takes."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from benchmarks import payload
from benchmarks.bench import no_garbage_collection
from benchmarks.load.fanout import Usage, percentiles
from benchmarks.load.topic_log import MEMORY, REDIS, SQLITE, stores, topic_log
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.scenarios.base import LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load.topic_log import TopicLog
    from benchmarks.peers.base import Peer

SIZES = (100_000, 1_000_000)
WANTED = 100
ASKED = 300
INDEXED = 100_000
TOPICS = 10_000
SECONDS = 30.0
"""Of asking, at most: a log without an index is looked through each time."""


class TopicHistory(Scenario):
    id = "S5"
    title = f"the {WANTED} publications of one topic, of 100,000 over 1,000 topics and 1,000,000 over 10,000"
    peers = ("gateway", "jetstream")
    columns = (
        Column("history_p50", "p50 ms", 2),
        Column("history_p99", "p99 ms", 2),
        Column("cpu_microseconds", "server CPU µs / history"),
        Column("stored_per_second", "stored before / s"),
        Column("bytes_per_topic", "bytes / topic"),
        Column("bytes_per_publication", "bytes / publication"),
        Column("gateway_bytes_per_topic", "of the gateway's memory / topic"),
        Column("asked", "asked"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = tuple(
        target
        for store in (SQLITE, REDIS)
        for target in (
            Target(f"{store}, {SIZES[1]:,}", "history_p50", at_most=10),
            Target(
                f"{store}, {SIZES[1]:,}",
                "history_p50",
                at_most=1.5,
                over=("gateway", f"{store}, {SIZES[0]:,}"),
            ),
        )
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        measured = [await _histories(peer, bench, store, size) for store in stores(peer) for size in SIZES]
        if isinstance(peer, Gateway):
            measured += [await _sizes(peer, bench, store) for store in (*stores(peer), MEMORY)]
        return measured


async def _histories(peer: Peer, bench: Bench, store: str, size: int) -> Measurement:
    count = max(4 * WANTED, round(size * bench.scale))
    topics = count // WANTED
    async with topic_log(peer, store) as log:
        begin = time.monotonic()
        await log.fill(lambda number: _topic(number % topics), topics * WANTED)
        stored = topics * WANTED / (time.monotonic() - begin)
        with no_garbage_collection(), bench.profiled(log.at.server, f"{peer.name}, {store}"):
            before = Usage.now(log.at)
            took, problems = await _ask(log, topics, bench.count(ASKED))
            after = Usage.now(log.at)
    wall = after.wall - before.wall
    figures = {
        **percentiles(sorted(each * 1000 for each in took), "history"),
        "cpu_microseconds": (after.server - before.server) / len(took) * 1e6,
        "stored_per_second": stored,
        "asked": len(took),
        "server_cpu": (after.server - before.server) / wall * 100,
        "load_cpu": (after.load - before.load) / wall * 100,
    }
    return Measurement(f"{store}, {size:,}", figures, problems)


async def _ask(log: TopicLog, topics: int, count: int) -> tuple[list[float], list[str]]:
    """One client asks for one topic after the other, at random; return the seconds each took."""
    chosen, took, wrong = random.Random(5), [], 0
    end = time.monotonic() + SECONDS
    client = None
    for number in range(count):
        topic = chosen.randrange(topics)
        asked = log.last(_topic(topic), WANTED, number)
        if client is None:
            # The first one connects too; it is not counted.
            (client,) = await log.read([asked], within=0)
        else:
            took.append(await client.ask(asked))
        expected = [each for each in range(topic, topics * WANTED + 1, topics) if each]
        wrong += payload.numbers(client.stream) != expected
        log.forget(client, _topic(topic), number)
        if time.monotonic() > end and took:
            break
    assert client is not None
    client.close()
    return took, [f"{wrong} histories were not those of their topics"] if wrong else []


async def _sizes(peer: Peer, bench: Bench, store: str) -> Measurement:
    """What is kept for a topic and a publication: the same log over one topic and over many."""
    count, topics = max(1000, round(INDEXED * bench.scale)), max(10, round(TOPICS * bench.scale))
    one, one_gateway = await _size(peer, store, count, 1)
    many, many_gateway = await _size(peer, store, count, topics)
    figures = {
        "bytes_per_topic": (many - one) / (topics - 1),
        "bytes_per_publication": one / count,
        "gateway_bytes_per_topic": (many_gateway - one_gateway) / (topics - 1),
    }
    return Measurement(f"{store}, what is kept of {INDEXED:,} over 1 and {TOPICS:,} topics", figures)


async def _size(peer: Peer, store: str, count: int, topics: int) -> tuple[float, float]:
    """How much more the store and the gateway's memory take, in bytes."""
    async with topic_log(peer, store) as log:
        stored, memory = log.stored_bytes(), log.at.server.rss_bytes()
        await log.fill(lambda number: _topic(number % topics), count)
        if store == MEMORY:
            return log.stored_bytes() - stored, 0.0
        memory = log.at.server.rss_bytes() - memory
        if store == SQLITE:
            # What its write-ahead log holds is brought into the file.
            log.at.server.stop()
        return log.stored_bytes() - stored, memory


def _topic(number: int) -> str:
    return f"bench/chat/{number:06d}"
