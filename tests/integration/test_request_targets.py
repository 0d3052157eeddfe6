"""Paths and queries as clients write them: routed by no other reading than a proxy's, and decoded once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, token
from .raw_client import until
from .test_request_rules import exchange

if TYPE_CHECKING:
    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

ACCESS = 'server.access_log = true\n[store]\nurl = "memory:"\n[[streams]]\nname = "kept"\nfilter = "kept/#"\n'
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(ACCESS, way=request.param)


def ask(gateway: RunningGateway, target: str, *, method: str = "GET", fields: str = "") -> tuple[int, bytes]:
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}"
    if not fields:
        head += "Content-Type: application/json\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1"
    else:
        head += "\r\n"
    head, _, body = exchange(gateway, head).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/connections", 200),
        ("GET", "/v1/streams/kept/messages", 200),
        ("GET", "/livez", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("POST", "/v1/topics/a", 202),
    ],
)
def test_what_is_fixed_in_a_path_is_not_found_percent_encoded(gateway, method, path, status) -> None:
    assert ask(gateway, path, method=method)[0] == status
    ends = path.rfind("/") if "topics" in path else len(path)
    for place in range(1, ends):
        encoded = f"{path[:place]}%{ord(path[place]):02x}{path[place + 1 :]}"
        code, body = ask(gateway, encoded, method=method)
        assert (code, json.loads(body)["code"]) == (404, "not_found"), encoded
    for tail in ("%0a", "%2f", "%00", "%ff"):
        assert "topics" in path or ask(gateway, path + tail, method=method)[0] == 404


def test_a_topic_may_be_percent_encoded(gateway) -> None:
    assert ask(gateway, "/v1/topics/%61%2Fb%20c", method="POST")[0] == 202


def test_a_handshake_s_path_is_not_found_percent_encoded(gateway) -> None:
    assert ask(gateway, "/v1/ws", fields=UPGRADE)[0] == 101
    for path in ("/%76%31/ws", "/v1/%77s", "/v1%2fws", "/v1/ws%0a"):
        assert ask(gateway, path, fields=UPGRADE)[0] == 404, path


@pytest.mark.parametrize("path", ["/", "/v1/wss", "/v1/ws/", "/v1/events", "/v1/topics/a", "/nothing?x=1"])
def test_where_there_is_no_websocket_the_answer_is_a_problem(gateway, path) -> None:
    status, body = ask(gateway, path, fields=UPGRADE)
    assert (status, json.loads(body)["code"]) == (404, "not_found")
    assert "/v1/ws" in json.loads(body)["detail"]


def test_a_handshake_that_lost_its_upgrade_on_the_way_is_told_so(gateway) -> None:
    status, body = ask(gateway, "/v1/ws")
    assert (status, json.loads(body)["code"]) == (400, "bad_command")
    assert "Upgrade: websocket" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("filter=%ff", "bad_filter"),
        ("filter=a&filter=%c3", "bad_filter"),
        ("f%69lter=%ed%a0%80", "bad_filter"),
        ("filter=a&%ff=b", "bad_command"),
        ("filter=a&last_event_id=%ff", "bad_command"),
        ("filter=a&from=%ff", "bad_command"),
    ],
)
def test_a_query_is_utf8_or_refused(gateway, query, code) -> None:
    status, body = ask(gateway, f"/v1/events?{query}")
    assert (status, json.loads(body)["code"]) == (400, code)


@pytest.mark.parametrize("path", ["/v1/connections?after=%ff", "/v1/streams/kept/messages?filter=%ff"])
def test_so_is_the_query_of_other_calls(gateway, path) -> None:
    assert ask(gateway, path)[0] == 400


def test_names_and_values_of_a_query_are_decoded_once(gateway) -> None:
    assert ask(gateway, "/v1/events?f%69lter=a%2Fb", method="HEAD")[0] == 200
    assert ask(gateway, "/v1/events?f%2569lter=a", method="HEAD")[0] == 400


async def test_a_token_in_a_url_is_never_logged(gateway_process) -> None:
    gateway = gateway_process(f"server.access_log = true\n{SETTINGS}", ENVIRONMENT)
    names = (
        "access_token",
        "access%5ftoken",
        "acce%73s_token",
        "%61ccess_token",
        "t%6Fken",
        "access%255ftoken",
    )
    for name in names:
        credential = token(name)
        url = f"{gateway.url}/v1/connections?x=1&{name}={credential}&y=2"
        response = httpx2.get(url, timeout=HANG_SECONDS)
        assert response.status_code == (401 if "%25" in name else 400), name
        await until(lambda name=name: f"&{name}=***&y=2" in gateway.output())
        assert credential[:60] not in gateway.output()
        assert credential.rpartition(".")[2] not in gateway.output()


async def test_the_words_of_redis_are_for_the_log_and_not_for_clients(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    gateway = gateway_process(
        f'[redis]\nurl = "{redis_server.url}"\n[[streams]]\nname = "s"\nfilter = "s/#"\n'
    )
    redis_server.call("SET", "{gateway:stream:s}:log", "x")
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=HANG_SECONDS) as http:
        one = await http.post("/v1/topics/s/a", json=1)
        several = await http.post("/v1/publish", json=[{"topic": "s/a", "data": 1}])
        read = await http.get("/v1/streams/s/messages")
    assert (one.status_code, several.status_code, read.status_code) == (503, 200, 503)
    assert several.json()["results"][0]["code"] == "unavailable"
    for answer in (one, several, read):
        assert "WRONGTYPE" not in answer.text
        assert "operation" not in answer.text.lower()
    # A thread writes the log, in its own time.
    await until(lambda: "WRONGTYPE" in gateway.output())
