from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.websockets import WebSocketState

from gateway.codecs.websocket_frames import server_frame
from gateway.transports.websocket import asgi_connection as asgi_sink
from gateway.transports.websocket.asgi_connection import AsgiSink
from tests.patience import HANG_SECONDS


class Server:
    """An ASGI server's end; ``on_send`` is called with each message that is sent."""

    application_state = WebSocketState.CONNECTED

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.on_send = lambda: None

    async def receive(self) -> Any:
        await anyio.sleep_forever()

    async def send(self, message: Any) -> None:
        self.sent.append(message["text"])
        self.on_send()
        await anyio.lowlevel.checkpoint()

    async def close(self, code: int, reason: str) -> None:
        self.sent.append((code, reason))


class Session:
    def __init__(self) -> None:
        self.writable: list[bool] = []
        self.closed: tuple[int, str] | None = None

    def writable_changed(self, writable: bool) -> None:
        self.writable.append(writable)

    def message_received(self, opcode: int, payload: bytes) -> None:
        raise AssertionError(payload)

    def connection_closed(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


async def run(server: Server, connection: AsgiSink) -> Session:
    session = Session()
    with anyio.fail_after(HANG_SECONDS):
        await connection.run(lambda _: session)
    return session


async def test_what_was_written_goes_before_the_close() -> None:
    server = Server()
    connection = AsgiSink(server, max_message=1000, clock=time.monotonic)

    def last_words() -> None:
        if len(server.sent) == 1:
            connection.write(server_frame(b"two") + server_frame(b"three"))
            connection.close(4400, "enough")

    server.on_send = last_words
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_first, connection)
        session = await run(server, connection)
    assert server.sent == ["one", "two", "three", (4400, "enough")]
    assert session.closed == (4400, "enough")
    assert session.writable == [False, False]


async def test_a_busy_publisher_does_not_hold_up_the_close() -> None:
    """Whatever is written after ``close`` is dropped: else a connection lived on as long as its topic did."""
    server = Server()
    connection = AsgiSink(server, max_message=1000, clock=time.monotonic)

    def publish_more() -> None:
        if len(server.sent) == 3:
            connection.close(4408, "slow consumer")
        connection.write(server_frame(b"more"))

    server.on_send = publish_more
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_first, connection)
        await run(server, connection)
    assert server.sent == ["one", "more", "more", (4408, "slow consumer")]


async def test_a_client_that_reads_nothing_is_left_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_sink, "_CLOSE_TIMEOUT", 0.01)
    server = Server()
    connection = AsgiSink(server, max_message=1000, clock=time.monotonic)

    def close_outside_of_tasks() -> None:
        assert asyncio.current_task() is None
        connection.close(4408, "slow consumer")

    async def stick(message: Any) -> None:
        # As a deadline or a publication does it.
        asyncio.get_running_loop().call_soon(close_outside_of_tasks, context=Context())
        await anyio.sleep_forever()

    server.send = stick  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_first, connection)
        session = await run(server, connection)
    assert session.closed == (4408, "slow consumer")


async def write_first(connection: AsgiSink) -> None:
    connection.write(server_frame(b"one"))
