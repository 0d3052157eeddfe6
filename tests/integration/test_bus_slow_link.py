"""Two nodes of one gateway, one of them with a bad link to Redis; real processes throughout.

The far node stays bounded and answers in time; the near one and its clients hardly notice.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.integration.history import ANSWER_SECONDS, history, no_gaps
from tests.integration.outage import PATIENT_REDIS, RECOVERY_SECONDS, settings_for, until_status
from tests.integration.slow_link import SlowLink, slow_link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

NARROW = 40_000  # bytes per second
BODY = b'"' + b"x" * 60_000 + b'"'
# The clients of the test share its core with the link: they may be slow, and are not what is tried here.
MOST_GROWTH = 64 * 1024 * 1024  # of memory: both queues of the bus, and what the clients of the test hold


@pytest.fixture(scope="module")
def module_link(module_redis_server: RunningRedis) -> Iterator[SlowLink]:
    with slow_link(module_redis_server.port) as link:
        yield link


@pytest.fixture
def link(module_link: SlowLink) -> Iterator[SlowLink]:
    yield module_link
    module_link.heal()


@pytest.fixture(scope="module")
def nodes(
    module_gateway_process: StartGateway, module_redis_server: RunningRedis, module_link: SlowLink
) -> list[RunningGateway]:
    """The near one and the far one."""
    urls = (module_redis_server.url, module_link.url)
    return [module_gateway_process(settings_for(url)) for url in urls]


async def flood(node: RunningGateway, seconds: float) -> list[int]:
    """Publish large messages on many connections at once; the status of each answer, all in time."""
    until = time.monotonic() + seconds

    async def publish(http: httpx2.AsyncClient) -> list[int]:
        statuses = []
        while time.monotonic() < until:
            began = time.monotonic()
            headers = {"content-type": "application/json"}
            answer = await http.post(
                f"{node.url}/v1/topics/red/big", content=BODY, headers=headers, timeout=10
            )
            assert time.monotonic() - began < ANSWER_SECONDS
            assert answer.status_code == 202 or int(answer.headers["retry-after"]) >= 1
            statuses.append(answer.status_code)
            await asyncio.sleep(0.05)
        return statuses

    async with httpx2.AsyncClient() as http:
        answers = await asyncio.gather(*(publish(http) for _ in range(20)))
    return [status for each in answers for status in each]


async def test_a_distant_redis_loses_nothing(
    gateway_process: StartGateway, module_redis_server: RunningRedis, link: SlowLink
) -> None:
    # Nodes of its own, to which a machine that stands still for three seconds is no outage.
    settings = [settings_for(url, redis=PATIENT_REDIS) for url in (module_redis_server.url, link.url)]
    nodes = await asyncio.gather(*(asyncio.to_thread(gateway_process, each) for each in settings))
    link.there.delay = link.back.delay = 0.15
    async with history(nodes) as record:
        await record.steady()
    assert not record.refused_early
    assert [record.missing(each) for each in record.subscribers] == [[]] * 4
    record.check(gaps=no_gaps)


async def test_a_link_too_narrow_for_what_is_published(nodes: list[RunningGateway], link: SlowLink) -> None:
    near, far = nodes
    before = far.rss()
    async with history(nodes) as record:
        await record.steady()
        link.there.bytes_per_second = NARROW
        statuses = await flood(far, 6)
        assert set(statuses) <= {202, 429, 503}
        assert 503 in statuses
        assert far.rss() - before < MOST_GROWTH
        link.heal()
        await record.steady(seconds=RECOVERY_SECONDS)
    # What was answered has reached everyone who listens without the link.
    assert [record.missing(each) for each in record.subscribers if each.node is near] == [[], []]
    record.check()
    await until_status(far, "ready")


async def test_a_link_too_narrow_for_what_is_heard(nodes: list[RunningGateway], link: SlowLink) -> None:
    near, far = nodes
    before = far.rss()
    async with history(nodes) as record:
        await record.steady()
        link.back.bytes_per_second = NARROW
        statuses = await flood(near, 6)
        assert set(statuses) == {202}, "the near node's publishers waited for the far one"
        assert far.rss() - before < MOST_GROWTH
        link.heal()
        await record.steady(seconds=RECOVERY_SECONDS)
    for each in record.subscribers:
        assert record.missing(each) == [] if each.node is near else each.gaps
    record.check()
    await until_status(far, "ready")
