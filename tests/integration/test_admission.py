"""WebSockets between their request's head and the application's answer, under a real uvicorn server."""

from __future__ import annotations

import asyncio
import sys
import weakref
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from gateway.codecs.websocket_frames import server_frame
from gateway.transports.http.configuration import http_protocol
from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.websocket.connection import EXTENSION
from gateway.transports.websocket.limits import ConnectionPolicy
from gateway.transports.websocket.protocol import LeanWebSocketProtocol
from gateway.transports.websocket.takeover_offer import TakeoverOffer
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.transports.websocket.connection import Connection

HANDSHAKE = (
    b"GET /a%20b?c=d HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: Any) -> tuple[str, dict[str, bool]]:
    """The transports of the two loops differ at their ends."""
    return "asyncio", {"use_uvloop": request.param}


class Silent:
    """A session that has nothing to say."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.closed: list[int] = []

    def message_received(self, opcode: int, payload: bytes) -> None:
        self.connection.write(server_frame(payload, opcode))

    def more_to_read(self) -> None: ...

    def writable_changed(self, writable: bool) -> None: ...

    def connection_closed(self, code: int, reason: str) -> None:
        self.closed.append(code)

    def drain(self) -> None:
        self.connection.close(1012)


async def until(condition: Callable[[], object], seconds: float = HANG_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is in code that has no event for it
            await asyncio.sleep(0.001)


class Node:
    def __init__(self, app: Any, offer: TakeoverOffer) -> None:
        config = uvicorn.Config(
            app,
            port=0,
            ws="websockets-sansio",
            http=http_protocol(RequestLimits(), offer=offer),
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
        self.writers: list[asyncio.StreamWriter] = []
        self.server = uvicorn.Server(config)
        self.server.capture_signals = nullcontext  # type: ignore[method-assign]  # pytest keeps its own

    @property
    def connections(self) -> set[Any]:
        return self.server.server_state.connections

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def connect(self, **options: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}/", **options)

    async def ask(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(request)
        return reader, writer

    async def answer(self, request: bytes) -> bytes:
        """All that a client gets before the server ends the connection."""
        reader, writer = await self.ask(request)
        async with asyncio.timeout(HANG_SECONDS):
            answer = await reader.read()
        writer.close()
        return answer


EVERYWHERE = TakeoverOffer(paths=None, policy=ConnectionPolicy(close_seconds=1))


@asynccontextmanager
async def running(app: Any, offer: TakeoverOffer = EVERYWHERE) -> AsyncIterator[Node]:
    node = Node(app, offer)
    serving = asyncio.create_task(node.server.serve())
    await until(lambda: node.server.started)
    try:
        yield node
    finally:
        node.server.should_exit = True
        async with asyncio.timeout(HANG_SECONDS):
            await serving
        for each in node.writers:  # also of a test that failed
            each.close()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-one", b"1")]})
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})


async def test_an_application_that_keeps_the_connection_finds_uvicorns_own_server() -> None:
    async with running(echo, TakeoverOffer()) as node, node.connect(subprotocols=["a", "b"]) as client:
        assert client.subprotocol == "b"
        assert client.response is not None
        assert client.response.headers["X-One"] == "1"
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for message in ("one", b"two"):
            await client.send(message)
            assert await client.recv() == message
        await (await client.ping())
        (kept,) = node.connections
        assert type(kept) is WebSocketsSansIOProtocol


async def test_it_is_found_behind_requests_of_the_same_connection() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    async with running(answer, TakeoverOffer()) as node:
        reader, writer = await node.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
        writer.write(HANDSHAKE + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.close()


async def test_a_target_that_uvicorn_would_leave_unanswered_is_refused() -> None:
    async with running(fail, TakeoverOffer()) as node:
        answer = await node.answer(HANDSHAKE.replace(b"b?c=d", b"b" * 9000) + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 414 ")


async def test_an_application_that_takes_over_is_offered_no_compression() -> None:
    async def take_over(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].take_over(Silent, max_message=1000)

    async with running(take_over) as node, node.connect() as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("talks", [False, True])
async def test_an_application_that_keeps_what_it_is_to_take_over_is_told(
    caplog: Any, talks: bool, ahead: bool
) -> None:
    async def keep(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        message = asyncio.create_task(receive()) if ahead else receive()
        await asyncio.sleep(0)
        await send({"type": "websocket.accept"})
        if talks:
            asyncio.ensure_future(message).cancel()
            await send({"type": "websocket.send", "text": "x"})
        await message

    async with running(keep) as node, node.connect() as client:
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.close_code == 1011

    assert "the session that takes the connection over" in caplog.text


async def test_the_scope_is_the_requests() -> None:
    scopes: list[Any] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "websocket.close"})

    async with running(look) as node:
        await node.answer(HANDSHAKE + b"Sec-WebSocket-Protocol: a, b\r\n\r\n")

    (scope,) = scopes
    expected = {
        "type": "websocket",
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=d",
        "subprotocols": ["a", "b"],
        "root_path": "",
    }
    assert {name: scope[name] for name in expected} == expected
    assert (b"host", b"localhost") in scope["headers"]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert set(scope["extensions"]) == {"websocket.http.response", EXTENSION}


async def test_the_101_and_a_sessions_first_words_are_one_piece() -> None:
    async def take_over(scope: Any, receive: Any, send: Any) -> None:
        def greet(connection: Connection) -> Silent:
            # At the end of the turn, as whoever gathers a tick's frames does.
            asyncio.get_running_loop().call_soon(connection.write, server_frame(b"welcome"))
            return Silent(connection)

        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].take_over(greet, max_message=1000)

    async with running(take_over) as node:
        reader, writer = await node.ask(HANDSHAKE + b"\r\n")
        first = await reader.read(65536)
        writer.close()

    assert first.startswith(b"HTTP/1.1 101 ")
    assert first.endswith(b"\r\n\r\n" + server_frame(b"welcome"))


async def test_a_session_without_words_has_its_client_answered_too() -> None:
    async def take_over(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].take_over(Silent, max_message=1000)

    async with running(take_over) as node, node.connect() as client:
        await client.send("x")
        assert await client.recv() == "x"


@pytest.mark.parametrize("end", [lambda c: c.close(4000, "no"), lambda c: c.abort()])
async def test_a_session_may_end_its_connection_at_once(end: Callable[[Connection], None]) -> None:
    sessions: list[Silent] = []

    def make(connection: Connection) -> Silent:
        sessions.append(Silent(connection))
        end(connection)
        return sessions[-1]

    async def take_over(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        scope["extensions"][EXTENSION].take_over(make, max_message=1000)

    async with running(take_over) as node:
        answer = await node.answer(HANDSHAKE + b"\r\n")
        await until(lambda: not node.connections)

    assert answer == b"" or answer.endswith(b"\r\n\r\n" + server_frame(b"\x0f\xa0no", 8))
    assert sessions[0].closed == [4000 if answer else 1006]


async def test_nobody_keeps_the_handshake_once_the_connection_is_taken_over() -> None:
    kept: list[weakref.ref[Any]] = []

    class Weak(dict):  # type: ignore[type-arg]
        """A scope that can be watched."""

    async def take_over(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        watched = scope["extensions"]["watched"] = Weak()
        kept.append(weakref.ref(watched))
        scope["extensions"][EXTENSION].take_over(Silent, max_message=1000)

    async with running(take_over) as node, node.connect():
        # Without a garbage collection: no cycle may keep it.
        await until(lambda: kept and kept[0]() is None)
        (lean,) = node.connections
        assert type(lean) is LeanWebSocketProtocol
        assert not hasattr(lean, "__dict__")
        assert sys.getsizeof(lean) < 200


async def test_an_application_that_takes_its_time_after_the_accept_has_its_client_answered_at_once() -> None:
    go = asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await go.wait()
        scope["extensions"][EXTENSION].take_over(Silent, max_message=1000)

    async with running(late) as node, node.connect() as client:
        await client.send("one")
        await client.send("two")
        go.set()
        assert [await client.recv(), await client.recv()] == ["one", "two"]


async def test_a_client_that_goes_ahead_of_the_answer_is_reported() -> None:
    told: list[Any] = []

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        told.extend([await receive(), await receive()])
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            told.append(error)

    async with running(wait) as node:
        _, writer = await node.ask(HANDSHAKE + b"\r\n")
        await until(lambda: node.server.server_state.tasks)
        writer.close()
        await until(lambda: len(told) == 3)
        await until(lambda: not node.connections)

    assert told[1] == {"type": "websocket.disconnect", "code": 1006}


async def answer_400(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/problem+json")]
    await send({"type": "websocket.http.response.start", "status": 400, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b'{"a"', "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b": 1}"})


async def close(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.close"})


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("a defect")


async def say_nothing(scope: Any, receive: Any, send: Any) -> None: ...


async def talk_first(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.send", "text": "x"})


@pytest.mark.parametrize(
    ("app", "status", "body"),
    [
        (answer_400, 400, b'{"a": 1}'),
        (close, 403, b""),
        (fail, 500, b"Internal Server Error"),
        (say_nothing, 500, b"Internal Server Error"),
        (talk_first, 500, b"Internal Server Error"),
    ],
)
async def test_an_application_that_does_not_accept(app: Any, status: int, body: bytes) -> None:
    async with running(app) as node:
        with pytest.raises(InvalidStatus) as refused:
            await node.connect()
        await until(lambda: not node.connections)

    response = refused.value.response
    assert (response.status_code, response.body) == (status, body)
    assert response.headers["Connection"] == "close"
    assert response.headers["Date"]


async def test_a_refused_client_that_stays_is_cut_off() -> None:
    async with running(close) as node:
        reader, writer = await node.ask(HANDSHAKE + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        await until(lambda: not node.connections, 5)
        writer.close()


@pytest.mark.parametrize("defect", [False, True])
async def test_an_application_that_leaves_after_the_accept_ends_the_connection(defect: bool) -> None:
    async def leave(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        if defect:
            raise RuntimeError("a defect")

    async with running(leave) as node, node.connect() as client:
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.close_code == 1011


async def test_a_server_that_shuts_down_answers_whom_the_application_lets_wait() -> None:
    async def wait(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"

    async with running(wait) as node:
        reader, writer = await node.ask(HANDSHAKE + b"\r\n")
        await until(lambda: node.server.server_state.tasks)

    assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
    writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "begins"),
    [
        (HANDSHAKE.replace(b"13", b"8") + b"\r\n", b"HTTP/1.1 426 Upgrade Required\r\n"),
        (HANDSHAKE.replace(b"dGhl", b"dGh") + b"\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (HANDSHAKE + b"Host: other\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
    ],
)
async def test_a_handshake_that_breaks_a_rule_never_reaches_the_application(
    request_bytes: bytes, begins: bytes
) -> None:
    async with running(fail) as node:
        answer = await node.answer(request_bytes)

    assert answer.startswith(begins)
    assert (b"\r\nsec-websocket-version: 13\r\n" in answer) == (b" 426 " in answer)
