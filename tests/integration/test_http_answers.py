"""What a client gets of an ASGI application's answers, and in how many writes, under uvicorn."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from gateway.transports.http.protocol import GatewayHttpProtocol
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PLAIN = [(b"content-type", b"text/plain")]


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: Any) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Listening:
    """A transport that notes what is written to it."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Node:
    def __init__(self, app: Any, options: dict[str, Any]) -> None:
        writes: list[bytes] = []
        protocols: list[GatewayHttpProtocol] = []

        class Listened(GatewayHttpProtocol):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(Listening(transport, writes))  # type: ignore[arg-type]

            def _expect_requests(self) -> None:
                super()._expect_requests()
                protocols.append(self)

        self.writes, self.protocols = writes, protocols
        config = uvicorn.Config(app, port=0, http=Listened, log_config=None, lifespan="off", **options)
        self.server = uvicorn.Server(config)
        self.server.capture_signals = nullcontext  # type: ignore[method-assign]  # pytest keeps its own

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return await asyncio.open_connection("127.0.0.1", port)

    async def answer(self, request: bytes) -> bytes:
        """All that a client gets before the server ends the connection."""
        reader, writer = await self.connect()
        writer.write(request)
        async with asyncio.timeout(HANG_SECONDS):
            answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def running(app: Any, **options: Any) -> AsyncIterator[Node]:
    node = Node(app, options)
    serving = asyncio.create_task(node.server.serve())
    async with asyncio.timeout(HANG_SECONDS):
        while not node.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)
    try:
        yield node
    finally:
        node.server.should_exit = True
        async with asyncio.timeout(HANG_SECONDS):
            await serving


def answering(*bodies: bytes, headers: Any = PLAIN, status: int = 200) -> Any:
    """An application that reads its request, then sends ``bodies`` one after another."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": bodies[-1]})

    return app


def without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith((b"date: ", b"server: "))]


async def test_head_and_body_are_one_write() -> None:
    app = answering(b"hello", headers=[*PLAIN, (b"Content-Length", b"5"), (b"x-long", b"v" * 5000)])
    async with running(app) as node:
        answer = await node.answer(GET + LAST)

    first, second = node.writes
    assert without_date(first) == [
        *(b"HTTP/1.1 200 OK", b"content-type: text/plain", b"content-length: 5"),
        *(b"x-long: " + b"v" * 5000, b"", b"hello"),
    ]
    assert b"\r\nconnection: close\r\n" in second
    assert answer == first + second


async def test_each_part_of_a_stream_leaves_as_it_is_sent() -> None:
    async with running(answering(b"one", b"", b"three", b"")) as node:
        await node.answer(LAST)

    assert [part.partition(b"\r\n\r\n")[2] or part for part in node.writes] == [
        b"3\r\none\r\n",
        b"5\r\nthree\r\n",
        b"0\r\n\r\n",
    ]
    assert b"\r\ntransfer-encoding: chunked\r\n" in node.writes[0]


async def test_an_empty_first_part_sends_the_head_alone() -> None:
    """Server-sent events begin so: the client must know that it is connected."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": PLAIN})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"later"})

    async with running(app) as node:
        reader, writer = await node.connect()
        writer.write(LAST)
        async with asyncio.timeout(HANG_SECONDS):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            go_on.set()
            assert await reader.read() == b"5\r\nlater\r\n0\r\n\r\n"
        writer.close()


async def test_head_has_no_body() -> None:
    async with running(answering(b"hello", headers=[(b"content-length", b"5")])) as node:
        answer = await node.answer(b"HEAD" + LAST.removeprefix(b"GET"))

    assert without_date(answer) == [
        *(b"HTTP/1.1 200 OK", b"content-length: 5", b"connection: close", b"", b"")
    ]
    assert len(node.writes) == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_never_have_a_body_are_not_chunked(status: int) -> None:
    async with running(answering(b"", headers=[], status=status)) as node:
        answer = await node.answer(LAST)

    assert without_date(answer)[1:] == [b"connection: close", b"", b""]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].encode()
        length = (b"content-length", str(len(path)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": path})

    requests = [GET, GET.replace(b"/a%20b", b"/two"), LAST]
    async with running(app) as node:
        await node.answer(b"".join(requests))

    assert [write.partition(b"\r\n\r\n")[2] for write in node.writes] == [b"/a b", b"/two", b"/"]


async def test_http_1_0_ends_with_the_connection() -> None:
    app = answering(b"hello", headers=[(b"content-length", b"5")])
    async with running(app) as node:
        answer = await node.answer(b"GET / HTTP/1.0\r\n\r\n")

    assert answer.endswith(b"\r\nconnection: close\r\n\r\nhello")


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection() -> None:
    async with running(answering(b"one", b"", b"three", b"")) as node:
        answer = await node.answer(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head
    assert b"\r\nconnection: close" in head
    assert body == b"onethree"
    assert len(node.writes) == 2


async def test_who_waits_for_100_gets_it_when_the_body_is_asked_for() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n"
    async with running(answering(b"read")) as node:
        reader, writer = await node.connect()
        writer.write(head + b"EXPECT: 100-Continue\r\n\r\n")
        async with asyncio.timeout(HANG_SECONDS):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hi")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_a_client_that_does_not_read_holds_its_application_up() -> None:
    parts, part = 400, bytes(64 * 1024)
    async with running(answering(*[part] * parts, headers=[])) as node:
        reader, writer = await node.connect()
        writer.write(LAST)
        async with asyncio.timeout(3 * HANG_SECONDS):
            while not (node.protocols and node.protocols[0].flow.write_paused):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.001)
            written = len(node.writes)
            answer = await reader.read()
        writer.close()

    assert written < parts
    assert answer.count(b"\r\n10000\r\n") == parts
    assert answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("app", "got"),
    [
        (answering(b"hello", headers=[(b"content-length", b"4")]), b""),
        (answering(b"hello", headers=[(b"content-length", b"6")]), b"hello"),
        (answering(b"hello", headers=[(b"x", b"a\r\nb: c")]), b""),
        (answering(b"hello", headers=[(b"x y", b"a")]), b""),
    ],
    ids=["longer", "shorter", "value", "name"],
)
async def test_a_broken_answer_ends_the_connection(app: Any, got: bytes) -> None:
    async with running(app) as node:
        assert (await node.answer(GET)).partition(b"\r\n\r\n")[2] == got


async def test_an_application_that_fails_before_its_answer_is_a_500() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError

    async with running(app) as node:
        assert (await node.answer(GET)).startswith(b"HTTP/1.1 500 ")


async def test_a_connection_without_another_request_is_closed() -> None:
    async with running(answering(b"hello"), timeout_keep_alive=0.05) as node:
        assert (await node.answer(GET)).endswith(b"0\r\n\r\n")


async def test_uvicorns_bound_of_concurrency_is_kept() -> None:
    async with running(answering(b"hello"), limit_concurrency=1) as node:
        answer = await node.answer(GET)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"Service Unavailable")
