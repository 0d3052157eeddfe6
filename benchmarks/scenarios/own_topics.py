"""S6: thousands of clients come back within a second, each for what was missed of its own topic alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection
from benchmarks.load.chat import Chat, milliseconds
from benchmarks.load.fanout import Usage, percentiles
from benchmarks.load.returning import each_wrong, unrecovered
from benchmarks.load.topic_log import FILES, REDIS, SQLITE, stores, topic_log
from benchmarks.machine import connections_possible
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.scenarios.base import LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.load.chat import Heard
    from benchmarks.load.returning import Returning
    from benchmarks.peers.base import Peer

CLIENTS = 5_000
MISSED = 50
TOPICS = 10_000
WITHIN_SECONDS = 1.0
CHAT_SECONDS = 30.0
"""How long the chat goes on beside it: longer than all of them may take; ``LEAST_SECONDS`` for a few."""

LEAST_SECONDS = 2.0
BEGUN_SECONDS = 0.3


class OwnTopics(Scenario):
    id = "S6"
    title = f"5,000 clients come back within a second, each for {MISSED} of its own topic among 500,000"
    peers = ("gateway", "jetstream")
    columns = (
        Column("caught_up_seconds", "until the last caught up s", 2),
        Column("client_p50", "one client p50 ms"),
        Column("client_p99", "one client p99 ms"),
        Column("chat_p99", "chat p99 ms", 1),
        Column("chat_max", "chat max ms", 1),
        Column("clients_per_cpu_second", "clients / server CPU s"),
        Column("clients", "clients"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = tuple(
        target
        for store in (SQLITE, REDIS)
        for target in (
            Target(store, "caught_up_seconds", at_most=15),
            Target(store, "caught_up_seconds", at_most=1, over=("jetstream", FILES)),
            Target(store, "chat_p99", at_most=100),
        )
    )
    seconds = CHAT_SECONDS

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        return [await _measure(peer, store, bench) for store in stores(peer)]


async def _measure(peer: Peer, store: str, bench: Bench) -> Measurement:
    count = connections_possible(bench.count(CLIENTS))
    topics = max(count, round(TOPICS * bench.scale))
    async with topic_log(peer, store) as log:
        await log.fill(lambda number: _topic(number % topics), topics * MISSED)
        position = await log.beginning() if isinstance(peer, Gateway) else None
        asked = [log.behind(_topic(each), MISSED, position, each) for each in range(count)]
        # Only the gateway is chatted with: the others' chat would be another program's.
        chat = None
        if isinstance(peer, Gateway):
            beside = WITHIN_SECONDS + max(LEAST_SECONDS, bench.seconds)
            chat = await Chat.start(log.port, BEGUN_SECONDS + beside)
            await asyncio.sleep(BEGUN_SECONDS)
        with no_garbage_collection(), bench.profiled(log.at.server, f"{peer.name}, {store}"):
            before, begin = Usage.now(log.at), time.monotonic_ns()
            clients = await log.read(asked, within=WITHIN_SECONDS)
            after = Usage.now(log.at)
        expected = [
            [number for number in range(each, topics * MISSED + 1, topics) if number] for each in range(count)
        ]
        problems = each_wrong(clients, expected)
        figures = _figures(clients, before, after)
        if chat is not None:
            problems += unrecovered(clients)
            figures |= _chatted(await chat.heard(), begin, after, problems)
        for client in clients:
            client.close()
        return Measurement(store, figures, problems)


def _figures(clients: list[Returning], before: Usage, after: Usage) -> dict[str, float]:
    wall, cpu = after.wall - before.wall, max(after.server - before.server, 0.01)
    return {
        "caught_up_seconds": max(client.done for client in clients) - before.wall,
        **percentiles(sorted((client.done - client.begun) * 1000 for client in clients), "client"),
        "clients_per_cpu_second": len(clients) / cpu,
        "clients": len(clients),
        "server_cpu": cpu / wall * 100,
        "load_cpu": (after.load - before.load) / wall * 100,
    }


def _chatted(heard: Heard, begin: int, after: Usage, problems: list[str]) -> dict[str, float]:
    problems += heard.problems()
    if heard.chats[-1][0] < after.wall * 1e9:
        problems.append("the chat ended before the last client had caught up")
    return milliseconds(heard.chats, "chat", since=begin, until=round(after.wall * 1e9))


def _topic(number: int) -> str:
    return f"bench/own/{number:06d}"
