"""B3: what one Redis carries: CPU time per payload and receiver, memory per connection and channel."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import no_garbage_collection
from benchmarks.measurement import Column, Measurement
from benchmarks.scenarios.base import LOAD_CPU, Scenario
from benchmarks.server_process import ServerError, ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.peers.base import Peer

RECEIVERS = (1, 10, 100)
SIZES = (200, 20_000)
TOGETHER = 64
"""Payloads published in one write: a node's partitions of one turn of its event loop, at most."""

CHANNELS = 64
ANSWER_SECONDS = 15.0


class OneRedis(Scenario):
    id = "B3"
    grows = False
    title = "one Redis: payloads to nodes that listen, and what connections and channels cost it"
    peers = ("redis",)
    columns = (
        Column("passed_on_per_cpu_second", "payloads passed on / Redis CPU s"),
        Column("published_per_cpu_second", "payloads published / Redis CPU s"),
        Column("microseconds", "Redis CPU µs / payload", 1),
        Column("microseconds_per_receiver", "Redis CPU µs / payload and receiver", 2),
        Column("mebibytes_per_cpu_second", "MiB out / Redis CPU s"),
        Column("server_cpu", "Redis CPU %"),
        LOAD_CPU,
        Column("connection_bytes", "bytes / connection"),
        Column("channel_bytes", "bytes / channel and connection"),
    )

    async def measure(self, peer: Peer, bench: Bench) -> list[Measurement]:
        with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as ending:
            ports = free_ports()
            command = peer.start(Path(name), ports, {}).command
            server = ServerProcess(command, directory=Path(name), environment={})
            ending.callback(server.stop)
            server.wait_until_listening(ports.feed)
            found = [
                await _fan_out(server, ports.feed, receivers, size, together, bench.seconds / 3)
                for together in (1, TOGETHER)
                for size in SIZES
                for receivers in RECEIVERS
            ]
            return [*found, await _memory(ports.feed)]


class Wire(asyncio.Protocol):
    """A connection that counts what it gets; ``reach`` waits for so many bytes."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = 0
        self.last = b""
        self._goal = 0
        self._reached: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, port: int) -> Wire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(cls, "127.0.0.1", port)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.last = data
        if self._reached is not None and self.received >= self._goal and not self._reached.done():
            self._reached.set_result(None)

    async def reach(self, goal: int) -> None:
        if self.received < goal:
            self._goal, self._reached = goal, asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._reached, ANSWER_SECONDS)
            except TimeoutError:
                raise ServerError(f"{self.received} of {goal} bytes arrived") from None

    async def call(self, *words: bytes) -> bytes:
        """Send a command and return what comes back, in one piece on loopback."""
        self.transport.write(encode(*words))
        await self.reach(self.received + 1)
        return self.last


def encode(*words: bytes) -> bytes:
    """A command in Redis' protocol (RESP2)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def _fan_out(
    server: ServerProcess, port: int, receivers: int, size: int, together: int, seconds: float
) -> Measurement:
    wires = [await Wire.open(port) for _ in range(receivers)]
    for wire in wires:
        await wire.call(b"SUBSCRIBE", b"gateway:live:0")
        wire.received = 0
    publisher = await Wire.open(port)
    payload = b"x" * size
    commands = encode(b"PUBLISH", b"gateway:live:0", payload) * together
    message = len(encode(b"message", b"gateway:live:0", payload))
    published = 0
    with no_garbage_collection():
        began, cpu, load = time.monotonic(), server.cpu_seconds(), time.process_time()
        while (wall := time.monotonic() - began) < seconds:
            publisher.transport.write(commands)
            published += together
            await _all(wires, published * message)
        used = max(server.cpu_seconds() - cpu, 0.01)
        busy = time.process_time() - load
    for wire in (*wires, publisher):
        wire.transport.abort()
    passed_on = published * receivers
    figures = {
        "passed_on_per_cpu_second": passed_on / used,
        "published_per_cpu_second": published / used,
        "microseconds": used / published * 1e6,
        "microseconds_per_receiver": used / passed_on * 1e6,
        "mebibytes_per_cpu_second": passed_on * message / used / 2**20,
        "server_cpu": used / wall * 100,
        "load_cpu": busy / wall * 100,
    }
    nodes = "1 node" if receivers == 1 else f"{receivers} nodes"
    return Measurement(f"{nodes}, {size:,} bytes, {together} at a time", figures)


async def _all(wires: Sequence[Wire], goal: int) -> None:
    for wire in wires:
        await wire.reach(goal)


async def _memory(port: int) -> Measurement:
    """What Redis says it uses, before and after a hundred connections, and after each listens to channels."""
    asking = await Wire.open(port)
    before = await _used(asking)
    wires = [await Wire.open(port) for _ in range(max(RECEIVERS))]
    for wire in wires:
        await wire.call(b"PING")
    connected = await _used(asking)
    for wire in wires:
        channels = [b"gateway:live:%d" % number for number in range(CHANNELS)]
        replies = sum(len(encode(b"subscribe", each)) + 4 for each in channels)
        wire.received = 0
        wire.transport.write(encode(b"SUBSCRIBE", *channels))
        await wire.reach(replies)
    listening = await _used(asking)
    for wire in (*wires, asking):
        wire.transport.abort()
    count = len(wires)
    figures = {
        "connection_bytes": (connected - before) / count,
        "channel_bytes": (listening - connected) / count / CHANNELS,
    }
    return Measurement("memory", figures)


async def _used(wire: Wire) -> int:
    answer = await wire.call(b"INFO", b"memory")
    return int(answer.partition(b"used_memory:")[2].split(b"\r")[0])
