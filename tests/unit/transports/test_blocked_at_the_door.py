"""Blocked between the look at the credential and the register: nobody slips through."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest

from gateway.app.node import GatewayNode
from gateway.auth.api_keys import new_key
from gateway.settings import Settings
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY, HASH = new_key()
SETTINGS = Settings.model_validate(
    {
        "auth": {
            "mode": "required",
            "api_keys": [{"name": "ann", "hash": HASH, "subscribe": ["a/#"], "publish": ["a/#"]}],
        }
    }
)


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayNode]:
    gateway = GatewayNode(SETTINGS)
    async with gateway.asgi.router.lifespan_context(gateway.asgi):
        yield gateway


def block(gateway: GatewayNode) -> None:
    gateway._authenticator._blocks.block("ann", 60, node="n", time=1, now=time.monotonic())


def scope(kind: str, path: str, **more: Any) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "path": raw,
        "raw_path": raw.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + KEY.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        **more,
    }


async def test_a_websocket_that_is_accepted_meanwhile_is_closed(gateway: GatewayNode) -> None:
    sent: list[dict[str, Any]] = []
    closed = anyio.Event()
    messages = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is not None:
            return message
        await closed.wait()
        return {"type": "websocket.disconnect", "code": 4403}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "websocket.accept":
            block(gateway)
        if message["type"] == "websocket.close":
            closed.set()

    with anyio.fail_after(HANG_SECONDS):
        await gateway.asgi(scope("websocket", "/v1/ws", scheme="ws", subprotocols=[]), receive, send)
    assert sent[-1]["type"] == "websocket.close"
    assert sent[-1]["code"] == 4403
    error = orjson.loads(sent[-2]["text"])
    assert (error["op"], error["code"], error["fatal"]) == ("error", "forbidden", True)


async def answer(
    gateway: GatewayNode, asked: dict[str, Any], pieces: list[bytes], between: Callable[[], None]
) -> tuple[int, Any]:
    """Send a body in pieces; ``between`` is called after the first."""
    sent: list[dict[str, Any]] = []
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        if len(waiting) < len(pieces):
            between()
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with anyio.fail_after(HANG_SECONDS):
        await gateway.asgi(asked, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], orjson.loads(body)


def post(path: str, content_type: bytes) -> dict[str, Any]:
    asked = scope("http", path, method="POST", scheme="http")
    asked["headers"].append((b"content-type", content_type))
    return asked


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/v1/topics/a/b", b"text/plain"), ("/v1/publish", b"application/json")],
)
async def test_a_body_that_came_slowly_is_not_published(
    gateway: GatewayNode, path: str, content_type: bytes
) -> None:
    status, problem = await answer(
        gateway,
        post(path, content_type),
        [b'{"topic": "a/b",', b'"data": 1}'],
        lambda: block(gateway),
    )
    assert (status, problem["code"]) == (403, "forbidden")
    assert gateway.publisher.statistics().accepted == 0
    assert not gateway._sessions.open


async def test_a_stream_of_lines_ends_with_the_line_that_was_refused(gateway: GatewayNode) -> None:
    line = b'{"topic": "a/b", "data": 1}\n'
    status, summary = await answer(
        gateway,
        post("/v1/publish", b"application/x-ndjson"),
        [line * 2, line * 2],
        lambda: block(gateway),
    )
    assert status == 200
    assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (2, 1, 3)
    assert (summary["errors"][0]["line"], summary["errors"][0]["code"]) == (3, "forbidden")
    assert not gateway._sessions.open
