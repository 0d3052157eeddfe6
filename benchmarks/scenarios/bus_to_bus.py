"""B1: from the bus of one node to that of another, through one Redis; and what redis-py makes of the same."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bus_run import ARRIVAL_SECONDS, WARM_UP
from benchmarks.load.board import Board
from benchmarks.machine import load_cpu, server_cpu
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.redis_server import Redis
from benchmarks.scenarios.base import MESSAGES_PER_SECOND, Scenario
from benchmarks.server_process import ServerError, ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

RATE = 1_000
FAST = "as fast as they go"
TIMED = f"{RATE:,} / s"
ROOT = Path(__file__).parents[2]


class BusToBus(Scenario):
    id = "B1"
    grows = False
    title = "one node's bus to another's, 128 bytes, through one Redis; the same by redis-py alone"
    peers = ("gateway", "redis-py", "redis-asyncio")
    columns = (
        MESSAGES_PER_SECOND,
        Column("publisher_microseconds", "publisher CPU µs / message", 1),
        Column("receiver_microseconds", "receiver CPU µs / message", 1),
        Column("redis_microseconds", "Redis CPU µs / message", 1),
        Column("latency_p50", "p50 ms", 2),
        Column("latency_p99", "p99 ms", 2),
    )
    targets = (
        Target(FAST, "messages_per_second", 100_000),
        Target(FAST, "messages_per_second", 5, over=("redis-py", FAST)),
        Target(TIMED, "latency_p50", at_most=1),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        return [
            await asyncio.to_thread(_measure, peer.name, FAST, bench.seconds, 0),
            await asyncio.to_thread(_measure, peer.name, TIMED, bench.seconds, RATE),
        ]


def _measure(way: str, variant: str, seconds: float, rate: float) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as ending:
        directory, ports = Path(name), free_ports()
        board = Board(directory / "board")

        def process(role: str, cpus: str, command: list[str]) -> ServerProcess:
            place = directory / role
            place.mkdir()
            started = ServerProcess(
                command, directory=place, environment={"PYTHONPATH": str(ROOT)}, cpus=cpus
            )
            ending.callback(started.stop)
            return started

        def side(role: str, cpu: int) -> ServerProcess:
            arguments = (role, way, f"redis://127.0.0.1:{ports.feed}/0", name, str(seconds), str(rate))
            return process(role, str(cpu), [sys.executable, "-m", "benchmarks.bus_run", *arguments])

        both = f"{server_cpu()},{load_cpu()}"
        redis = process("redis", both, Redis().start(directory, ports, {}).command)
        redis.wait_until_listening(ports.feed)
        receiver = side("receive", server_cpu())
        _until(lambda: board.ready, "the receiver does not listen")
        publisher = side("publish", load_cpu())
        _until(lambda: board.received >= WARM_UP, "the warm-up does not arrive")
        before = redis.cpu_seconds()
        _until(publisher.ended, "the publisher does not end", seconds + ARRIVAL_SECONDS)
        sent = _figures(directory, "publish")
        _until(lambda: board.received >= sent["sent"], f"{sent['sent']} sent, {board.received} arrived")
        redis_cpu = redis.cpu_seconds() - before
        receiver.stop()
        received = _figures(directory, "receive")
        problems = [f"{board.wrong} messages out of order"] if board.wrong else []
        figures = sent | received | {"redis_microseconds": redis_cpu / (sent["sent"] - WARM_UP) * 1e6}
        return Measurement(variant, figures, problems)


def _until(condition: Callable[[], bool], problem: str, seconds: float = ARRIVAL_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(problem)
        time.sleep(0.01)


def _figures(directory: Path, role: str) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads((directory / f"{role}.json").read_text())
    except OSError:
        raise ServerError(f"{role} ended without figures") from None
    return found
