"""F5: what a connection costs that does nothing, and what it costs to come and to go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar

from benchmarks.bench import running
from benchmarks.load.checking import gone
from benchmarks.load.crowd import Crowd
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Usage
from benchmarks.machine import connections_possible
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.gateway import Gateway
from benchmarks.scenarios.base import ALL_PEERS, EMBEDDED, LOAD_CPU, SERVER_CPU, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench, Running
    from benchmarks.peers.base import Peer

CONNECTIONS = 10_000
PARTS = 4
LEAVE_SECONDS = 30.0
WITH_TOKENS = "idle, a JWT each"
SECRET = "a secret for nothing but this measurement"


class IdleConnections(Scenario):
    id = "F5"
    title = "10,000 connections with one subscription each, idle"
    peers: ClassVar[Sequence[str]] = (*ALL_PEERS, "embedded", *EMBEDDED)
    connections: ClassVar[int] = CONNECTIONS
    with_tokens: ClassVar[bool] = True
    columns = (
        Column("kib_per_connection", "KiB / connection", 1),
        Column("connects_per_cpu_second", "connect + subscribe / server CPU s"),
        Column("connects_per_second", "connect + subscribe / s"),
        Column("connect_growth", "connect: last / first quarter", 2),
        Column("disconnect_microseconds", "disconnect, CPU µs"),
        Column("disconnect_growth", "disconnect: first / last quarter", 2),
        Column("connections", "connections"),
        SERVER_CPU,
        LOAD_CPU,
    )
    targets: ClassVar[Sequence[Target]] = (
        Target("idle", "kib_per_connection", at_most=6),
        Target("idle", "kib_per_connection", at_most=4),
        Target("idle", "connects_per_cpu_second", 1.5, over=("starlette", "idle")),
        Target("idle", "connects_per_cpu_second", 2, over=("starlette", "idle")),
        Target("idle", "connects_per_cpu_second", 6_000),
        Target(WITH_TOKENS, "connects_per_cpu_second", 4_500),
        Target(WITH_TOKENS, "kib_per_connection", at_most=4),
        Target("idle", "connect_growth", at_most=1.25),
        Target("idle", "disconnect_growth", at_most=1.25),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        measurements = [await self._measure(peer, "idle", bench)]
        if self.with_tokens and peer.name == "gateway":
            assert isinstance(peer, Gateway)
            measurements.append(await self._measure(peer.with_tokens(SECRET), WITH_TOKENS, bench))
        return measurements

    async def _measure(self, peer: Peer, variant: str, bench: Bench) -> Measurement:
        count = connections_possible(bench.count(self.connections)) // PARTS * PARTS
        async with running(peer, {"ping_interval": '"25s"'}) as at:
            await _warm_up(at)
            rss = at.server.rss_bytes()
            with bench.profiled(at.server, f"{peer.name}, {variant}, connecting"):
                begin = Usage.now(at)
                arrivals = [await _connect(at, count // PARTS, part) for part in range(PARTS)]
                end = Usage.now(at)
            grown = at.server.rss_bytes() - rss
            problems = gone(at.crowd.subscribers)
            departures = [await _disconnect(at, count // PARTS) for _ in range(PARTS)]
            figures = {
                "kib_per_connection": grown / count / 1024,
                "connects_per_cpu_second": count / max(end.server - begin.server, 0.01),
                "connects_per_second": count / (end.wall - begin.wall),
                "connect_growth": arrivals[-1] / arrivals[0],
                "disconnect_microseconds": sum(departures) / count * 1e6,
                "disconnect_growth": departures[0] / departures[-1],
                "connections": count,
                "server_cpu": (end.server - begin.server) / (end.wall - begin.wall) * 100,
                "load_cpu": (end.load - begin.load) / (end.wall - begin.wall) * 100,
            }
            return Measurement(variant, figures, problems)


async def _warm_up(at: Running) -> None:
    crowd = Crowd()
    await dial_many(at.peer, at.ports.websocket, [["bench/warm"]] * 50, crowd=crowd)
    crowd.close()
    await asyncio.sleep(0.5)


async def _connect(at: Running, count: int, part: int) -> float:
    """Open ``count`` more and return the server's CPU seconds."""
    before = at.server.cpu_seconds()
    filters = [[f"bench/idle/{part}/{number}"] for number in range(count)]
    # Frames are taken apart so that pings are answered.
    await dial_many(at.peer, at.ports.websocket, filters, crowd=at.crowd, deframe=True)
    return max(at.server.cpu_seconds() - before, 0.01)


async def _left(at: Running, files: int) -> None:
    """Return when the server has only ``files`` open: it tells nobody that connections have gone."""
    deadline = time.monotonic() + LEAVE_SECONDS
    while at.server.open_files() > files:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{at.server.open_files()} files still open, not {files}")
        await asyncio.sleep(0.02)


async def _disconnect(at: Running, count: int) -> float:
    """Close ``count`` and return the server's CPU seconds, once it has closed them as well."""
    before, files = at.server.cpu_seconds(), at.server.open_files()
    leaving, at.crowd.subscribers[:] = at.crowd.subscribers[:count], at.crowd.subscribers[count:]
    for subscriber in leaving:
        subscriber.transport.abort()
    await _left(at, files - count * at.peer.files_per_connection)
    return max(at.server.cpu_seconds() - before, 0.01)
