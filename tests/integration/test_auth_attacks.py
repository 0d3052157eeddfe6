"""Attacks on a real gateway with authentication, each with the refusal that it must get.

Tokens that are forged are shown in tests/unit/auth; here is what goes through the doors.
Spec: docs/security.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SECRET, SETTINGS, bearer, client, token
from .raw_client import until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

HOOK_SECRET = "the hook's own secret"
OTHER_HOOK_SECRET = "another hook's secret"
HOOKS = """
server.access_log = true

[[hooks]]
name = "signed"
scheme = "github"
secret = "env:TEST_HOOK_SECRET"
topic = "hooks/{header.x-name|level}"

[[hooks]]
name = "other"
scheme = "github"
secret = "env:TEST_OTHER_HOOK_SECRET"
topic = "hooks/other"

[[hooks]]
name = "open"
scheme = "none"
topic = "hooks/open"
"""
IMPATIENT = """
limits.auth_timeout = "3s"
limits.head_timeout = "2s"
"""
SECRETS = ENVIRONMENT | {"TEST_HOOK_SECRET": HOOK_SECRET, "TEST_OTHER_HOOK_SECRET": OTHER_HOOK_SECRET}


@pytest.fixture(scope="module", params=["json", "console"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS + f'server.log_format = "{request.param}"\n' + HOOKS, SECRETS)


@pytest.fixture(scope="module")
def impatient(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS + IMPATIENT, SECRETS)


def exchange(gateway: RunningGateway, request: bytes) -> bytes:
    """Everything that the gateway answers to these bytes, until it ends the connection."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(algorithm: str, signature: str = "", **header: object) -> str:
    claims = {"sub": "root", "exp": time.time() + 600, "gateway": {"admin": True, "publish": ["#"]}}
    return f"{encoded({'alg': algorithm, **header})}.{encoded(claims)}.{signature}"


@pytest.mark.parametrize(
    "forged",
    [
        unsigned("none"),
        unsigned("None"),
        unsigned("HS256"),
        unsigned("HS256", "AAAA"),
        unsigned("HS256", kid="../../../../etc/passwd"),
        unsigned("HS256", kid="x" * 3000),
        unsigned("RS256", "AAAA", jku="http://127.0.0.1:1/keys"),
        token()[:-4] + "AAAA",
        token() + "." + token(),
        "gw_" + "A" * 60,
        "gw_aaaaaaaa_" + "A" * 43,
        ".",
        "..",
        "a" * 9000,
    ],
    ids=range(14),
)
async def test_a_forged_credential_opens_no_door(gateway, forged) -> None:
    status = {401, 431} if len(forged) > 8000 else {401}
    for method, path in (("POST", "/v1/topics/a/b"), ("GET", "/v1/connections"), ("GET", "/v1/ws")):
        response = httpx2.request(method, gateway.url + path, headers=bearer(forged))
        assert response.status_code in status | ({426, 400} if path == "/v1/ws" else set())
    async with client(gateway) as mallory:
        assert (await mallory.say(op="auth", token=forged))["code"] == "unauthenticated"
        assert (await mallory.say(op="publish", topic="a/b", data=1))["code"] == "unauthenticated"


async def test_nobody_publishes_beyond_a_grant_through_any_door(gateway) -> None:
    everything = token("listener", subscribe=["#"])
    only_a = token("mallory", publish=["a/+"])
    items = [{"topic": topic, "data": 1} for topic in ("a/ok", "b/no", "a/b/c", "$gateway/x", "a/+", "a")]
    async with client(gateway, everything) as listener, client(gateway, only_a) as mallory:
        assert (await listener.say(op="subscribe", filter="#"))["op"] == "subscribed"
        codes = [(await mallory.say(op="publish", **item, ref=1)).get("code", "ok") for item in items]
        assert codes == ["ok", "forbidden", "forbidden", "bad_topic", "bad_topic", "forbidden"]
        batch = httpx2.post(f"{gateway.url}/v1/publish", json=items, headers=bearer(only_a)).json()
        assert [result.get("code", "ok") for result in batch["results"]] == codes
        lines = "\n".join(json.dumps(item) for item in items)
        headers = bearer(only_a) | {"Content-Type": "application/x-ndjson"}
        summary = httpx2.post(f"{gateway.url}/v1/publish", content=lines, headers=headers).json()
        assert (summary["accepted"], [each["line"] for each in summary["errors"]]) == (1, [2, 3, 4, 5, 6])
        assert httpx2.post(f"{gateway.url}/v1/hooks/open", headers=bearer(only_a)).status_code == 403
        assert httpx2.post(f"{gateway.url}/v1/hooks/open").status_code == 401
        heard = [(await listener.hear())["topic"] for _ in range(3)]
        assert heard == ["a/ok"] * 3
        assert (await listener.say(op="ping"))["op"] == "pong"


def deliver(gateway: RunningGateway, body: bytes, *, signed: bytes = b"", secret: str = HOOK_SECRET) -> int:
    digest = hmac.new(secret.encode(), signed or body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Delivery": body.hex()[:16]}
    return httpx2.post(f"{gateway.url}/v1/hooks/signed", content=body, headers=headers).status_code


async def test_forged_altered_and_replayed_webhooks(gateway) -> None:
    async with client(gateway, token("listener", subscribe=["hooks/#"])) as listener:
        assert (await listener.say(op="subscribe", filter="hooks/#"))["op"] == "subscribed"
        body = f'{{"at":{time.time()}}}'.encode()
        assert deliver(gateway, body, secret="guessed") == 401
        assert deliver(gateway, body, secret=OTHER_HOOK_SECRET) == 401
        assert deliver(gateway, body + b" ", signed=body) == 401
        assert [deliver(gateway, body) for _ in range(5)] == [202] * 5
        assert (await listener.hear())["topic"] == "hooks/-"
        assert (await listener.say(op="ping"))["op"] == "pong"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/topics/..%2f",
        "/v1/topics/../connections",
        "/v1/topics/a/..%2fconnections",
        "/v1/topics/%2e%2e/connections",
        "/v1/topics/a/./b",
        "/v1/topics/%00",
        "/v1/topics/a%",
        "/v1/topics/%ff",
        "/v1/topics/%24gateway/x",
        "/v1/hooks/..%2fconnections",
        "/v1/../metrics",
    ],
)
def test_paths_that_climb_reach_nothing(gateway, path) -> None:
    for method, credential in (("GET", token()), ("POST", token("x", publish=["#"], subscribe=["#"]))):
        answer = exchange(
            gateway,
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n".encode(),
        )
        assert answer.split(b" ")[1] in {b"400", b"403", b"404", b"405"}


@pytest.mark.parametrize(
    "shape",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length : 5\r\n\r\nabcde",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity, chunked, identity\r\n\r\n0\r\n\r\n",
        b"Content-Length: +5\r\n\r\nabcde",
        b"Content-Length: 0x5\r\n\r\nabcde",
        b"Content-Length: -1\r\n\r\n",
        b"X: a\nContent-Length: 5\r\n\r\nabcde",
        b"Transfer-Encoding: chunked\r\n\r\n5;x=\n\r\nabcde\r\n0\r\n\r\n",
        b" folded: x\r\n\r\n",
    ],
    ids=range(12),
)
def test_requests_that_two_servers_read_in_two_ways_are_refused(gateway, shape) -> None:
    smuggled = b"GET /v1/connections HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head = b"POST /v1/topics/a/b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % token().encode()
    answer = exchange(gateway, head + shape + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith(b"HTTP/1.1 4"), answer


async def test_what_clients_write_begins_no_line_of_a_log_and_no_label_of_a_metric(gateway) -> None:
    forged = 'x\r\n{"level":"info","event":"forged"}\n2026-01-01 [error] forged\x1b[31m'
    async with client(gateway, token(forged, publish=["#"])) as mallory:
        for topic in (forged, 'a"} 1\nforged_total 1\n#'):
            await mallory.say(op="publish", topic=topic, data=1, ref=forged[:100])
        await mallory.connection.close(4000, "x\nforged\x1b[31m")
    httpx2.get(f"{gateway.url}/v1/%0d%0aforged%1b?x=%0aforged")
    httpx2.post(f"{gateway.url}/v1/hooks/%0aforged")
    await until(lambda: "forged" in gateway.output())
    await until(lambda: gateway.output().count("connection closed") == gateway.output().count("opened"))
    lines = gateway.output().splitlines()
    assert any("forged" in line for line in lines)
    assert not any(line.startswith(("forged", '{"level":"info","event":"forged"')) for line in lines)
    assert "\x1b" not in gateway.output()
    assert "forged" not in httpx2.get(f"{gateway.url}/metrics").text


def test_header_injection_in_answers(gateway) -> None:
    answer = exchange(
        gateway,
        b"POST /v1/hooks/x%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n",
    )
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie" not in head
    for header in (b"x-content-type-options: nosniff", b"content-security-policy: default-src 'none'"):
        assert header in head


def test_a_slow_handshake_is_cut_off(impatient) -> None:
    answer = exchange(impatient, b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: webso")
    assert answer.startswith(b"HTTP/1.1 408")
    assert exchange(impatient, b"") == b""


async def test_a_slow_first_frame_is_cut_off(impatient) -> None:
    async with client(impatient) as slow:
        slow.connection.transport.write(b"\x81\xfe")  # a frame's first two bytes, and no more
        assert await slow.closed() in {1006, 1008, 4409}


def test_secrets_are_nowhere_in_what_was_printed(gateway) -> None:
    """Everything that the tests above made it print: its own secrets, and what clients presented."""
    used = token("shown-nowhere", lives=300)
    httpx2.post(f"{gateway.url}/v1/topics/a/b", headers=bearer(used))
    httpx2.post(f"{gateway.url}/v1/topics/a/b?access_token={used}")
    deliver(gateway, b"{}", secret="x")
    printed = gateway.output() + httpx2.get(f"{gateway.url}/metrics").text
    for secret in (SECRET, HOOK_SECRET, OTHER_HOOK_SECRET, used, used.split(".")[2]):
        assert secret not in printed
        assert repr(secret)[1:-1] not in printed


def test_the_command_line_shows_no_secret(gateway) -> None:
    for command in (["check"], ["token", "--sub", "ann"], ["check", "--reference"]):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *command],
            cwd=gateway.directory,
            env=gateway.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for secret in (SECRET, HOOK_SECRET, OTHER_HOOK_SECRET):
            assert secret not in done.stdout + done.stderr
