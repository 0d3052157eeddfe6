"""F9, F10: one process with as many connections as the limit of open files allows."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection, running
from benchmarks.load.chat import QUIET_SECONDS, Chat, Heard, milliseconds
from benchmarks.load.checking import same_stream
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, at_rate, measured, warm_up
from benchmarks.machine import connections_possible, take_priority
from benchmarks.measurement import Column, Measurement, Target
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
from benchmarks.scenarios.fan_out import every

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Running
    from benchmarks.peers.base import Peer

CONNECTIONS = 15_000
BURST_SECONDS = 1.0
DEFAULT_PINGS = {"ping_interval": '"25s"'}


async def _connect(at: Running, bench: Bench, wanted: int) -> Publisher:
    count = connections_possible(bench.count(wanted))
    filters = [[TOPIC]] * count
    # Frames are taken apart, so that the gateway's pings are answered.
    await dial_many(at.peer, at.ports.websocket, filters, crowd=at.crowd, recorded=every(count), deframe=True)
    publisher = await Publisher.open(at, [TOPIC], [count])
    await warm_up(publisher)
    return publisher


class Burst(Scenario):
    id = "F9"
    title = "one publication a second to 15,000 connections while 10 others chat at 100 per second"
    columns = (
        Column("stall_max", "longest stall ms", 1),
        Column("stall_p999", "stall p99.9 ms", 1),
        Column("quiet_max", "the same in quiet ms", 1),
        Column("chat_p50", "chat p50 ms", 1),
        Column("chat_p99", "chat p99 ms", 1),
        Column("chat_max", "chat max ms", 1),
        Column("connections", "connections"),
    )
    targets = (
        Target("burst", "stall_max", at_most=10),
        Target("burst", "chat_p99", at_most=25),
    )
    seconds = 8.0

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        async with running(peer, DEFAULT_PINGS) as at:
            publisher = await _connect(at, bench, CONNECTIONS)
            # What is asked is how long the event loop stops, not when the kernel gives it its core back: a
            # process that was busy waits for up to 90 ms behind any other one there.
            take_priority(at.server.pid)
            with no_garbage_collection(), bench.profiled(at.server, peer.name):
                begin, said = await _chat_beside(publisher, bench.seconds)
            problems = same_stream(at.crowd.subscribers, range(1, publisher.payloads.sent + 1))
            problems += publisher.feed.problems()
            problems += said.problems()
            figures = {
                **milliseconds(said.pings, "quiet", until=begin),
                **milliseconds(said.pings, "stall", since=begin),
                **milliseconds(said.chats, "chat", since=begin),
                "connections": len(at.crowd.subscribers),
            }
            publisher.close()
            return [Measurement("burst", figures, problems)]


async def _chat_beside(publisher: Publisher, seconds: float) -> tuple[int, Heard]:
    """Let the chat run; publish to all once a second; return when that began (ns) and what the chat saw."""
    chat = await Chat.start(publisher.running.ports.websocket, QUIET_SECONDS + seconds)
    await asyncio.sleep(QUIET_SECONDS)
    begin = time.monotonic_ns()
    for _ in range(max(1, int(seconds / BURST_SECONDS) - 1)):
        publisher.send(1)
        await asyncio.sleep(BURST_SECONDS)
        await publisher.arrival()
    return begin, await chat.heard()


class Everybody(Scenario):
    id = "F10"
    title = "15,000 connections, 10 messages per second to all of them, for a minute"
    columns = (
        PER_SECOND,
        P50,
        P99,
        P999,
        PER_CPU,
        SERVER_CPU,
        LOAD_CPU,
        Column("rss_mib", "resident MiB"),
        Column("connections", "connections"),
    )
    targets = (Target("everybody", "deliveries_per_second", 149_000),)
    seconds = 60.0

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        async with running(peer, DEFAULT_PINGS) as at:
            publisher = await _connect(at, bench, CONNECTIONS)
            with no_garbage_collection(), bench.profiled(at.server, peer.name):
                work = partial(at_rate, publisher, 10, bench.seconds)
                figures, problems = await measured(publisher, work)
            problems += same_stream(at.crowd.subscribers, range(1, publisher.payloads.sent + 1))
            figures |= {
                "rss_mib": at.server.rss_bytes() / 2**20,
                "connections": len(at.crowd.subscribers),
            }
            publisher.close()
            return [Measurement("everybody", figures, problems)]
