"""What the log says of Redis connections that are interrupted, and of a bus or store that has failed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from gateway.bus.redis.bus import RedisBus
from gateway.bus.redis.inbox import Inbox
from gateway.bus.redis.interruptible_sleep import InterruptibleSleep
from gateway.bus.redis.listening import PartitionListener
from gateway.bus.redis.partition_queue import PublishBudget
from gateway.bus.redis.publishing import PublishLink
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.timing.backoff import Backoff
from gateway.errors import BusUnavailable, RedisUnavailable, StreamUnavailable
from gateway.redis.servers import Address
from gateway.streams.redis.link import CallLink
from gateway.streams.redis.listening import AppendListener
from gateway.streams.redis.store import RedisStore
from tests.unit.engine.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CODEC = GatewayV1()
BACKOFF = Backoff(first_seconds=0.5, limit_seconds=0.5, random=lambda: 1.0)
ADDRESS = Address("h", 1)


class Refusing:
    """Servers to which nothing connects."""

    sharded = False

    def __init__(self) -> None:
        self.attempts = 0

    async def connect(self, address: Address) -> Any:
        self.attempts += 1
        raise RedisUnavailable("Redis: away")

    async def watch(self, changed: object) -> None:
        pass


class Cutting(Refusing):
    """Servers, and connections to them, that are lost at the first word."""

    async def connect(self, address: Address) -> Any:
        self.attempts += 1
        return self

    def when_lost(self, told: object) -> None:
        pass

    def check(self) -> None:
        pass

    async def send(self, commands: object) -> None:
        pass

    async def receive(self) -> NoReturn:
        raise RedisUnavailable("Redis: away")

    async def call(self, *command: str) -> NoReturn:
        raise RedisUnavailable("Redis: away")

    async def close(self) -> None:
        pass


def publishing(servers: Any, relocate: Callable[[], None]) -> PublishLink:
    return PublishLink(
        servers,
        ADDRESS,
        PublishBudget("n", [b"c"], CODEC, limit_bytes=1000, timeout=1.5),
        beat_channel=b"beat",
        beat_seconds=1.0,
        backoff=BACKOFF,
        sleep=InterruptibleSleep(),
        neighbour=InterruptibleSleep(),
        relocate=relocate,
    )


def bus_listening(servers: Any, relocate: Callable[[], None]) -> PartitionListener:
    return PartitionListener(
        servers,
        ADDRESS,
        publishing(servers, relocate),
        Inbox(1, CODEC, limit_bytes=1000, deliver=print, lost=print),
        beat_channel=b"beat",
        beat_seconds=1.0,
        silence_seconds=3.0,
        backoff=BACKOFF,
        sleep=InterruptibleSleep(),
        neighbour=InterruptibleSleep(),
        relocate=relocate,
        missed=print,
    )


def stream_listening(servers: Any, relocate: Callable[[], None]) -> AppendListener:
    return AppendListener(
        servers, ADDRESS, beat_seconds=1.0, silence_seconds=3.0, backoff=BACKOFF, relocate=relocate
    )


def calling(servers: Any, relocate: Callable[[], None]) -> CallLink:
    return CallLink(
        servers,
        ADDRESS,
        purpose="appending to",
        timeout=1.5,
        beat_seconds=1.0,
        backoff=BACKOFF,
        relocate=relocate,
    )


async def during(seconds: float, running: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(running)
    ended, _ = await asyncio.wait([task], timeout=seconds)
    assert not ended
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("kind", [Refusing, Cutting])
@pytest.mark.parametrize(
    ("open_link", "logger", "what"),
    [
        (publishing, "gateway.bus", "publishing to Redis"),
        (bus_listening, "gateway.bus", "listening to Redis"),
        (stream_listening, "gateway.streams", "listening to streams in Redis"),
        (calling, "gateway.streams", "appending to streams in Redis"),
    ],
)
def test_the_first_of_several_failures_is_told_and_each_makes_servers_be_looked_for(
    kind: type[Refusing], open_link: Any, logger: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    servers, relocated = kind(), 0

    def relocate() -> None:
        nonlocal relocated
        relocated += 1

    async def scenario() -> None:
        await during(4.25, open_link(servers, relocate).run())

    with caplog.at_level(logging.WARNING), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())
    assert caplog.record_tuples == [(logger, logging.WARNING, f"{what} is interrupted: Redis: away")]
    assert relocated == servers.attempts >= 3


class Broken(Refusing):
    """Servers with a bug, which is met twice."""

    async def locate(self, channels: list[bytes]) -> dict[Address, list[int]]:
        self.attempts += 1
        if self.attempts <= 2:
            raise ZeroDivisionError
        return {ADDRESS: list(range(len(channels)))}


def assert_told(caplog: pytest.LogCaptureFixture, task: str) -> None:
    told = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [(each.name, each.getMessage()) for each in told] == [
        ("gateway.supervision", f"{task} has failed")
    ] * 2
    assert all(each.exc_info is not None for each in told)


def test_a_bus_that_fails_says_so_begins_again_and_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        bus = RedisBus("redis://h", node="n", encoder=CODEC)
        bus._servers = Broken()  # type: ignore[assignment]
        await bus.start(lambda publication: None, lambda matches, dropped: None)
        await asyncio.sleep(5)
        assert ADDRESS in bus._links
        with pytest.raises(BusUnavailable):
            bus.publish(Publication("a", "1", time=1, data=b"1"))
        await bus.stop()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())
    assert_told(caplog, "bus")


def test_a_store_that_fails_says_so_begins_again_and_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        store = RedisStore("redis://h", [StreamConfiguration("s", "#")])
        store._routes._servers = Broken()  # type: ignore[assignment]
        await store.start()
        await asyncio.sleep(5)
        assert ADDRESS in store._routes._links
        with pytest.raises(StreamUnavailable):
            store.append("s", Publication("a", "1", time=1, data=b"1"))
        await store.stop()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())
    assert_told(caplog, "store")
