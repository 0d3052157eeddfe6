"""What every scenario works with: a started server, and the time and size that were asked for."""

from __future__ import annotations

import gc
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from benchmarks.load.crowd import Crowd
from benchmarks.server_process import Ports, ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from benchmarks.peers.base import Peer
    from benchmarks.profiling import Profiler


@dataclass(frozen=True, slots=True)
class Bench:
    """How long and how large.

    Attributes:
        seconds: of each measurement.
        scale: what numbers of connections are multiplied with; below 1 to try things out.
        profiler: records the server where it was asked for.
    """

    seconds: float
    scale: float = 1.0
    profiler: Profiler | None = None

    def count(self, full: int) -> int:
        """A number of connections, scaled."""
        return max(2, round(full * self.scale))

    @contextmanager
    def profiled(self, server: ServerProcess, label: str) -> Iterator[None]:
        """Record the server's stacks meanwhile, if that was asked for."""
        if self.profiler is None:
            yield
        else:
            with self.profiler.recording(server.pid, label):
                yield


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer, and the crowd that subscribes to it."""

    peer: Peer
    server: ServerProcess
    ports: Ports
    crowd: Crowd


@asynccontextmanager
async def running(peer: Peer, settings: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """Start ``peer`` on the servers' core; ``settings`` are limits of the gateway."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory, ports, crowd = Path(name), free_ports(), Crowd()
        start = peer.start(directory, ports, settings or {})
        server = ServerProcess(start.command, directory=directory, environment=dict(start.environment))
        try:
            fed_over_tcp = peer.feed_path is None
            server.wait_until_listening(ports.websocket, *([ports.feed] if fed_over_tcp else []))
            yield Running(peer, server, ports, crowd)
        finally:
            crowd.close()
            await anyio.lowlevel.checkpoint()
            server.stop()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the load's garbage collector out of what is measured."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
