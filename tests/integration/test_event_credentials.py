"""Server-sent events with authentication, limits, a drain and a kill: who gets in, and how it ends.

Spec: docs/http.md, "Server-sent events"; docs/security.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from anyio import to_thread

from .credentials import ENVIRONMENT, SETTINGS, bearer, token
from .event_client import events
from .raw_client import until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

ORIGIN = "https://app.example"
LIMITS = """
auth.cookie = "__Host-gateway"
origins.allow = ["https://app.example"]
limits.connections = 5
limits.connections_per_subject = 2
"""


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS + LIMITS, ENVIRONMENT, way=request.param)


@pytest.mark.parametrize(
    ("credential", "wanted", "status", "code"),
    [
        (None, "a/#", 401, "unauthenticated"),
        ("wrong", "a/#", 401, "unauthenticated"),
        (token("ann", publish=["#"]), "a/#", 403, "forbidden"),
        (token("ann"), "#", 403, "forbidden"),
        (token("ann"), "a/b", 200, ""),
    ],
)
async def test_a_stream_needs_a_grant_that_covers_each_filter(
    gateway, credential, wanted, status, code
) -> None:
    headers = {} if credential is None else bearer(credential)
    async with events(gateway, "a/first", wanted, headers=headers) as client:
        assert client.status == status
        if status != 200:
            assert f'"code":"{code}"'.encode() in await client.body()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ORIGIN}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://evil.example"}, 401),
        ({"sec-fetch-site": "cross-site"}, 401),
        ({}, 401),
    ],
)
async def test_a_cookie_counts_from_allowed_pages_alone(gateway, headers, status) -> None:
    headers = headers | {"cookie": f"__Host-gateway={token('cara')}"}
    async with events(gateway, "a/b", headers=headers) as client:
        assert client.status == status
        allowed = (client.headers.get("access-control-allow-origin"), status == 200)
        assert allowed == (ORIGIN if headers.get("origin") == ORIGIN else None, status == 200)
        if headers.get("origin") == ORIGIN:
            assert client.headers["access-control-allow-credentials"] == "true"


async def test_what_ends_with_the_credential_is_told_twice(gateway) -> None:
    async with events(gateway, "a/b", headers=bearer(token("dora", lives=-3.0))) as client:
        *_, expired, ended = await client.end()
    assert (expired.name, expired.data["code"], expired.data["fatal"]) == ("error", "token_expired", False)
    assert (ended.name, ended.data["code"], ended.data["fatal"]) == ("error", "token_expired", True)


async def test_connections_are_counted_per_subject_and_node(gateway) -> None:
    await until(lambda: gateway.metric("gateway_connections") == 0)
    async with (
        events(gateway, "a/b", headers=bearer(token("ann"))),
        events(gateway, "a/b", headers=bearer(token("ann"))),
    ):
        async with events(gateway, "a/b", headers=bearer(token("ann"))) as third:
            assert (third.status, "retry-after" in third.headers) == (429, True)
        async with (
            events(gateway, "a/b", headers=bearer(token("bob"))),
            events(gateway, "a/b", headers=bearer(token("bob"))),
            events(gateway, "a/b", headers=bearer(token("cara"))),
            events(gateway, "a/b", headers=bearer(token("dora"))) as sixth,
        ):
            assert (sixth.status, "retry-after" in sixth.headers) == (503, True)
    # A place that was refused must not stay taken.
    await until(lambda: gateway.metric("gateway_connections") == 0)
    async with events(gateway, "a/b", headers=bearer(token("ann"))) as again:
        assert again.status == 200


async def test_blocking_a_subject_ends_its_streams(gateway) -> None:
    async with events(gateway, "a/b", headers=bearer(token("eve"))) as client:
        assert (await client.hear()).name == "welcome"
        body = {"subject": "eve", "block_seconds": 60}
        headers = bearer(token("root", admin=True))
        async with httpx2.AsyncClient(headers=headers) as http:
            answer = await http.post(f"{gateway.url}/v1/disconnect", json=body)
        assert answer.json()["disconnected"] == 1
        assert (await client.end())[-1].data["code"] == "forbidden"
    async with events(gateway, "a/b", headers=bearer(token("eve"))) as back:
        assert back.status == 403


async def test_a_drain_says_when_to_come_back(gateway_process: StartGateway) -> None:
    node = gateway_process()
    async with events(node, "a") as client:
        await client.hear_op("subscribed")
        node.terminate()
        (farewell,) = await client.end()
        assert (farewell.name, farewell.data["reason"]) == ("goaway", "draining")
        assert client.events.retry == farewell.data["retry_after"]
    assert await to_thread.run_sync(node.wait) == 0


async def test_after_a_kill_an_id_resumes_from_what_was_stored(gateway_process: StartGateway) -> None:
    node = gateway_process('streams = [{ name = "s", filter = "s/#" }]')
    async with httpx2.AsyncClient() as http, events(node, "s/#") as client:
        await client.hear_op("subscribed")
        for number in range(3):
            await http.post(f"{node.url}/v1/publish", json={"topic": "s/a", "data": number})
        last_id = (await client.hear()).last_id
    await to_thread.run_sync(node.kill)
    await to_thread.run_sync(node.start)
    async with events(node, "s/#", last_id=last_id) as client:
        assert (await client.hear_op("subscribed")).data["recovered"] is True
        assert [(await client.hear()).data["data"] for _ in range(2)] == [1, 2]
        assert (await client.hear()).name == "caught_up"
