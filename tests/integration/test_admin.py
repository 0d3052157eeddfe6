"""Administration of a real gateway: who is connected, ending connections, blocking subjects.

Spec: docs/http.md, "Administration".
"""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .credentials import ENVIRONMENT, SETTINGS, bearer, client, token
from .raw_client import until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, ENVIRONMENT, way=request.param)


def ask(gateway: RunningGateway, method: str, path: str, **how: Any) -> httpx2.Response:
    return httpx2.request(method, gateway.url + path, headers=bearer(token("root", admin=True)), **how)


def publish(gateway: RunningGateway, subject: str) -> int:
    return httpx2.post(f"{gateway.url}/v1/topics/a/b", headers=bearer(token(subject))).status_code


def alone(gateway: RunningGateway) -> dict[str, Any]:
    """What every answer says where there is one node."""
    (node,) = ask(gateway, "GET", "/v1/nodes").json()["nodes"]
    return {"nodes": [node["node"]], "missing": [], "complete": True}


async def test_a_node_alone_lists_itself(gateway) -> None:
    before = time.time() * 1000
    async with client(gateway, token("ann")) as ann:
        await ann.say(op="subscribe", filter="a/x")
        answer = ask(gateway, "GET", "/v1/nodes").json()
        (node,) = answer["nodes"]
        assert answer["complete"] is True
        assert (node["node"], node["silent_seconds"]) == (ann.welcome["node"], 0)
        assert node["connections"] >= 1
        assert node["subscriptions"] >= 1
        assert before - 60_000 < node["started"] < time.time() * 1000
        assert node["name"]
        assert node["version"]


async def test_connections_are_listed_with_their_facts(gateway) -> None:
    before = time.time() * 1000
    async with client(gateway, token("ann")) as ann, client(gateway):
        assert (await ann.say(op="subscribe", filter="a/x"))["op"] == "subscribed"
        answer = ask(gateway, "GET", "/v1/connections").json()
        facts = {each["session"]: each for each in answer["connections"]}
        found = facts[ann.welcome["session"]]
        assert (found["subject"], found["transport"], found["subscriptions"]) == ("ann", "websocket", 1)
        assert found["peer"].startswith("127.0.0.1:")
        assert before - 1000 < found["connected"] < time.time() * 1000 + 1000
        assert (found["waiting_messages"], found["waiting_bytes"]) == (0, 0)
        assert {each["subject"] for each in facts.values()} >= {"ann", None}
        assert found["node"] == ann.welcome["node"]
        assert answer["next"] is None
        assert answer.items() >= alone(gateway).items()


async def test_pages_hold_each_connection_once(gateway) -> None:
    async with AsyncExitStack() as open_ones:
        sessions = [
            (await open_ones.enter_async_context(client(gateway, token("p")))).welcome["session"]
            for _ in range(5)
        ]
        seen: list[str] = []
        after = ""
        while after is not None:
            page = ask(gateway, "GET", "/v1/connections", params={"limit": 2, "after": after}).json()
            assert len(page["connections"]) <= 2
            seen += [each["session"] for each in page["connections"]]
            after = page["next"]
        assert seen == sorted(set(seen))
        assert set(sessions) <= set(seen)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "²", "9" * 50])
def test_a_limit_out_of_bounds_is_refused(gateway, limit) -> None:
    response = ask(gateway, "GET", "/v1/connections", params={"limit": limit})
    assert (response.status_code, response.json()["code"]) == (400, "bad_command")


async def test_one_connection_is_ended(gateway) -> None:
    async with client(gateway, token("ann")) as ann, client(gateway, token("ann")) as other:
        path = f"/v1/connections/{ann.welcome['session']}"
        assert ask(gateway, "DELETE", path).status_code == 204
        last = await ann.hear()
        assert (last["code"], last["fatal"]) == ("forbidden", True)
        assert await ann.closed() == 4403
        assert (await other.say(op="ping"))["op"] == "pong"
        await until(lambda: ask(gateway, "DELETE", path).status_code == 404)


async def test_a_subject_is_disconnected_everywhere_and_may_come_back(gateway) -> None:
    async with (
        client(gateway, token("eve")) as one,
        client(gateway, token("eve")) as two,
        client(gateway, token("ann")) as neighbour,
    ):
        answer = ask(gateway, "POST", "/v1/disconnect", json={"subject": "eve"})
        assert answer.json() == {"disconnected": 2, "blocked_until": None} | alone(gateway)
        assert [await one.closed(), await two.closed()] == [4403, 4403]
        assert (await neighbour.say(op="ping"))["op"] == "pong"
    async with client(gateway, token("eve")) as again:
        assert again.welcome["authenticated"] is True


async def test_the_longest_subject_can_be_named(gateway) -> None:
    subject = "\N{GRINNING FACE}" * 1024
    assert ask(gateway, "POST", "/v1/disconnect", content=json.dumps({"subject": subject})).status_code == 200
    answer = ask(gateway, "POST", "/v1/disconnect", content=json.dumps({"subject": subject + "x"}))
    assert answer.status_code == 400


async def test_a_blocked_subject_stays_out_until_then(gateway) -> None:
    def block(seconds: float) -> httpx2.Response:
        body = {"subject": "mallory", "block_seconds": seconds}
        return ask(gateway, "POST", "/v1/disconnect", json=body)

    async with client(gateway, token("mallory")) as mallory:
        before = time.time()
        answer = block(600)
        assert before + 599 < answer.json()["blocked_until"] / 1000 < time.time() + 601
        assert await mallory.closed() == 4403
    with pytest.raises(InvalidStatus) as refused:
        async with connect(gateway.ws_url, additional_headers=bearer(token("mallory"))):
            pass
    assert refused.value.response.status_code == 403
    assert publish(gateway, "mallory") == 403
    async with client(gateway) as in_band:
        assert (await in_band.say(op="auth", token=token("mallory")))["code"] == "forbidden"
        assert await in_band.closed() == 4403
    block(0.5)
    await until(lambda: publish(gateway, "mallory") != 403)


async def test_a_block_is_lifted_with_zero_seconds_and_by_nothing_else(gateway) -> None:
    def disconnect(**how: float) -> None:
        body = {"subject": "victor"} | how
        assert ask(gateway, "POST", "/v1/disconnect", json=body).status_code == 200

    disconnect(block_seconds=600)
    disconnect()
    assert publish(gateway, "victor") == 403
    disconnect(block_seconds=0)
    assert publish(gateway, "victor") == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"subject":""}',
        b'{"subject":1}',
        b'{"subject":"x","seconds":1}',
        b'{"subject":"x","block_seconds":-1}',
        b'{"subject":"x","block_seconds":1e300}',
        b'{"subject":"\xff"}',
    ],
)
def test_a_wrong_body_is_refused(gateway, body) -> None:
    response = ask(gateway, "POST", "/v1/disconnect", content=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_command")


def test_a_large_body_is_refused(gateway) -> None:
    assert ask(gateway, "POST", "/v1/disconnect", content=b"x" * 20_000).status_code == 413
