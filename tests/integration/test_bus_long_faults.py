"""Half a minute without Redis, in several ways at once: each has nodes of its own, so all wait together."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.integration.history import History, history
from tests.integration.outage import (
    RECOVERY_SECONDS,
    assert_unavailable,
    cpu_seconds,
    partition_channel,
    settings_for,
    until_status,
)
from tests.integration.slow_link import slow_link
from tests.redis_process import owns, redis_cluster, redis_servers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import RunningGateway, StartGateway

OUTAGE_SECONDS = 30.0
LOG_LINES = 40  # of one node, about half a minute's trouble


async def outage(
    nodes: list[RunningGateway],
    struck: list[RunningGateway],
    begin: Callable[[], None],
    end: Callable[[], None],
    *,
    refused: tuple[str, ...] = ("#", "new/topic"),
) -> History:
    """Strike ``struck`` for half a minute; nobody is disconnected, all comes back.

    Meanwhile ``red/x`` can't be published to, nor what is ``refused`` subscribed to.
    """
    async with history(nodes, pause=0.02) as record:
        await record.steady()
        begin()
        try:
            struck_at = time.monotonic()
            for node in struck:
                await until_status(node, "degraded")
                await assert_unavailable(node, refused)
            used = [cpu_seconds(node) for node in struck]
            idle_from = time.monotonic()
            await asyncio.sleep(OUTAGE_SECONDS - (idle_from - struck_at))
            for node, before in zip(struck, used, strict=True):
                share = (cpu_seconds(node) - before) / (time.monotonic() - idle_from)
                assert share < 0.5, "busy while nothing can be done"
                await assert_unavailable(node, refused)
        finally:
            end()
        await record.steady(seconds=RECOVERY_SECONDS)
    assert record.refused
    assert all(each.gaps for each in record.subscribers if each.node in struck)
    record.check()
    for node in nodes:
        await until_status(node, "ready")
        assert len(node.output().splitlines()) < LOG_LINES, node.output()
    return record


async def test_half_a_minute_without_redis(gateway_process: StartGateway, tmp_path: Path) -> None:
    with (
        redis_servers(tmp_path, (), ()) as (frozen, reached),
        redis_cluster(tmp_path) as shards,
        slow_link(reached.port) as link,
    ):
        cluster = "redis+cluster://" + shards[0].address
        urls = [frozen.url, frozen.url, reached.url, link.url, cluster, cluster]
        starting = (asyncio.to_thread(gateway_process, settings_for(url)) for url in urls)
        nodes = await asyncio.gather(*starting)
        alone, linked, sharded = nodes[:2], nodes[2:4], nodes[4:]
        # The other two go on: only topics whose partition the frozen one has are refused.
        shard = next(each for each in shards if owns(each, partition_channel("red/x")))
        _, one_sided, _ = await asyncio.gather(
            outage(alone, alone, frozen.freeze, frozen.thaw),
            outage(linked, linked[1:], link.stall, link.heal),
            outage(sharded, sharded, shard.freeze, shard.thaw, refused=("#", "red/other")),
        )
        near = [each for each in one_sided.subscribers if each.node is linked[0]]
        assert [one_sided.missing(each) for each in near] == [[], []]
