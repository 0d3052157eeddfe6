"""Which hosts and pages may talk to a gateway without authentication, over WebSockets and HTTP.

Spec: docs/http.md, "Origins and hosts".
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

SETTINGS = """
origins.allow = ["https://app.example", "http://localhost:3000"]
origins.hosts = ["gateway.internal"]
"""


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, way=request.param)


def fill(value: str | None, gateway: RunningGateway) -> str | None:
    return None if value is None else value.replace("PORT", str(gateway.port))


def status(gateway: RunningGateway, method: str, host: str | None, origin: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
    path = "/readyz" if method in {"GET", "HEAD"} else "/v1/topics/origins/x"
    connection.putrequest(method, path, skip_host=True)
    for name, value in (("Host", fill(host, gateway)), ("Origin", fill(origin, gateway))):
        if value is not None:
            connection.putheader(name, value)
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    answer = connection.getresponse()
    if answer.status == 403:
        assert answer.getheader("Content-Type") == "application/problem+json"
        assert b'"forbidden"' in answer.read()
    connection.close()
    return answer.status


async def websocket_status(gateway: RunningGateway, host: str | None, origin: str | None) -> int:
    try:
        headers = {} if origin is None else {"Origin": fill(origin, gateway)}
        # Where it connects is separate from what its Host says.
        uri = f"ws://{fill(host, gateway)}/v1/ws"
        async with connect(uri, host="127.0.0.1", port=gateway.port, additional_headers=headers) as client:
            assert b'"welcome"' in await client.recv(decode=False)
    except InvalidStatus as refusal:
        return refusal.response.status_code
    return 101


ALLOWED = [
    pytest.param("127.0.0.1:PORT", None, id="no origin"),
    pytest.param("127.0.0.1:PORT", "http://127.0.0.1:PORT", id="own origin"),
    pytest.param("localhost:PORT", "http://localhost:PORT", id="own origin by name"),
    pytest.param("[::1]:PORT", "http://[::1]:PORT", id="own origin over IPv6"),
    pytest.param("LOCALHOST:PORT", "HTTP://LocalHost:PORT", id="letters of any case"),
    pytest.param("127.0.0.1:PORT", "https://app.example", id="allowed origin"),
    pytest.param("127.0.0.1:PORT", "http://localhost:3000", id="allowed origin with port"),
    pytest.param("gateway.internal", "http://gateway.internal", id="configured name"),
]
REFUSED = [
    pytest.param("127.0.0.1:PORT", "https://evil.example", id="foreign origin"),
    pytest.param("127.0.0.1:PORT", "http://127.0.0.1:1", id="another port"),
    pytest.param("127.0.0.1:PORT", "http://localhost:PORT", id="another name of the same"),
    pytest.param("127.0.0.1:PORT", "https://app.example.evil.example", id="allowed origin as a prefix"),
    pytest.param("127.0.0.1:PORT", "http://app.example", id="allowed origin, another scheme"),
    pytest.param("127.0.0.1:PORT", "null", id="opaque origin"),
    pytest.param("127.0.0.1:PORT", "", id="empty origin"),
    pytest.param("127.0.0.1:PORT", "file://127.0.0.1:PORT", id="origin of a file"),
]
REBOUND = [
    pytest.param("evil.example:PORT", None, id="foreign host"),
    pytest.param("evil.example:PORT", "http://evil.example:PORT", id="rebound name"),
    pytest.param("127.0.0.1.evil.example:PORT", None, id="loopback as a prefix"),
    pytest.param("app.example", "https://app.example", id="allowed origin, foreign host"),
    pytest.param("10.0.0.1:PORT", None, id="another address"),
]


@pytest.mark.parametrize(("host", "origin"), ALLOWED)
async def test_what_is_allowed(gateway, host: str, origin: str | None) -> None:
    assert status(gateway, "POST", host, origin) == 202
    assert status(gateway, "GET", host, origin) == 200
    assert await websocket_status(gateway, host, origin) == 101


@pytest.mark.parametrize(("host", "origin"), REFUSED)
async def test_foreign_pages_may_neither_publish_nor_connect(gateway, host: str, origin: str) -> None:
    assert status(gateway, "POST", host, origin) == 403
    assert status(gateway, "DELETE", host, origin) == 403
    assert await websocket_status(gateway, host, origin) == 403
    # Reading needs no protection here: without CORS headers the page doesn't see the answer.
    assert status(gateway, "GET", host, origin) == 200


@pytest.mark.parametrize(("host", "origin"), REBOUND)
async def test_foreign_names_get_nothing(gateway, host: str, origin: str | None) -> None:
    assert status(gateway, "POST", host, origin) == 403
    assert status(gateway, "GET", host, origin) == 403
    assert await websocket_status(gateway, host, origin) == 403
