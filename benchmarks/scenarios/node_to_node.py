"""B2: published to one gateway process, received from another; and the same with a single one."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.lowlevel

from benchmarks.bench import Running, no_garbage_collection
from benchmarks.load.checking import same_stream
from benchmarks.load.crowd import Crowd
from benchmarks.load.dialling import dial_many
from benchmarks.load.fanout import Publisher, at_rate, measured, warm_up
from benchmarks.machine import load_cpu, server_cpu
from benchmarks.measurement import Column, Measurement, Target
from benchmarks.peers.redis_server import Redis
from benchmarks.scenarios.base import LOAD_CPU, MESSAGES_PER_SECOND, P99, TOPIC, Scenario
from benchmarks.scenarios.publishing import post_lines
from benchmarks.server_process import Ports, ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

RATE = 1_000
# More is in flight between two nodes than within one, and the one subscriber must not fall out of its bounds.
SETTINGS = {"outbox_messages": "65536", "outbox_bytes": '"64MiB"'}
IN_FLIGHT = 8_192


class NodeToNode(Scenario):
    id = "B2"
    grows = False
    title = "published to one gateway process, received by a subscriber of another, 128 bytes"
    columns = (
        MESSAGES_PER_SECOND,
        Column("latency_p50", "p50 ms", 2),
        P99,
        Column("added_p50", "p50 ms more than by one node", 2),
        Column("publisher_microseconds", "publishing node CPU µs / message", 1),
        Column("receiver_microseconds", "receiving node CPU µs / message", 1),
        Column("redis_microseconds", "Redis CPU µs / message", 1),
        LOAD_CPU,
    )
    targets = (
        Target("NDJSON, two nodes", "messages_per_second", 100_000),
        Target(f"{RATE:,} / s, two nodes", "added_p50", at_most=1),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        one = await _measure(peer, bench.seconds, "one node")
        two = await _measure(peer, bench.seconds, "two nodes")
        more = two[1].figures.get("latency_p50", 0) - one[1].figures.get("latency_p50", 0)
        two[1].figures["added_p50"] = more
        return [*one, *two]


class Nodes:
    """One process that is published to, one that is subscribed to (the same, for one node), and Redis."""

    def __init__(self, peer: Peer, directory: Path, ending: ExitStack, *, several: bool) -> None:
        self._peer = peer
        self._directory = directory
        self._ending = ending
        self._anywhere = f"{server_cpu()},{load_cpu()}"
        self.redis: ServerProcess | None = None
        environment = {}
        if several:
            ports = free_ports()
            command = Redis().start(directory, ports, {}).command
            self.redis = self._start("redis", command, {}, self._anywhere, ports.feed)
            environment = {"GATEWAY_REDIS__URL": f"redis://127.0.0.1:{ports.feed}/0"}
        self.first, self.first_ports = self._node("first", environment, str(server_cpu()))
        self.second, self.second_ports = self.first, self.first_ports
        if several:
            self.second, self.second_ports = self._node("second", environment, self._anywhere)

    def _node(self, name: str, environment: dict[str, str], cpus: str) -> tuple[ServerProcess, Ports]:
        ports = free_ports()
        place = self._directory / name
        place.mkdir()
        command = self._peer.start(place, ports, SETTINGS).command
        return self._start(name, command, environment, cpus, ports.websocket), ports

    def _start(
        self, name: str, command: list[str], environment: dict[str, str], cpus: str, port: int
    ) -> ServerProcess:
        place = self._directory / name
        place.mkdir(exist_ok=True)
        process = ServerProcess(command, directory=place, environment=environment, cpus=cpus)
        self._ending.callback(process.stop)
        process.wait_until_listening(port)
        return process

    def cpu_seconds(self) -> dict[str, float]:
        """What each has used so far; a single node's is all on the publishing side."""
        used = {"publisher_microseconds": self.first.cpu_seconds()}
        if self.redis is not None:
            used["receiver_microseconds"] = self.second.cpu_seconds()
            used["redis_microseconds"] = self.redis.cpu_seconds()
        return used


@asynccontextmanager
async def _nodes(peer: Peer, *, several: bool) -> AsyncIterator[tuple[Nodes, Running]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as ending:
        nodes = Nodes(peer, Path(name), ending, several=several)
        crowd = Crowd()
        try:
            port = nodes.second_ports.websocket
            await dial_many(peer, port, [[TOPIC]], crowd=crowd, recorded=frozenset([0]))
            yield nodes, Running(peer, nodes.first, nodes.first_ports, crowd)
        finally:
            crowd.close()
            # Let the connections end: a node that stops would wait for them.
            await anyio.lowlevel.checkpoint()


async def _measure(peer: Peer, seconds: float, name: str) -> list[Measurement]:
    async with _nodes(peer, several=name != "one node") as (nodes, at):
        publisher = await Publisher.open(at, [TOPIC], [1])
        await warm_up(publisher)
        fast = partial(await post_lines(at, publisher, in_flight=IN_FLIGHT), seconds)
        steady = partial(at_rate, publisher, RATE, seconds)
        found = [
            await _figures(nodes, publisher, f"NDJSON, {name}", fast),
            await _figures(nodes, publisher, f"{RATE:,} / s, {name}", steady),
        ]
        publisher.close()
    # How long a message waits where as many are in flight as may be says nothing.
    for figure in [each for each in found[0].figures if each.startswith("latency")]:
        del found[0].figures[figure]
    return found


async def _figures(
    nodes: Nodes, publisher: Publisher, variant: str, work: Callable[[], Awaitable[None]]
) -> Measurement:
    before = nodes.cpu_seconds()
    with no_garbage_collection():
        figures, problems = await measured(publisher, work)
    sent = publisher.payloads.sent
    problems += same_stream(publisher.running.crowd.subscribers, range(1, sent + 1))
    for name, used in nodes.cpu_seconds().items():
        figures[name] = (used - before[name]) / sent * 1e6
    return Measurement(variant, figures, problems)
