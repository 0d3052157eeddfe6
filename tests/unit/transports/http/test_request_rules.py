from __future__ import annotations

from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from gateway.transports.http.denial import deny
from gateway.transports.http.request_rules import (
    SINGLE,
    RequestRefused,
    RequestRules,
    check_fields,
    read_target,
)

HOST = (b"host", b"localhost")


def test_white_space_around_values_is_taken_away() -> None:
    fields = [(b"host", b"\tlocalhost "), (b"x", b""), (b"y", b" \t "), (b"z", b"a  b")]
    check_fields("1.1", fields)
    assert fields == [HOST, (b"x", b""), (b"y", b""), (b"z", b"a  b")]


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_of_two_fields_that_are_no_lists_none_is_picked(name: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_fields("1.1", [HOST, (name, b"chunked"), (name, b"chunked")])
    assert refused.value.status == HTTPStatus.BAD_REQUEST


def test_lists_may_come_in_parts() -> None:
    fields = [HOST, *((name, b"x") for name in (b"accept", b"cookie", b"via", b"x-forwarded-for") * 2)]
    check_fields("1.1", fields)
    assert len(fields) == 9


@pytest.mark.parametrize("version", ["1.0", "2", "3"])
def test_only_http_1_1_must_name_its_host(version: str) -> None:
    check_fields(version, [])
    with pytest.raises(RequestRefused):
        check_fields("1.1", [])


@pytest.mark.parametrize(
    "value", ["a", "a:", "a:1", "[::1]", "[::1]:80", "a_b.c-d~", "", "%41", "127.0.0.1:65536"]
)
def test_what_a_host_may_look_like(value: str) -> None:
    check_fields("1.1", [(b"host", value.encode())])
    with pytest.raises(RequestRefused):
        check_fields("1.1", [(b"host", value.encode() + b"/")])


@pytest.mark.parametrize("value", ["a b", "a, b", "a/b", "u@a", "a:b", "::1", "[a", "a\\b", "http://a"])
def test_what_it_may_not(value: str) -> None:
    with pytest.raises(RequestRefused):
        check_fields("1.1", [(b"host", value.encode())])


@pytest.mark.parametrize(
    ("target", "read", "host"),
    [
        (b"/a?b=c", b"/a?b=c", b"localhost"),
        (b"//evil/a", b"//evil/a", b"localhost"),
        (b"http://a.b:80/c?d", b"/c?d", b"a.b:80"),
        (b"HTTPS://a", b"/", b"a"),
        (b"http://a?b", b"/?b", b"a"),
    ],
)
def test_a_target_is_path_and_query_and_may_name_the_host(target: bytes, read: bytes, host: bytes) -> None:
    fields = [(b"x", b"y"), HOST]
    assert read_target(b"GET", target, fields) == read
    assert fields == [(b"x", b"y"), (b"host", host)]


def test_an_asterisk_is_for_options_alone() -> None:
    assert read_target(b"OPTIONS", b"*", []) == b"*"
    for method, target in (
        (b"GET", b"*"),
        (b"CONNECT", b"a:80"),
        (b"GET", b"a"),
        (b"GET", b"/a#b"),
        (b"GET", b"/\xe4"),
    ):
        with pytest.raises(RequestRefused):
            read_target(method, target, [HOST])


NAMES = st.sampled_from([*sorted(SINGLE), b"x"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=8))), st.binary(max_size=20))
def test_nothing_else_is_raised(fields: list[tuple[bytes, bytes]], target: bytes) -> None:
    with suppress(RequestRefused):
        check_fields("1.1", fields)
        assert max(Counter(name for name, _ in fields if name in SINGLE).values(), default=0) <= 1
    with suppress(RequestRefused):
        assert read_target(b"GET", target, fields).startswith(b"/")


async def asked(scope: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What reached the application behind the middleware, and what was sent."""
    reached, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    async def send(message: Any) -> None:
        sent.append(message)

    rules = RequestRules(app, lambda status, reason: Response(reason, status))
    await rules(scope, None, send)  # type: ignore[arg-type]
    return reached, sent


async def test_under_another_server_the_same_rules_hold() -> None:
    """Its headers may be lists, and it may go on adding to them what came behind the body."""
    headers: Any = [[b"host", b"a "], [b"content-type", b"x"]]
    scope = {"type": "http", "http_version": "1.1", "headers": headers}
    ((reached,), _) = await asked(dict(scope))
    headers.append([b"gateway-key", b"evil"])
    assert reached["headers"] == [(b"host", b"a"), (b"content-type", b"x")]
    headers[-1] = [b"content-type", b"y"]
    reached_too, sent = await asked(dict(scope))
    assert (reached_too, sent[0]["status"]) == ([], 400)
    assert len((await asked({"type": "lifespan"}))[0]) == 1


@pytest.mark.parametrize(
    ("scope", "kind"),
    [
        ({"type": "http"}, "http.response.start"),
        (
            {"type": "websocket", "extensions": {"websocket.http.response": {}}},
            "websocket.http.response.start",
        ),
        ({"type": "websocket", "extensions": {}}, "websocket.close"),
        ({"type": "websocket"}, "websocket.close"),
    ],
)
async def test_a_handshake_is_refused_as_the_server_can(scope: dict[str, Any], kind: str) -> None:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await deny(Response("no", 404), scope, None, send)  # type: ignore[arg-type]
    assert sent[0] == kind
