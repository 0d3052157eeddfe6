"""S4: thousands of clients come back within a second and resume, while others go on chatting."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.chat import QUIET_SECONDS, Chat, milliseconds
from benchmarks.load.fanout import Usage, percentiles
from benchmarks.load.filling import fill
from benchmarks.load.returning import Returning, come_back, wrong
from benchmarks.machine import connections_possible, prefer, take_priority
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.scenarios.base import LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Running
    from benchmarks.peers.base import Peer

CLIENTS = 5_000
FEWER = 1_000
WITHIN_SECONDS = 1.0
LEAST_SECONDS = 1.5
"""How long the chat goes on after them at least."""

STORED = 1_000
BEHIND = 100
TOPIC = "bench/storm/a/b"
FILTER = "bench/+/a/#"
VARIANTS = {
    "chat on a live topic": {"storm": "bench/#"},
    "chat through a stream": {"storm": "bench/#", "chat": "chat/#"},
}


class Storm(Scenario):
    id = "S4"
    title = "5,000 clients come back within a second, each 100 publications behind, while 10 others chat"
    columns = (
        Column("caught_up_seconds", "until the last caught up s", 2),
        Column("client_p50", "one client p50 ms"),
        Column("client_p99", "one client p99 ms"),
        Column("chat_max", "chat max ms", 1),
        Column("chat_p99", "chat p99 ms", 1),
        Column("stall_max", "longest stall ms", 1),
        Column("quiet_max", "the same in quiet ms", 1),
        Column("clients_per_cpu_second", "clients / server CPU s"),
        Column("clients", "clients"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets = tuple(Target(variant, "chat_max", at_most=250) for variant in VARIANTS)
    seconds = 8.0

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        assert isinstance(peer, Gateway)
        return [await self._measure(peer, variant, bench) for variant in VARIANTS]

    async def _measure(self, peer: Gateway, variant: str, bench: Bench) -> Measurement:
        wanted = CLIENTS if bench.seconds >= self.seconds else FEWER
        count = connections_possible(bench.count(wanted))
        async with running(peer.with_streams(**VARIANTS[variant])) as at:
            await fill(at, TOPIC, STORED)
            asked = peer.asking(at.ports, FILTER, resume=await _positions(at))
            # As in F9: what is asked is how long the gateway stops, not when it gets its core back. But with
            # real-time priority it would keep the kernel from finishing the store's writes on that core.
            (prefer if "chat" in VARIANTS[variant] else take_priority)(at.server.pid)
            beside = WITHIN_SECONDS + max(LEAST_SECONDS, bench.seconds)
            chat = await Chat.start(at.ports.websocket, QUIET_SECONDS + beside)
            await asyncio.sleep(QUIET_SECONDS)
            with no_garbage_collection(), bench.profiled(at.server, f"{peer.name}, {variant}"):
                before, begin = Usage.now(at), time.monotonic_ns()
                clients = await come_back(at.ports.websocket, [asked] * count, within=WITHIN_SECONDS)
                after = Usage.now(at)
            heard = await chat.heard()
            problems = wrong(clients, range(STORED - BEHIND + 1, STORED + 1)) + heard.problems()
            if heard.chats[-1][0] < after.wall * 1e9:
                problems.append("the chat ended before the last client had caught up")
            end = round(after.wall * 1e9)
            figures = {
                **_figures(clients, before, after),
                **milliseconds(heard.pings, "quiet", until=begin),
                **milliseconds(heard.pings, "stall", since=begin, until=end),
                **milliseconds(heard.chats, "chat", since=begin, until=end),
            }
            for client in clients:
                client.close()
            return Measurement(variant, figures, problems)


async def _positions(at: Running) -> dict[str, dict[str, str | int]]:
    """Where clients stand that have missed the last of what is stored."""
    url = f"http://127.0.0.1:{at.ports.websocket}/v1/streams/storm"
    answer = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
    return {"storm": {"epoch": json.loads(answer)["epoch"], "offset": STORED - BEHIND}}


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
