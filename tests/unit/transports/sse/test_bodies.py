"""Both ways to write a response as events come."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from uvicorn.server import ServerState

from gateway.transports.server.server_context import context_of
from gateway.transports.sse import asgi_body as asgi_event_body
from gateway.transports.sse.asgi_body import AsgiEventBody
from gateway.transports.sse.protocol import LeanEventBody
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Handler:
    def __init__(self) -> None:
        self.writable: list[bool] = []
        self.closed = self.drained = 0

    def writable_changed(self, writable: bool) -> None:
        self.writable.append(writable)

    def connection_closed(self) -> None:
        self.closed += 1

    def drain(self) -> None:
        self.drained += 1


class Server:
    """An ASGI server's end; ``stuck`` is a client that reads nothing."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.sent: list[Any] = []
        self.gone = anyio.Event()
        self.sending = anyio.Event()
        self.left = False
        self._stuck = stuck

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sending.set()
        if self._stuck:
            try:
                await anyio.sleep_forever()
            finally:
                self.left = True
        self.sent.append((message["body"], message["more_body"]))
        await anyio.lowlevel.checkpoint()


async def run(server: Server, act: Callable[[AsgiEventBody, Handler], Awaitable[None]]) -> Handler:
    handler = Handler()
    body = AsgiEventBody(server.receive, server.send, handler)
    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(body.run)
            await anyio.lowlevel.checkpoint()
            await act(body, handler)
    assert handler.closed == 1
    return handler


async def test_what_was_written_goes_before_the_end() -> None:
    server = Server()

    async def act(body: AsgiEventBody, handler: Handler) -> None:
        body.write(b"one")
        body.write(b"two")
        assert body.buffered_bytes() == 6
        body.finish()
        body.write(b"never")

    await run(server, act)
    assert server.sent == [(b"onetwo", True), (b"", False)]


async def test_it_takes_no_more_while_a_send_is_under_way() -> None:
    server = Server()

    async def act(body: AsgiEventBody, handler: Handler) -> None:
        body.write(b"one")
        assert (body.writable, handler.writable) == (False, [False])
        while not body.writable:
            await anyio.lowlevel.checkpoint()
        assert handler.writable == [False, True]
        server.gone.set()

    await run(server, act)


async def test_a_client_that_reads_nothing_is_left_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_event_body, "_FINISH_SECONDS", 0.01)
    server = Server(stuck=True)

    def finish_outside_of_tasks(body: AsgiEventBody) -> None:
        assert asyncio.current_task() is None
        body.finish()

    async def act(body: AsgiEventBody, handler: Handler) -> None:
        body.write(b"one")
        # As a deadline or a publication does it.
        asyncio.get_running_loop().call_soon(finish_outside_of_tasks, body, context=Context())

    await run(server, act)
    assert server.left
    assert server.sent == []


async def test_an_abort_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_event_body, "_FINISH_SECONDS", math.inf)
    server = Server(stuck=True)

    async def act(body: AsgiEventBody, handler: Handler) -> None:
        body.write(b"one")
        await server.sending.wait()
        body.abort()

    await run(server, act)
    assert server.left
    assert server.sent == []


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return self.ended or self.aborted

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True


def lean() -> tuple[LeanEventBody, Transport, Handler]:
    transport, handler = Transport(), Handler()
    context = context_of(ServerState(), asyncio.get_running_loop())
    body = LeanEventBody(transport, handler, context=context, writable=True)
    context.connections.add(body)
    return body, transport, handler


async def test_each_write_is_a_chunk_and_the_last_one_is_empty() -> None:
    body, transport, handler = lean()
    body.write(b"0123456789abcdef")
    body.finish()
    body.write(b"never")
    assert transport.written == b"10\r\n0123456789abcdef\r\n0\r\n\r\n"
    assert transport.ended
    body.connection_lost(None)
    assert handler.closed == 1


async def test_the_handler_hears_of_the_transports_marks_until_the_end() -> None:
    body, _, handler = lean()
    body.pause_writing()
    assert not body.writable
    body.resume_writing()
    body.finish()
    body.pause_writing()
    assert handler.writable == [False, True]


async def test_a_client_that_ends_its_direction_has_gone() -> None:
    body, transport, handler = lean()
    assert not body.eof_received()
    body.write(b"never")
    body.connection_lost(None)
    assert (handler.closed, transport.written) == (1, b"")


async def test_what_nobody_asked_for_is_passed_over_up_to_a_bound() -> None:
    body, transport, _ = lean()
    body.data_received(b"x" * 60_000)
    assert not transport.aborted
    body.data_received(b"x" * 60_000)
    assert transport.aborted


async def test_a_defect_of_the_handler_ends_this_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    body, transport, handler = lean()
    handler.writable_changed = lambda writable: 1 / 0  # type: ignore[assignment]
    body.pause_writing()
    assert transport.aborted
    assert "its session failed" in caplog.text


async def test_a_shutdown_lets_the_handler_say_goodbye() -> None:
    body, _, handler = lean()
    body.shutdown()
    assert handler.drained == 1
