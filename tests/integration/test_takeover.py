"""Connections taken over from a Starlette endpoint under a real uvicorn server: the session's contract."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.codecs.websocket_frames import server_frame
from gateway.transports.http.configuration import http_protocol
from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.websocket.connection import EXTENSION
from gateway.transports.websocket.limits import ConnectionPolicy
from gateway.transports.websocket.takeover_offer import TakeoverOffer
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.transports.websocket.connection import Connection

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: Any) -> tuple[str, dict[str, bool]]:
    """The transports of the two loops differ at their ends."""
    return "asyncio", {"use_uvloop": request.param}


class Recorder:
    """A session that keeps what it was told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.received: list[tuple[int, bytes]] = []
        self.writable: list[bool] = []
        self.closed: list[tuple[int, str]] = []
        self.drained = 0
        self.on_message: Callable[[bytes], None] = lambda payload: None

    def message_received(self, opcode: int, payload: bytes) -> None:
        assert not self.closed
        self.received.append((opcode, payload))
        self.on_message(payload)

    def more_to_read(self) -> None: ...

    def writable_changed(self, writable: bool) -> None:
        self.writable.append(writable)

    def connection_closed(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def drain(self) -> None:
        self.drained += 1
        self.connection.close(1012, "restart")


async def until(condition: Callable[[], object], seconds: float = HANG_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is in code that has no event for it
            await asyncio.sleep(0.001)


class Node:
    """A server in the test's own loop, whose endpoint hands every connection to a ``Recorder``."""

    def __init__(self, policy: ConnectionPolicy | None = None) -> None:
        self.sessions: list[Recorder] = []
        self.before: Callable[[WebSocket], Any] | None = None
        self.make: Callable[[Connection], Recorder] = Recorder
        self.after: Callable[[WebSocket], Any] | None = None
        self.options: dict[str, Any] = {"max_message": 64 * 1024}
        app = Starlette(routes=[WebSocketRoute("/", self.endpoint)])
        self.config = uvicorn.Config(
            app,
            port=0,
            ws="none",
            http=http_protocol(
                RequestLimits(), offer=TakeoverOffer(paths=None, policy=policy or ConnectionPolicy())
            ),
            log_config=None,
            lifespan="off",
        )
        self.server = uvicorn.Server(self.config)
        self.server.capture_signals = nullcontext  # type: ignore[method-assign]  # pytest keeps its own

    async def endpoint(self, websocket: WebSocket) -> None:
        await websocket.accept()
        if self.before:
            await self.before(websocket)

        def make(connection: Connection) -> Recorder:
            session = self.make(connection)
            self.sessions.append(session)
            return session

        websocket.scope["extensions"][EXTENSION].take_over(make, **self.options)
        if self.after:
            await self.after(websocket)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    async def session(self) -> Recorder:
        await until(lambda: self.sessions)
        return self.sessions[-1]


@asynccontextmanager
async def running(policy: ConnectionPolicy | None = None) -> AsyncIterator[Node]:
    node = Node(policy)
    serving = asyncio.create_task(node.server.serve())
    await until(lambda: node.server.started)
    try:
        yield node
    finally:
        node.server.should_exit = True
        async with asyncio.timeout(HANG_SECONDS):
            await serving


async def test_messages_reach_the_session_and_frames_the_client() -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()
        await client.send("one")
        await client.send(b"two")
        await until(lambda: len(session.received) == 2)
        session.connection.write(server_frame(b"three") + server_frame(b"four", 2))

        assert session.received == [(1, b"one"), (2, b"two")]
        assert [await client.recv(), await client.recv()] == ["three", b"four"]


async def test_messages_that_wait_in_the_endpoint_come_first_and_in_order() -> None:
    async with running() as node:
        go = asyncio.Event()
        node.before = lambda websocket: go.wait()
        async with connect(node.url) as client:
            for number in range(600):
                await client.send(str(number))
            await client.ping()
            go.set()
            session = await node.session()
            await until(lambda: len(session.received) == 600)

            assert [int(payload) for _, payload in session.received] == list(range(600))


async def test_the_endpoint_has_nothing_more_to_say_after_a_takeover() -> None:
    refused: list[Exception] = []

    async def meddle(websocket: WebSocket) -> None:
        try:
            await websocket.send_text("x")
        except WebSocketDisconnect as error:
            refused.append(error)
        try:
            websocket.scope["extensions"][EXTENSION].take_over(Recorder, max_message=1000)
        except ConnectionError as error:
            refused.append(error)
        assert (await websocket.receive())["type"] == "websocket.disconnect"

    async with running() as node:
        node.after = meddle
        async with connect(node.url) as client:
            session = await node.session()
            await until(lambda: not node.server.server_state.tasks)
            await client.send("still open")
            await until(lambda: session.received)

    assert len(refused) == 2


async def test_a_takeover_before_accept_is_refused_and_may_be_tried_again() -> None:
    async with running() as node:
        takeover: list[Any] = []

        async def too_early(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                takeover.append(scope["extensions"][EXTENSION])
                with pytest.raises(ConnectionError, match="not open"):
                    takeover[0].take_over(Recorder, max_message=1000)
            await node.config.app(scope, receive, send)

        node.config.loaded_app = too_early
        async with connect(node.url) as client:
            session = await node.session()
            await client.send("x")
            await until(lambda: session.received)


async def test_a_connection_that_has_gone_is_not_taken_over() -> None:
    refused: list[Exception] = []

    async def wait_for_the_end(websocket: WebSocket) -> None:
        await until(lambda: not node.server.server_state.connections)
        try:
            websocket.scope["extensions"][EXTENSION].take_over(Recorder, max_message=1000)
        except ConnectionError as error:
            refused.append(error)
        raise RuntimeError("leave the endpoint") from None

    async with running() as node:
        node.before = wait_for_the_end
        async with connect(node.url) as client:
            client.transport.abort()
            await until(lambda: refused)

    assert node.sessions == []


async def test_a_paused_session_gets_nothing_and_then_everything() -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()

        def pause_at_every_third(payload: bytes) -> None:
            if int(payload) % 3 == 0:
                session.connection.pause_reading()

        session.on_message = pause_at_every_third
        for number in range(10):
            await client.send(str(number))
        await until(lambda: len(session.received) == 1)
        await asyncio.sleep(0)
        assert len(session.received) == 1
        for expected in (4, 7, 10):
            session.connection.resume_reading()
            assert len(session.received) < expected  # never from inside the session's own call
            await until(lambda expected=expected: len(session.received) == expected)  # type: ignore[misc]
        session.connection.resume_reading()
        await client.send("11")
        await until(lambda: len(session.received) == 11)


async def test_a_session_that_fails_closes_its_own_connection_alone(caplog: Any) -> None:
    async with running() as node, connect(node.url) as neighbour, connect(node.url) as client:
        await until(lambda: len(node.sessions) == 2)
        for session in node.sessions:
            session.on_message = lambda payload: [][int(payload)]
        await client.send("1")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011
        failed = next(session for session in node.sessions if session.received)
        await until(lambda: failed.closed)
        assert failed.closed == [(1011, "")]
        other = next(session for session in node.sessions if session is not failed)
        other.connection.write(server_frame(b"fine"))
        assert await neighbour.recv() == "fine"

    assert sum(record.exc_info is not None for record in caplog.records) == 1


async def test_a_session_that_cannot_be_made_closes_the_connection(caplog: Any) -> None:
    def fail(connection: Connection) -> Recorder:
        raise RuntimeError("no room")

    async with running() as node:
        node.make = fail
        async with connect(node.url) as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()

            assert client.close_code == 1011


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda client: client.close(4000, "bye"), (4000, "bye")),
        (lambda client: client.close(1000, ""), (1000, "")),
        (lambda client: client.transport.abort(), (1006, "")),
        (lambda client: client.transport.write_eof(), (1006, "")),
    ],
)
async def test_a_session_is_told_once_how_its_connection_ended(
    end: Callable[[Any], Any], told: tuple[int, str]
) -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()
        if (ending := end(client)) is not None:
            await ending
        await until(lambda: session.closed)
        session.connection.write(server_frame(b"too late"))
        session.connection.close(1000, "too late")
        session.connection.ping()
        session.connection.pause_reading()
        session.connection.resume_reading()
        session.connection.abort()
        await until(lambda: not node.server.server_state.connections)

        assert session.closed == [told]


async def test_its_own_close_is_seen_by_both_sides() -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()
        session.connection.close(4408, "slow consumer")
        session.connection.write(server_frame(b"never"))
        assert session.closed == []  # not from inside the session's own call
        with pytest.raises(ConnectionClosed):
            await client.recv()
        await until(lambda: session.closed)

        assert (client.close_code, client.close_reason) == (4408, "slow consumer")
        assert session.closed == [(4408, "slow consumer")]


async def test_a_client_that_reads_nothing_is_cut_off_after_close() -> None:
    async with running(ConnectionPolicy(close_seconds=0.2)) as node:
        node.options["write_high"] = 16 * 1024
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(node.url.split(":")[-1].strip("/")), limit=1
        )
        writer.write(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        session = await node.session()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while session.connection.writable:
            session.connection.write(server_frame(bytes(MIB)))
            await asyncio.sleep(0)

        assert session.writable == [False]
        assert session.connection.buffered_bytes() > 16 * 1024
        session.connection.close(4408, "slow consumer")
        await until(lambda: session.closed)
        assert session.closed == [(4408, "slow consumer")]
        assert session.writable == [False]
        writer.transport.abort()
        del reader


async def test_pongs_and_messages_move_last_received() -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()
        before = session.connection.last_received
        session.connection.ping()
        await until(lambda: session.connection.last_received > before)
        before = session.connection.last_received
        await client.send("x")
        await until(lambda: session.connection.last_received > before)


async def test_a_message_over_the_takeovers_limit_is_closed_with_1009() -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()
        await client.send("x" * (64 * 1024 + 1))
        await until(lambda: session.closed)

        assert session.closed[0][0] == 1009
        assert session.received == []


async def test_invalid_text_is_delivered_unless_it_is_to_be_refused() -> None:
    async with running() as node, connect(node.url) as client:
        session = await node.session()
        client.protocol.send_text(b"\xff")
        client.transport.write(b"".join(client.protocol.data_to_send()))
        await until(lambda: session.received)

        assert session.received == [(1, b"\xff")]


async def test_shutdown_lets_sessions_say_goodbye() -> None:
    async with running() as node:
        client = await connect(node.url)
        session = await node.session()

    assert session.drained == 1
    await client.wait_closed()
    assert client.close_code == 1012
