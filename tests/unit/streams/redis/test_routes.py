"""Which server has which log: logs change over in one step, and what waited for an old server goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import RedisUnavailable
from gateway.redis.servers import Address
from gateway.redis.wire import CommandRefused
from gateway.streams.limits import RedisStoreLimits
from gateway.streams.redis.log import RedisLog
from gateway.streams.redis.routes import LogRoutes
from gateway.supervision import Supervision

ONE, OTHER = Address("one", 1), Address("other", 1)


class Servers:
    """Servers of a cluster to which nothing connects."""

    sharded = True
    database = 0

    async def connect(self, address: Address) -> Any:
        raise RedisUnavailable("Redis: away")


class Call:
    """Notes that it was handed back."""

    over = False

    def __init__(self, log: RedisLog) -> None:
        self.log = log
        self.seen: list[object] = []

    def again(self) -> None:
        self.seen.append(self.log.appending)


def routes() -> tuple[LogRoutes, list[RedisLog]]:
    logs = [RedisLog(StreamConfiguration(name, f"{name}/#"), "test") for name in "ab"]
    servers: Any = Servers()
    return LogRoutes(servers, logs, RedisStoreLimits(), Supervision()), logs


async def test_each_log_goes_by_its_server() -> None:
    made, logs = routes()
    async with asyncio.TaskGroup() as tasks:
        made._arrange({ONE: [0], OTHER: [1]}, tasks)
        first, second = logs
        assert first.appending is not None
        assert first.appending is not second.appending
        before = first.appending, first.reading, first.listening
        made._arrange({ONE: [0], OTHER: [1]}, tasks)
        assert (first.appending, first.reading, first.listening) == before
        for links in made._links.values():
            links.task.cancel()


async def test_a_log_that_moves_wakes_who_waits_and_hands_its_calls_on() -> None:
    made, logs = routes()
    async with asyncio.TaskGroup() as tasks:
        made._arrange({ONE: [0, 1]}, tasks)
        old = logs[0].appending
        assert old is not None
        call: Any = Call(logs[0])
        old.submit(call)
        notified = logs[0].signal.notified
        made._arrange({OTHER: [0, 1]}, tasks)
        assert logs[0].appending not in {old, None}
        assert logs[0].signal.notified == notified + 1
        assert call.seen == [logs[0].appending]
        assert list(made._links) == [OTHER]
        for links in made._links.values():
            links.task.cancel()


async def test_a_log_that_no_server_has_is_not_available() -> None:
    made, logs = routes()
    async with asyncio.TaskGroup() as tasks:
        made._arrange({ONE: [0, 1]}, tasks)
        made._arrange({}, tasks)
        assert [log.appending for log in logs] == [None, None]
        assert not any(log.available for log in logs)


class Memory:
    """A connection that is asked for the server's memory."""

    def __init__(self, reply: bytes | Exception) -> None:
        self.reply = reply

    async def send(self, commands: object) -> None:
        pass

    async def receive(self) -> bytes:
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.mark.parametrize(
    ("reply", "evicting"),
    [
        (b"# Memory\r\nmaxmemory_policy:allkeys-lru\r\n", "allkeys-lru"),
        (b"# Memory\r\nmaxmemory_policy:noeviction\r\n", None),
        (CommandRefused("this login may not ask", "NOPERM"), None),
    ],
)
async def test_a_redis_that_may_throw_streams_away_is_warned_of(
    reply: bytes | Exception, evicting: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = routes()
    wire: Any = Memory(reply)
    await made._check_policy(ONE, wire)
    assert made.evicting == evicting
    assert ("maxmemory-policy is allkeys-lru" in caplog.text) is (evicting is not None)
