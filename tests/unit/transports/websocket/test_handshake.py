from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from gateway.transports.http.request_rules import RequestRefused
from gateway.transports.websocket.handshake import (
    Handshake,
    accepted,
    answered,
    asks_for_websocket,
    read_handshake,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = [
    (b"host", b"localhost"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-version", b"13"),
]


def read(fields: Sequence[tuple[bytes, bytes]], **changed: Any) -> Handshake:
    request: dict[str, Any] = {"method": b"GET", "version": "1.1", "target": b"/a?b=c"} | changed
    return read_handshake(request["method"], request["version"], request["target"], fields)


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [field for field in FIELDS if field[0] != name]


def test_the_example_of_the_rfc() -> None:
    # RFC 6455, 1.3
    answer = accepted(read(FIELDS).key, "chat")

    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Sec-WebSocket-Protocol: chat\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_what_a_client_offers() -> None:
    offers = [
        (b"sec-websocket-protocol", b"one,  two ,"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
        (b"sec-websocket-protocol", b"three"),
    ]

    assert read(FIELDS + offers) == Handshake(KEY, ["one", "two", "three"], b"permessage-deflate")
    assert read(FIELDS) == Handshake(KEY, [], b"")
    assert read([*FIELDS, (b"content-length", b"0")]) == Handshake(KEY, [], b"")


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        (FIELDS, True),
        ([(b"upgrade", b"WebSocket"), (b"connection", b"keep-alive, UPGRADE")], True),
        ([(b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"connection", b"keep-alive")], True),
        ([(b"upgrade", b"h2c"), (b"connection", b"upgrade")], False),
        ([(b"upgrade", b"websocket"), (b"upgrade", b"h2c"), (b"connection", b"upgrade")], False),
        ([(b"upgrade", b"websocket"), (b"connection", b"upgraded")], False),
        ([(b"upgrade", b"websocket")], False),
        ([], False),
    ],
)
def test_which_requests_are_for_a_websocket(fields: list[tuple[bytes, bytes]], asks: bool) -> None:
    assert asks_for_websocket(fields) is asks


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        (FIELDS, {"method": b"POST"}),
        (FIELDS, {"version": "1.0"}),
        (FIELDS, {"target": "/ä".encode()}),
        (without(b"host"), {}),
        ([*FIELDS, (b"host", b"other")], {}),
        ([*FIELDS, (b"origin", b"https://a.example"), (b"origin", b"https://b.example")], {}),
        ([*FIELDS, (b"content-length", b"1")], {}),
        ([*FIELDS, (b"transfer-encoding", b"chunked")], {}),
        (without(b"sec-websocket-key"), {}),
        ([*FIELDS, (b"sec-websocket-key", KEY)], {}),
        ([*FIELDS, (b"sec-websocket-version", b"13")], {}),
        ([*without(b"sec-websocket-key"), (b"sec-websocket-key", b"c2hvcnQ=")], {}),
        ([*without(b"sec-websocket-key"), (b"sec-websocket-key", b"!" * 24)], {}),
        ([*without(b"sec-websocket-key"), (b"sec-websocket-key", KEY.replace(b"=", b""))], {}),
    ],
)
def test_what_is_no_handshake_is_a_bad_request(
    fields: list[tuple[bytes, bytes]], changed: dict[str, Any]
) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(fields, **changed)

    assert refused.value.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("version", [[], [(b"sec-websocket-version", b"8")]])
def test_another_version_is_told_ours(version: list[tuple[bytes, bytes]]) -> None:
    # RFC 6455, 4.4
    with pytest.raises(RequestRefused) as refused:
        read(without(b"sec-websocket-version") + version)

    assert refused.value.status == HTTPStatus.UPGRADE_REQUIRED
    assert refused.value.fields == ((b"sec-websocket-version", b"13"),)


@given(st.binary(min_size=16, max_size=16))
def test_the_digest_is_another_implementations(nonce: bytes) -> None:
    key = b64encode(nonce)
    headers = Headers((name.decode(), value.decode()) for name, value in without(b"sec-websocket-key"))
    headers["Sec-WebSocket-Key"] = key.decode()
    response = ServerProtocol().accept(Request("/", headers))

    assert response.headers["Sec-WebSocket-Accept"].encode() in accepted(key, None)


names = st.sampled_from([name for name, _ in FIELDS]) | st.binary(max_size=5)


@given(st.lists(st.tuples(names, st.binary(max_size=30)), max_size=10))
def test_no_fields_raise_anything_else(fields: list[tuple[bytes, bytes]]) -> None:
    assert asks_for_websocket(fields) in (True, False)
    with suppress(RequestRefused):
        read([*FIELDS, *fields])


@pytest.mark.parametrize(
    "field",
    [(b"x", b"a\r\nSet-Cookie: b"), (b"x: a\r\ny", b"b"), (b"", b"b"), (b"x", b"\0"), (b"x y", b"b")],
)
def test_no_application_can_write_beyond_a_field(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="no header field"):
        accepted(KEY, None, [field])
    with pytest.raises(ValueError, match="no header field"):
        answered(403, [field])
    with pytest.raises(ValueError, match="no header field"):
        accepted(KEY, "a\r\nb: c")


def test_a_refusal_is_a_complete_response() -> None:
    assert answered(429, [(b"Retry-After", b"1"), (b"Content-Type", b"text/html")], b"later") == (
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: text/html\r\n"
        b"content-length: 5\r\nconnection: close\r\n\r\nlater"
    )
    assert answered(599, []).startswith(b"HTTP/1.1 599 \r\n")
    with pytest.raises(ValueError, match="no HTTP status"):
        answered(600, [])
