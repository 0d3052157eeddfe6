"""Where Redis is: places that can't be found are told, databases separate gateways.

Spec: docs/operations.md, "Many nodes: Redis".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .credentials import ENVIRONMENT, SETTINGS, client, token
from .outage import PATIENT_REDIS
from .test_redis_rights import STREAM, ask, knows
from .test_streams_nodes import until

if TYPE_CHECKING:
    from tests.redis_process import RunningRedis

    from .conftest import StartGateway


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:{}/main", "redis+cluster://127.0.0.1:{}"])
def test_a_redis_that_cannot_be_found_is_told_once(gateway_process: StartGateway, url: str) -> None:
    port = free_port()
    node = gateway_process(f'{SETTINGS}\n[redis]\nurl = "{url.format(port)}"\n{STREAM}', ENVIRONMENT)
    assert ask(node, "/readyz")[1] == {"status": "degraded", "away": ["redis", "store"]}

    def told() -> list[dict[str, str]]:
        records = [json.loads(line) for line in node.stderr_text().splitlines() if line.startswith("{")]
        return [each for each in records if "can't be found" in each["event"]]

    until(lambda: len(told()) == 2)
    assert {each["level"] for each in told()} == {"warning"}
    assert {each["logger"] for each in told()} == {"gateway.bus", "gateway.streams"}
    assert all(f":{port}" in each["event"] for each in told())


async def test_gateways_in_different_databases_do_not_hear_one_another(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    def start(database: int):
        url = f"redis://{redis_server.address}/{database}"
        settings = f'{SETTINGS}\n[redis]\nurl = "{url}"\n{PATIENT_REDIS}{STREAM}'
        return gateway_process(settings, ENVIRONMENT)

    nodes = [start(database) for database in (0, 1, 1, 2)]
    until(lambda: [knows(node, count) for node, count in zip(nodes, (1, 2, 2, 1), strict=True)] == [True] * 4)
    zero, one, other, two = nodes
    grants = {"subscribe": ["#"], "publish": ["#"]}
    async with (
        client(zero, token("ann", **grants)) as at_zero,
        client(other, token("ann", **grants)) as at_other,
        client(two, token("ann", **grants)) as at_two,
    ):
        for each in (at_zero, at_other, at_two):
            assert (await each.say(op="subscribe", filter="#"))["op"] == "subscribed"
        assert ask(one, "/v1/topics/live/a", b'"live"')[0] == 202
        assert ask(one, "/v1/topics/orders/a", b'"kept"')[0] == 201
        assert {(await at_other.hear())["data"] for _ in range(2)} == {"live", "kept"}
        # Blocks of one gateway are none of the others'.
        block = b'{"subject": "ann", "block_seconds": 60}'
        until(lambda: len(ask(one, "/v1/disconnect", block)[1]["nodes"]) == 2)
        assert await at_other.closed() == 4403
        for each, node in ((at_zero, zero), (at_two, two)):
            assert ask(node, "/v1/topics/live/a", b'"own"')[0] == 202
            assert (await each.hear())["data"] == "own", "and nothing before it"
