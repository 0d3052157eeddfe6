"""A connection that is lost is ``RedisUnavailable`` and nothing else, whatever the event loop calls it."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from gateway.core.timing.backoff import Backoff
from gateway.errors import RedisUnavailable
from gateway.redis.servers import Address
from gateway.redis.wire import Wire, dial
from gateway.streams.redis.link import CallLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]

each_loop = pytest.mark.parametrize("loop", LOOPS, ids=["uvloop", "asyncio"])


def run(loop: Callable[[], asyncio.AbstractEventLoop], scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(scenario, 20))


class Server:
    """Answers PING and knows its connections."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(4096):
            writer.write(b"+PONG\r\n" * data.count(b"PING"))

    def reset(self) -> None:
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def end(self) -> None:
        for writer in self.writers:
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        server.end()


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[Server, Wire]]:
    async with serving() as server:
        wire = await dial({"host": "127.0.0.1", "port": server.port}, 5)
        try:
            yield server, wire
        finally:
            await wire.close()


@each_loop
@pytest.mark.parametrize("cut", [Server.reset, Server.end])
def test_a_loss_is_noticed_while_nothing_is_asked(
    loop: Callable[[], asyncio.AbstractEventLoop], cut: Callable[[Server], None]
) -> None:
    async def scenario() -> None:
        async with wired() as (server, wire):
            lost = asyncio.Event()
            wire.when_lost(lost.set)
            wire.check()
            assert not lost.is_set()
            cut(server)
            await lost.wait()
            with pytest.raises(RedisUnavailable):
                wire.check()

    run(loop, scenario())


@each_loop
def test_writing_after_a_reset_says_that_redis_is_away(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with wired() as (server, wire):
            lost = asyncio.Event()
            wire.when_lost(lost.set)
            server.reset()
            await lost.wait()
            with pytest.raises(RedisUnavailable):
                await wire.call("PING")
            # redis-py would connect again by itself, in silence.
            with pytest.raises(RedisUnavailable):
                await wire.send([("PING",)])
            assert len(server.writers) == 1

    run(loop, scenario())


@each_loop
def test_closing_what_was_reset_raises_nothing_and_tells_nobody(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with wired() as (server, wire):
            lost = asyncio.Event()
            wire.when_lost(lost.set)
            server.reset()
            await lost.wait()
            lost.clear()
            await wire.close()
            await wire.close()
            assert not lost.is_set()

    run(loop, scenario())


@each_loop
def test_an_idle_link_connects_again_at_once(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Not only when it next has something to say: that would be lost."""

    class Servers:
        sharded = False

        async def connect(self, address: Address) -> Wire:
            return await dial(address._asdict(), 5)

    async def scenario() -> None:
        async with serving() as server:
            link = CallLink(
                Servers(),  # type: ignore[arg-type]
                Address("127.0.0.1", server.port),
                purpose="reading",
                timeout=5,
                beat_seconds=1e6,
                backoff=Backoff(first_seconds=0.01),
                relocate=lambda: None,
            )
            running = asyncio.create_task(link.run())
            while link.connections < 3:
                if link.up:
                    server.reset()
                    server.writers.clear()
                await asyncio.sleep(0.001)
            running.cancel()
            await asyncio.wait([running])

    run(loop, scenario())
