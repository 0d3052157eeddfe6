"""A work queue at a started peer: filled, worked off by members, and asked whether anything is left."""

from __future__ import annotations

import asyncio
import json
import tempfile
import urllib.request
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.bench import running
from benchmarks.load.amqp import RabbitMember, fill_rabbitmq
from benchmarks.load.dialling import connected_socket
from benchmarks.load.filling import fill, fill_jetstream
from benchmarks.load.members import (
    CREDIT,
    GROUP,
    STREAM,
    GatewayMember,
    JetStreamMember,
    Member,
    Tally,
    join,
)
from benchmarks.load.returning import Asked, Returning
from benchmarks.load.topic_log import start_redis
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.nats import JetStream
from benchmarks.peers.rabbitmq import RabbitMq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.bench import Running
    from benchmarks.peers.base import Peer
    from benchmarks.server_process import ServerProcess

FILTER: Final = "bench/#"
TOPIC: Final = "bench/work"
SIZE: Final = 256
MEMORY, FULL, NORMAL, REDIS = "memory", "SQLite full", "SQLite normal", "Redis"


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """One queue.

    Attributes:
        at: its server.
        durable: whether messages outlive the server.
        redis: the Redis that keeps it, where one does.
        directory: where its files are.
    """

    at: Running
    durable: bool
    redis: ServerProcess | None
    directory: Path

    @property
    def port(self) -> int:
        """Where members connect."""
        return self.at.ports.feed if isinstance(self.at.peer, JetStream) else self.at.ports.websocket

    def cpu_seconds(self) -> float:
        """What server, and Redis, have spent."""
        return self.at.server.cpu_seconds() + (self.redis.cpu_seconds() if self.redis else 0.0)

    async def fill(
        self,
        count: int,
        *,
        topic_of: Callable[[int], str] = lambda _: TOPIC,
        more: Callable[[int], str] | None = None,
    ) -> None:
        """Have so many messages wait, each confirmed."""
        if isinstance(self.at.peer, RabbitMq):
            await fill_rabbitmq(self.port, count, SIZE, durable=self.durable)
        elif isinstance(self.at.peer, JetStream):
            await fill_jetstream(self.at, topic_of, FILTER, count, size=SIZE)
            await self._make_consumer()
        else:
            await fill(self.at, topic_of, count, size=SIZE, more=more)

    async def _make_consumer(self) -> None:
        assert isinstance(self.at.peer, JetStream)
        client = Returning(Asked(b"", b""))
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client, sock=connected_socket(self.port))
        await client.ask(Asked(b"", self.at.peer.make_consumer(GROUP, pending=100 * CREDIT), b'"type"'))
        if b'"error"' in client.stream:
            raise RuntimeError(f"no consumer: {bytes(client.stream[-200:])!r}")
        client.close()

    async def join(self, tally: Tally, count: int, **behaviour: Any) -> list[Member]:
        """Connect so many members, which have yet to begin; ``behaviour`` as ``GatewayMember`` takes it."""
        make: Callable[[], Member]
        if isinstance(self.at.peer, RabbitMq):
            make = partial(RabbitMember, tally, durable=self.durable)
        elif isinstance(self.at.peer, JetStream):
            make = partial(JetStreamMember, tally, self.port)
        else:
            make = partial(GatewayMember, tally, self.port, **behaviour)
        return await join(make, self.port, count)

    async def problems(self) -> list[str]:
        """What the gateway says is left, or was delivered more than once."""
        if not isinstance(self.at.peer, Gateway):
            return []
        told = await self.figures()
        wrong = {name: told[name] for name in ("depth", "redelivered", "dead", "lost") if told[name]}
        return [f"the group is left with {wrong}"] if wrong else []

    async def figures(self) -> dict[str, Any]:
        """What the gateway says of the group."""
        return await group_figures(self.port)

    async def redrive(self) -> int:
        """Send all dead letters back; how many."""
        told = await asyncio.to_thread(_call, f"{_group_url(self.port)}/dead-letters/redrive", b"{}")
        return int(told["count"])


async def group_figures(port: int) -> dict[str, Any]:
    """What the gateway says of the group."""
    return await asyncio.to_thread(_call, _group_url(port))


def _group_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/streams/{STREAM}/groups/{GROUP}"


def _call(url: str, body: bytes | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=120) as answer:
        told: dict[str, Any] = json.loads(answer.read())
        return told


@asynccontextmanager
async def work_queue(
    peer: Peer, store: str = MEMORY, *, grouped: bool = True, **group: object
) -> AsyncIterator[WorkQueue]:
    """Start ``peer`` with an empty queue in ``store``; ``group`` are settings of the gateway's group."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as ending:
        directory, server = Path(name), None
        if isinstance(peer, Gateway):
            peer = peer.with_streams(**{STREAM: FILTER})
            if grouped:
                peer = peer.with_group(GROUP, start="earliest", **group)
            peer, server = _keep_in(peer, store, directory, ending)
        async with running(peer) as at:
            yield WorkQueue(at, store != MEMORY, server, directory)


def _keep_in(
    peer: Gateway, store: str, directory: Path, ending: ExitStack
) -> tuple[Gateway, ServerProcess | None]:
    if store == REDIS:
        server, port = start_redis(directory, ending)
        return peer.with_environment(GATEWAY_REDIS__URL=f"redis://127.0.0.1:{port}/0"), server
    if store == MEMORY:
        return peer.with_environment(GATEWAY_STORE__URL="memory:"), None
    url, synchronous = f"sqlite:{directory / 'streams.db'}", store.rpartition(" ")[2]
    return peer.with_environment(GATEWAY_STORE__URL=url, GATEWAY_STORE__SYNCHRONOUS=synchronous), None
