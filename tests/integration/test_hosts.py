"""What is served without a credential looks at ``Host``: a page whose name was rebound has none either.

Spec: docs/http.md, "Origins and hosts".
"""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, token
from .raw_client import until
from .test_request_rules import exchange

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

OPTIONAL = f"""
{SETTINGS.replace('"required"', '"optional"')}
auth.anonymous = {{ subscribe = ["a/#"], publish = ["a/#"] }}
[[streams]]
name = "kept"
filter = "a/kept/#"
[store]
url = "memory:"
[[hooks]]
name = "open"
scheme = "none"
topic = "a/hook"
"""
ANONYMOUS = [
    ("POST", "/v1/topics/a/b", 202),
    ("POST", "/v1/publish", 200),
    ("POST", "/v1/hooks/open", 202),
    ("HEAD", "/v1/events?filter=a/b", 200),
    ("GET", "/v1/streams/kept/messages", 200),
]
OPEN = [
    ("GET", "/", 200),
    ("GET", "/livez", 200),
    ("GET", "/readyz", 200),
    ("GET", "/openapi.json", 200),
    ("GET", "/asyncapi.json", 200),
    ("GET", "/v1/console", 200),
    ("GET", "/nothing", 404),
]
REBOUND = "rebound.example"


def ask(gateway: RunningGateway, method: str, path: str, host: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    connection.putrequest(method, path, skip_host=True)
    body = b'{"topic":"a/b","data":1}' if method == "POST" else b""
    headers = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status


async def handshake(gateway: RunningGateway, host: str, **headers: str) -> int:
    try:
        async with connect(
            f"ws://{host}/v1/ws", host="127.0.0.1", port=gateway.port, additional_headers=headers
        ) as client:
            assert b'"welcome"' in await client.recv(decode=False)
    except InvalidStatus as refusal:
        return refusal.response.status_code
    return 101


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(OPTIONAL, ENVIRONMENT, way=request.param)


@pytest.fixture(scope="module")
def required(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, ENVIRONMENT)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:80", "192.0.2.7:8080", "[2001:db8::7]"])
@pytest.mark.parametrize(("method", "path", "status"), [*ANONYMOUS, *OPEN])
def test_whoever_comes_by_address_needs_none(gateway, host, method, path, status) -> None:
    assert ask(gateway, method, path, host) == status


@pytest.mark.parametrize(("method", "path", "status"), [*ANONYMOUS, *OPEN])
def test_a_rebound_name_gets_nothing_that_is_anonymous(gateway, method, path, status) -> None:
    assert ask(gateway, method, path, REBOUND) == 403
    origin = f"http://{REBOUND}"
    assert ask(gateway, method, path, REBOUND, Origin=origin, **{"Sec-Fetch-Site": "same-origin"}) == 403


@pytest.mark.parametrize(("method", "path", "status"), ANONYMOUS)
def test_with_a_credential_any_name_will_do(gateway, method, path, status) -> None:
    assert ask(gateway, method, path, "events.example", Authorization=f"Bearer {token()}") == status


def test_a_balancer_that_asks_without_a_host_is_answered(required, gateway) -> None:
    for each in (required, gateway):
        assert exchange(each, "GET /readyz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


async def test_a_rebound_name_gets_no_websocket_but_with_a_credential(gateway) -> None:
    assert await handshake(gateway, REBOUND) == 403
    assert await handshake(gateway, REBOUND, Origin=f"http://{REBOUND}") == 403
    assert await handshake(gateway, REBOUND, Authorization=f"Bearer {token()}") == 101
    assert await handshake(gateway, f"127.0.0.1:{gateway.port}") == 101


async def test_where_a_credential_is_required_only_what_is_open_looks_at_the_name(required) -> None:
    for method, path, status in OPEN:
        assert ask(required, method, path, REBOUND) == 403, path
        assert ask(required, method, path, "192.0.2.7") == status, path
    for method, path, _ in ANONYMOUS[:2]:
        assert ask(required, method, path, REBOUND) == 401, path
    # Whoever connects so still has to authenticate, with a frame.
    assert await handshake(required, "events.example") == 101


@pytest.mark.parametrize("settings", [SETTINGS, OPTIONAL])
def test_metrics_are_free_on_this_machine_but_not_for_a_page_on_it(gateway_process, settings) -> None:
    gateway = gateway_process(settings, ENVIRONMENT)
    assert ask(gateway, "GET", "/metrics", "localhost") == 200
    assert ask(gateway, "GET", "/metrics", REBOUND) in {401, 403}
    admin = token(admin=True)
    assert ask(gateway, "GET", "/metrics", REBOUND, Authorization=f"Bearer {admin}") == 200


def test_configured_hosts_hold_with_insecure_too(gateway_process) -> None:
    gateway = gateway_process('server.insecure = true\norigins.hosts = ["gateway.internal"]')
    for host, passes in {
        "gateway.internal": True,
        "GATEWAY.internal:8080": True,
        "localhost": True,
        "192.0.2.7": True,
        REBOUND: False,
        "gateway.internal.rebound.example": False,
    }.items():
        assert (ask(gateway, "POST", "/v1/topics/a", host) == 202) is passes, host
        assert (ask(gateway, "GET", "/readyz", host) == 200) is passes, host


def test_without_configured_hosts_insecure_takes_every_name(gateway_process) -> None:
    gateway = gateway_process("server.insecure = true")
    assert ask(gateway, "POST", "/v1/topics/a", "gateway.internal") == 202


async def test_refusals_are_logged_within_bounds_and_counted(gateway_process) -> None:
    gateway = gateway_process()
    began = time.monotonic()
    for _ in range(20):
        assert ask(gateway, "GET", "/readyz", REBOUND) == 403
        assert ask(gateway, "POST", "/v1/topics/a", "localhost", Origin="https://evil.example") == 403
    assert gateway.metric('gateway_refused_total{limit="origin"}') == 40
    windows = 1 + (time.monotonic() - began) // 10

    def lines() -> list[str]:
        return [line for line in gateway.output().splitlines() if "request refused" in line]

    # A thread writes the log, in its own time.
    await until(lambda: all(each in "".join(lines()) for each in (REBOUND, "evil.example")))
    assert len(lines()) <= 5 * windows, lines()
