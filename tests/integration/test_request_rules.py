"""Heads that two servers could read in two ways: refused, for requests and WebSocket handshakes alike.

Spec: RFC 9110, 5.3, 5.5, 6.5 and 7.2; RFC 9112, 3.2 and 6.1.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from .conftest import RunningGateway, StartGateway

SECRET = "a-hook-secret"
SETTINGS = """
[[hooks]]
name = "signed"
scheme = "hmac"
secret = "env:TEST_HOOK_SECRET"
header = "x-signature"
delivery_id = "x-delivery"
topic = "rules/hook/{header.x-kind}"
"""
PUBLISH = "POST /v1/topics/rules/a HTTP/1.1\r\n"
HANDSHAKE = (
    "GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BODY = "Content-Length: 1\r\nConnection: close\r\n\r\n1"
EMPTY = "\r\n\r\n0\r\n\r\n"
JSON = "Content-Type: application/json\r\n"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, {"TEST_HOOK_SECRET": SECRET}, way=request.param)


@pytest.fixture(scope="module")
def direct(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, {"TEST_HOOK_SECRET": SECRET})


@pytest.fixture
async def listener(direct: RunningGateway) -> AsyncIterator[ClientConnection]:
    async with connect(direct.ws_url) as client:
        await client.recv()
        await client.send('{"op":"subscribe","filter":"rules/#"}')
        await client.recv()
        yield client


def exchange(gateway: RunningGateway, request: str | bytes) -> bytes:
    """The first answer, and all that comes until the gateway ends the connection or has answered a 101."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as connection:
        connection.sendall(request.encode("latin-1") if isinstance(request, str) else request)
        answer = b""
        while not answer.startswith(b"HTTP/1.1 101"):
            data = connection.recv(65536)
            if not data:
                break
            answer += data
    return answer


def status(gateway: RunningGateway, request: str | bytes) -> int:
    return int(exchange(gateway, request).split(b" ")[1])


def chunked(head: str, body: str, trailer: str) -> str:
    head += "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return f"{head}{len(body):x}\r\n{body}\r\n0\r\n{trailer}\r\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Host: localhost\r\n" + JSON, 202),
        ("Host: localhost\r\nHost: localhost\r\n" + JSON, 400),
        ("Host: localhost\r\nHost: 127.0.0.1\r\n" + JSON, 400),
        ("Host: localhost, localhost\r\n" + JSON, 400),
        ("Host: user@localhost\r\n" + JSON, 400),
        ("Host: localhost/x\r\n" + JSON, 400),
        (JSON, 400),
        ("Host: localhost\r\n" + JSON + JSON, 400),
        ("Host: localhost\r\n" + JSON + "content-type: text/plain\r\n", 400),
        ("Host: localhost\r\n" + JSON + "Idempotency-Key: a\r\nidempotency-key: b\r\n", 400),
        ("Host: localhost\r\n" + JSON + "Gateway-Key: a\r\nGateway-Key: a\r\n", 400),
        ("Host: localhost\r\n" + JSON + "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", 400),
        ("Host: localhost\r\n" + JSON + "Origin: http://localhost\r\nOrigin: http://evil\r\n", 400),
        ("Host: localhost\r\n" + JSON + "Content-Length: 1\r\n", 400),
        ("Host: localhost\r\n" + JSON + "Accept: a/b\r\nAccept: */*\r\nCookie: a=b\r\nCookie: c=d\r\n", 202),
        ("Host: localhost\r\n" + JSON + f"traceparent: {TRACE}\r\ntraceparent: {TRACE}\r\n", 202),
    ],
)
def test_single_fields_come_once_and_a_host_there_must_be(gateway, fields, expected) -> None:
    assert status(gateway, PUBLISH + fields + BODY) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Host: localhost\r\n", 101),
        ("Host: localhost  \t\r\nOrigin: http://localhost \r\n", 101),
        ("", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n", 400),
        ("Host: localhost\r\nAuthorization: Bearer a\r\nAuthorization: Bearer a\r\n", 400),
    ],
)
def test_handshakes_are_held_to_the_same_rules(gateway, fields, expected) -> None:
    assert status(gateway, HANDSHAKE + fields + "\r\n") == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Content-Length: 0\r\n", 101),
        ("Content-Length: 1\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
        ("Sec-WebSocket-Version: 13\r\n", 400),
    ],
)
def test_a_handshake_has_no_body_which_it_may_say(direct, fields, expected) -> None:
    assert status(direct, f"{HANDSHAKE}Host: localhost\r\n{fields}\r\n") == expected


def test_a_handshake_without_spaces_and_with_many(direct) -> None:
    spaced = HANDSHAKE.replace("\r\nSec", " \t\r\nSec").replace("==\r\n", "== \r\n")
    assert status(direct, f"{spaced}Host:localhost\r\n\r\n") == 101


@pytest.mark.parametrize(
    ("line", "fields", "expected"),
    [
        ("POST /v1/topics/a HTTP/1.0", "Host: localhost\r\nContent-Length: 1\r\n\r\n1", 202),
        ("POST /v1/topics/a HTTP/1.0", f"Host: localhost\r\nTransfer-Encoding: chunked{EMPTY}", 400),
        ("POST /v1/topics/a HTTP/1.1", f"Host: localhost\r\nTransfer-Encoding: gzip, chunked{EMPTY}", 501),
        ("POST /v1/topics/a HTTP/2.0", "Host: localhost\r\nContent-Length: 1\r\n\r\n1", 505),
        ("POST /v1/topics/a HTTP/0.9", "Host: localhost\r\nContent-Length: 1\r\n\r\n1", 505),
        ("GET /readyz#x HTTP/1.1", "Host: localhost\r\n\r\n", 400),
        ("GET localhost:80 HTTP/1.1", "Host: localhost\r\n\r\n", 400),
        ("CONNECT localhost:80 HTTP/1.1", "Host: localhost\r\n\r\n", 400),
        ("GET * HTTP/1.1", "Host: localhost\r\n\r\n", 400),
        ("GET http:///readyz HTTP/1.1", "Host: localhost\r\n\r\n", 400),
        ("GET http://u@localhost/readyz HTTP/1.1", "Host: localhost\r\n\r\n", 400),
    ],
)
def test_how_a_request_begins_and_how_long_it_is(direct, line, fields, expected) -> None:
    assert status(direct, f"{line}\r\nConnection: close\r\n{fields}") == expected


def test_a_target_that_names_its_host_is_for_that_host(direct) -> None:
    """Whoever routes by the target must not be told another host than we check."""
    request = "GET http://{}/readyz?a=b HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"
    assert status(direct, request.format("localhost", "evil.example")) == 200
    assert status(direct, request.format("evil.example", "localhost")) == 403
    handshake = HANDSHAKE.replace("/v1/ws", "http://{}/v1/ws") + "Host: {}\r\n\r\n"
    assert status(direct, handshake.format("localhost", "evil.example")) == 101
    assert status(direct, handshake.format("evil.example", "localhost")) == 403


async def test_no_trailer_is_a_header(direct, listener) -> None:
    head = f"{PUBLISH}Host: localhost\r\n{JSON}"
    trailer = (
        "Gateway-Header-Evil: 1\r\nGateway-Key: evil\r\nIdempotency-Key: evil\r\nContent-Type: text/plain\r\n"
        "Host: evil.example\r\nAuthorization: Basic eA==\r\n"
    )
    for body in ("1", "2"):
        assert status(direct, chunked(head, body, trailer)) == 202
        message = json.loads(await listener.recv())
        assert message["data"] == int(body)
        assert message["content_type"] == "application/json"
        assert {"headers", "key"}.isdisjoint(message)


async def test_a_trailer_that_comes_late_is_no_header_either(direct, listener) -> None:
    with socket.create_connection(("127.0.0.1", direct.port), timeout=HANG_SECONDS) as connection:
        head = f"{PUBLISH}Host: localhost\r\n{JSON}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        for part in (head, "1\r\n1\r\n", "0\r\nGateway-Key: evil\r\n", "\r\n"):
            connection.sendall(part.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 202")
    assert "key" not in json.loads(await listener.recv())


async def test_no_signature_counts_behind_the_body(direct, listener) -> None:
    signature = hmac.new(SECRET.encode(), b"1", hashlib.sha256).hexdigest()
    head = f"POST /v1/hooks/signed HTTP/1.1\r\nHost: localhost\r\n{JSON}"
    assert status(direct, chunked(head, "1", f"X-Signature: {signature}\r\n")) == 401
    assert status(direct, chunked(f"{head}X-Signature: {signature}\r\n", "1", "X-Kind: evil\r\n")) == 202
    assert json.loads(await listener.recv())["topic"] == "rules/hook/-"


def test_of_two_signatures_none_is_picked(direct) -> None:
    signature = hmac.new(SECRET.encode(), b"1", hashlib.sha256).hexdigest()
    head = f"POST /v1/hooks/signed HTTP/1.1\r\nHost: localhost\r\n{JSON}"
    for first, second in ((signature, "x"), ("x", signature)):
        request = f"{head}X-Signature: {first}\r\nX-Signature: {second}\r\n{BODY}"
        assert status(direct, request) == 401


def test_white_space_is_no_part_of_a_value(gateway) -> None:
    signature = hmac.new(SECRET.encode(), b"1", hashlib.sha256).hexdigest()
    head = f"POST /v1/hooks/signed HTTP/1.1\r\nHost: localhost\r\n{JSON}"
    assert status(gateway, f"{head}X-Signature: \t{signature} \t\r\n{BODY}") == 202
    publish = f"{PUBLISH}Host: localhost\r\n{JSON}Idempotency-Key:"
    keys = ("same", " same", "\tsame ", "same\t ")
    answers = [exchange(gateway, f"{publish}{key}\r\n{BODY}").partition(b"\r\n\r\n") for key in keys]
    assert len({body for _, _, body in answers}) == 1


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "TLS/1.0", "h2c\r\nUpgrade: websocket"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_request_that_asks_for_another_protocol_is_served_with_its_body(
    direct, listener, upgrade, version
) -> None:
    """Java's client asks for HTTP/2 with the first request of each connection."""
    head = f"POST /v1/topics/rules/a HTTP/{version}\r\nHost: localhost\r\n{JSON}"
    fields = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n"
    last = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    bodies = ["Content-Length: 2\r\n\r\n42"]
    if version == "1.1":
        bodies.append("Transfer-Encoding: chunked\r\n\r\n2\r\n42\r\n0\r\nGateway-Key: evil\r\n\r\n")
    for body in bodies:
        answers = exchange(direct, head + fields + body + last)
        assert answers.startswith(b"HTTP/1.1 202")
        assert (b'{"status":"alive"}' in answers) is (version == "1.1")
        message = json.loads(await listener.recv())
        assert message["data"] == 42
        assert "key" not in message
    split = (head + fields + bodies[0]).encode()
    with socket.create_connection(("127.0.0.1", direct.port), timeout=HANG_SECONDS) as connection:
        connection.sendall(split[:-1])
        connection.sendall(split[-1:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 202")
    assert json.loads(await listener.recv())["data"] == 42


def test_an_expectation_is_one_of_http_1_1_only(direct) -> None:
    fields = f"Host: localhost\r\n{JSON}Expect: 100-continue \r\n{BODY}"
    assert exchange(direct, PUBLISH + fields).startswith((b"HTTP/1.1 100", b"HTTP/1.1 202"))
    assert exchange(direct, PUBLISH.replace("1.1", "1.0") + fields).startswith(b"HTTP/1.1 202")
    waiting = (PUBLISH + fields)[:-1].encode()
    with socket.create_connection(("127.0.0.1", direct.port), timeout=HANG_SECONDS) as connection:
        connection.sendall(waiting)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(b"1")
        assert connection.recv(65536).startswith(b"HTTP/1.1 202")
