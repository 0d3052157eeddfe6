"""Three nodes of one gateway: one has the right time, one is an hour ahead, one an hour behind."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.integration.credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from tests.integration.history import history, no_gaps
from tests.integration.outage import PATIENT_REDIS, settings_for
from tests.integration.wrong_clock import clock_off_by
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

HOUR = 3600
OFFSETS = (0, HOUR, -HOUR)
ANONYMOUS = """
[auth.anonymous]
subscribe = ["#"]
publish = ["#"]
"""


@pytest.fixture(scope="module")
def nodes(
    module_gateway_process: StartGateway,
    module_redis_server: RunningRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[RunningGateway]:
    redis = settings_for(module_redis_server.url, redis=PATIENT_REDIS)
    settings = SETTINGS.replace('"required"', '"optional"') + ANONYMOUS + redis
    directory = tmp_path_factory.mktemp("clocks")
    return [
        module_gateway_process(settings, ENVIRONMENT | clock_off_by(offset, directory / str(offset)))
        for offset in OFFSETS
    ]


async def publish(node: RunningGateway, credential: str) -> int:
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        answer = await http.post(f"{node.url}/v1/topics/a/b", content=b"1", headers=bearer(credential))
    return answer.status_code


async def test_delivery_and_order_do_not_depend_on_clocks(nodes: list[RunningGateway]) -> None:
    async with history(nodes) as record:
        await record.steady()
    assert record.refused == 0
    assert [record.missing(each) for each in record.subscribers] == [[]] * 6
    record.check(gaps=no_gaps)


async def test_a_message_bears_the_time_of_the_node_that_took_it(nodes: list[RunningGateway]) -> None:
    async with connect(nodes[0].ws_url) as websocket:
        await websocket.recv()
        await websocket.send(json.dumps({"op": "subscribe", "filter": "a/b"}))
        assert json.loads(await websocket.recv())["op"] == "subscribed"
        for node, offset in zip(nodes, OFFSETS, strict=True):
            assert await publish(node, token(lives=2 * HOUR)) == 202
            message = json.loads(await websocket.recv())
            assert abs(message["time"] / 1000 - time.time() - offset) < HOUR / 10


async def test_a_token_is_judged_by_the_clock_of_the_node_it_is_shown_to(nodes: list[RunningGateway]) -> None:
    right, _, behind = nodes
    for lives, accepting in ((600, [right, behind]), (HOUR + 600, nodes), (600 - HOUR, [behind])):
        for node in nodes:
            assert await publish(node, token(lives=lives)) == (202 if node in accepting else 401)

    async def until_expired(node: RunningGateway, offset: int) -> None:
        for lives in (1, 4, 16):  # on a busy machine a second may be over before the token is shown
            try:
                async with client(node, token(lives=offset + lives)) as one:
                    assert (await one.hear())["code"] == "token_expired"
                    assert await one.closed() == 4401
            except InvalidStatus as refused:
                if refused.response.status_code != 401:
                    raise
            else:
                return
        pytest.fail("no token was shown in time")

    await asyncio.gather(*(until_expired(node, offset) for node, offset in zip(nodes, OFFSETS, strict=True)))


async def test_a_block_lasts_as_long_as_was_said(nodes: list[RunningGateway]) -> None:
    async def block(node: RunningGateway, offset: int, seconds: int) -> None:
        admin = bearer(token("root", lives=offset + 600, admin=True))
        order = {"subject": f"eve{offset}", "block_seconds": seconds}
        async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
            answer = await http.post(f"{node.url}/v1/disconnect", json=order, headers=admin)
        assert answer.status_code == 200

    async def blocked_for_a_while(node: RunningGateway, offset: int) -> None:
        eve = token(f"eve{offset}", lives=offset + 600)
        await block(node, offset, HOUR)
        assert await publish(node, eve) == 403
        await block(node, offset, 1)
        async with asyncio.timeout(HANG_SECONDS):
            while await publish(node, eve) != 202:  # noqa: ASYNC110 - another process is asked
                await asyncio.sleep(0.05)

    await asyncio.gather(*map(blocked_for_a_while, nodes, OFFSETS))
