"""A bus whose login is right and whose rights in Redis are not: refused, told once, and without a storm.

Spec: docs/operations.md, "Many nodes: Redis".
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.bus.redis.bus import RedisBus
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from gateway.errors import BusUnavailable
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_process import RunningRedis

DOCUMENTED = ("+publish", "+subscribe", "+unsubscribe", "+ping")
MESSAGE = Publication("a/b", "m1", 1_700_000_000_000, b"1")


@asynccontextmanager
async def bus_with(server: RunningRedis, *rules: str) -> AsyncIterator[RedisBus]:
    """A running bus of a user with these rights; ``PREFIX`` in them is the bus's own."""
    name, prefix = secrets.token_hex(4), secrets.token_hex(4)
    given = [rule.replace("PREFIX", prefix) for rule in rules]
    server.call("ACL", "SETUSER", name, "on", ">pass", "resetchannels", "nocommands", *given)
    url = f"redis://{name}:pass@{server.address}/0"
    bus = RedisBus(url, node=secrets.token_hex(4), encoder=GatewayV1(), prefix=prefix)
    try:
        await bus.start(lambda _: None, lambda *_, **__: None)
        yield bus
    finally:
        await bus.stop()
        server.call("ACL", "DELUSER", name)


def connections(server: RunningRedis) -> int:
    """How many the server has taken so far, those that ask it for this included."""
    told = server.call("INFO", "stats")
    assert isinstance(told, dict)
    return int(told["total_connections_received"])


async def test_the_documented_rights_are_enough(module_redis_server: RunningRedis) -> None:
    async with bus_with(module_redis_server, "&PREFIX:*", *DOCUMENTED) as bus:
        subscribed = bus.subscribe("a/#")
        assert subscribed is not None
        await subscribed
        await bus.publish(MESSAGE)
        assert bus.statistics().connected


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(("&other:*", *DOCUMENTED), id="other channels"),
        pytest.param(("&PREFIX:*", "+subscribe", "+unsubscribe", "+ping"), id="no publish"),
        pytest.param(("&PREFIX:*", "+publish", "+ping"), id="no subscribe"),
    ],
)
async def test_a_missing_right_is_told_once_and_never_taken_for_a_recovery(
    module_redis_server: RunningRedis, caplog: pytest.LogCaptureFixture, rules: tuple[str, ...]
) -> None:
    caplog.set_level(logging.INFO, "gateway.bus")
    before = connections(module_redis_server)
    async with bus_with(module_redis_server, *rules) as bus:
        async with asyncio.timeout(HANG_SECONDS):
            asked = 0
            while connections(module_redis_server) - before - asked < 8:
                asked += 1
                assert not bus.statistics().connected
                await asyncio.sleep(0.05)
        # Of the two connections one may be right, and was then made once.
        assert bus.statistics().reconnects == 0
    refused = [record.getMessage() for record in caplog.records]
    assert 1 <= len(refused) <= 2
    assert all("refuses" in each for each in refused), refused


async def test_refused_publications_do_not_fill_the_log(
    module_redis_server: RunningRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Where heartbeats may pass, and the channels of clients' messages may not."""
    rules = ("&PREFIX:beat:*", "&PREFIX:control:*", *DOCUMENTED)
    async with bus_with(module_redis_server, *rules) as bus:
        for _ in range(20):
            with pytest.raises(BusUnavailable, match="refuses"):
                await bus.publish(MESSAGE)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
