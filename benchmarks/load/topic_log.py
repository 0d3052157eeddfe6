"""A log of many topics, kept by the gateway in one of its stores or by JetStream, and read by topic."""

from __future__ import annotations

import asyncio
import json
import tempfile
import urllib.request
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis

from benchmarks.bench import running
from benchmarks.load.filling import fill, fill_jetstream
from benchmarks.load.returning import come_back
from benchmarks.machine import load_cpu, server_cpu
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.nats import JetStream
from benchmarks.peers.redis_server import Redis
from benchmarks.server_process import ServerProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from benchmarks.bench import Running
    from benchmarks.load.returning import Asked, Returning
    from benchmarks.peers.base import Peer

STREAM: Final = "bench"
FILTER: Final = "bench/#"
SQLITE, REDIS, MEMORY, FILES = "SQLite", "Redis", "memory", "file store"


def stores(peer: Peer) -> Sequence[str]:
    """Where ``peer`` can keep a log."""
    return (SQLITE, REDIS) if isinstance(peer, Gateway) else (FILES,)


@dataclass(frozen=True, slots=True)
class TopicLog:
    """The log at a started peer.

    Attributes:
        at: the peer.
        store: what keeps it.
        directory: where its files are.
        redis: the server that keeps it, and its port, where it is Redis.
    """

    at: Running
    store: str
    directory: Path
    redis: tuple[ServerProcess, int] | None = None

    @property
    def port(self) -> int:
        """Where readers connect."""
        return self.at.ports.feed if isinstance(self.at.peer, JetStream) else self.at.ports.websocket

    async def fill(self, topic_of: Callable[[int], str], count: int) -> None:
        """Store ``count`` messages of 128 bytes, numbered from 1, each on the topic of its number."""
        if isinstance(self.at.peer, JetStream):
            await fill_jetstream(self.at, topic_of, FILTER, count)
        else:
            await fill(self.at, topic_of, count)

    def last(self, topic: str, messages: int, number: int = 0) -> Asked:
        """Asks for the last ``messages`` of a topic, which has no more of them in all."""
        if isinstance(self.at.peer, JetStream):
            return self.at.peer.asking(topic, policy="all", messages=messages, number=number)
        return self._gateway.asking(self.at.ports, topic, from_={"last": messages})

    def behind(self, topic: str, messages: int, position: object, number: int) -> Asked:
        """Asks for the ``messages`` of a topic that are behind the log's beginning."""
        if isinstance(self.at.peer, JetStream):
            return self.at.peer.asking(topic, policy="all", messages=messages, number=number)
        return self._gateway.asking(self.at.ports, topic, resume=position)

    def snapshot(self, topic_filter: str, messages: int, number: int = 0) -> Asked:
        """Asks for the last value of each of the ``messages`` topics that match."""
        if isinstance(self.at.peer, JetStream):
            policy = "last_per_subject"
            return self.at.peer.asking(topic_filter, policy=policy, messages=messages, number=number)
        return self._gateway.asking(self.at.ports, topic_filter, from_="snapshot")

    def forget(self, client: Returning, topic: str, number: int) -> None:
        """Have ``client`` end what it asked for, so that it may ask again."""
        if isinstance(self.at.peer, JetStream):
            client.write(self.at.peer.forgetting(number))
        else:
            client.write(self._gateway.unsubscribing(topic))

    async def beginning(self) -> object:
        """The position before the first message, as the gateway's clients keep it."""
        url = f"http://127.0.0.1:{self.at.ports.websocket}/v1/streams/{STREAM}"
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
        return {STREAM: {"epoch": json.loads(answer)["epoch"], "offset": 0}}

    async def read(self, asked: Sequence[Asked], *, within: float) -> list[Returning]:
        """Have a client connect for each of ``asked`` within so many seconds, and wait until all have all."""
        return await come_back(self.port, asked, within=within)

    def stored_bytes(self) -> int:
        """What the log takes where it is kept: of files on the disk, of Redis and the gateway in memory."""
        if self.redis is not None:
            with redis.Redis(port=self.redis[1]) as client:
                return int(client.info("memory")["used_memory"])
        if self.store == MEMORY:
            return self.at.server.rss_bytes()
        return sum(each.stat().st_size for each in self.directory.rglob("*") if each.is_file())

    @property
    def _gateway(self) -> Gateway:
        assert isinstance(self.at.peer, Gateway)
        return self.at.peer


@asynccontextmanager
async def topic_log(peer: Peer, store: str, *, last_values: bool = False) -> AsyncIterator[TopicLog]:
    """Start ``peer`` with an empty log of ``FILTER`` in ``store``."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as ending:
        directory, server = Path(name), None
        if isinstance(peer, Gateway):
            peer = peer.with_streams(last_values=last_values, **{STREAM: FILTER})
            environment = {"GATEWAY_STORE__URL": f"sqlite:{directory / 'streams.db'}"}
            if store == REDIS:
                server = start_redis(directory, ending)
                environment = {"GATEWAY_REDIS__URL": f"redis://127.0.0.1:{server[1]}/0"}
            elif store == MEMORY:
                environment = {"GATEWAY_STORE__URL": "memory:"}
            peer = peer.with_environment(**environment)
        async with running(peer) as at:
            yield TopicLog(at, store, directory, server)


def start_redis(directory: Path, ending: ExitStack) -> tuple[ServerProcess, int]:
    """Start a Redis that ends with ``ending``; return it with its port."""
    ports = free_ports()
    command = Redis().start(directory, ports, {}).command
    # Not by the gateway's side alone: on two cores it takes its time from the load as well.
    cpus = f"{server_cpu()},{load_cpu()}"
    process = ServerProcess(command, directory=directory, environment={}, cpus=cpus)
    ending.callback(process.stop)
    process.wait_until_listening(ports.feed)
    return process, ports.feed
