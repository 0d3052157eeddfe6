"""Requests sent ahead of the answers: a few wait, the rest isn't read, and all are answered in order."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from gateway.transports.http.read_ahead import MOST_WAITING
from tests.patience import HANG_SECONDS

from .raw_client import bystander, until
from .test_http_answers import running

if TYPE_CHECKING:
    from gateway.transports.http.protocol import GatewayHttpProtocol

MIB = 1024 * 1024
READ = 256 * 1024
HELD = 64 * 1024


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def numbered(number: int, body: bytes = b"") -> bytes:
    return b"POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (number, len(body), body)


class Held:
    """An application that answers with the path and the body's length, once it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.began = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.began += 1
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await self.may.wait()
        text = f"{scope['path']} {size};".encode()
        head = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": text})


def bodies(answers: bytes) -> list[str]:
    return [part.partition("\r\n\r\n")[2] for part in answers.decode().split("HTTP/1.1 200 OK")[1:]]


@pytest.mark.parametrize("cut", [None, 7, 1000], ids=["one write", "pieces of 7", "pieces of 1000"])
async def test_all_are_answered_in_order_and_few_wait(cut: int | None) -> None:
    number = 400
    # Bodies that look like the end of a head, and like a request.
    shapes = [b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 40]
    requests = b"".join(numbered(each, shapes[each % len(shapes)]) for each in range(number))
    app = Held()
    async with running(app) as node:
        reader, writer = await node.connect()
        for at in range(0, len(requests), cut or len(requests)):
            writer.write(requests[at : at + (cut or len(requests))])
            if cut is not None and at % (50 * cut) == 0:
                await asyncio.sleep(0)
        await until(lambda: app.began and node.protocols[0]._ahead)
        assert len(node.protocols[0].pipeline) == MOST_WAITING
        assert app.began == 1
        app.may.set()
        answers = b""
        async with asyncio.timeout(HANG_SECONDS):
            while answers.count(b";") < number:
                answers += await reader.read(65536)
        writer.close()

    assert bodies(answers) == [f"/{each} {len(shapes[each % len(shapes)])};" for each in range(number)]


def held_bytes(protocol: GatewayHttpProtocol) -> int:
    waiting: Any = [cycle for cycle, _ in protocol.pipeline]
    return len(protocol._ahead) + sum(len(cycle.body) for cycle in waiting)


@pytest.mark.parametrize("body", [b"", b"x" * 1000, b"x" * MIB], ids=["none", "small", "large"])
async def test_reading_stops_until_they_are_answered(body: bytes) -> None:
    app = Held()
    async with running(app) as node:
        reader, writer = await node.connect()
        requests = numbered(0) + numbered(1, body) * (4 * MIB // (len(body) + 50))
        writer.write(requests)
        await until(lambda: app.began and node.protocols[0].flow.read_paused)
        protocol = node.protocols[0]
        assert len(protocol.pipeline) <= MOST_WAITING
        assert 0 < held_bytes(protocol) <= 2 * HELD + 2 * READ
        app.may.set()
        async with asyncio.timeout(3 * HANG_SECONDS):
            answers = await reader.readuntil(f"/1 {len(body)};".encode())
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        writer.transport.abort()  # type: ignore[attr-defined]


async def test_what_follows_the_last_request_is_nobodys() -> None:
    app = Held()
    app.may.set()
    async with running(app) as node:
        last = numbered(1).replace(b"Content-Length", b"Connection: close\r\nContent-Length")
        answers = await node.answer(numbered(0) + last + numbered(2))

    assert bodies(answers) == ["/0 0;", "/1 0;"]


async def test_a_client_that_leaves_is_noticed_while_its_requests_wait() -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with running(app) as node:
        _, writer = await node.connect()
        writer.write(numbered(0) * 50)
        await until(lambda: node.protocols and node.protocols[0]._ahead)
        writer.close()
        async with asyncio.timeout(HANG_SECONDS):
            await gone.wait()


async def test_who_sends_and_never_reads_costs_little(gateway_process) -> None:
    gateway = gateway_process()
    async with bystander(gateway):
        before = gateway.rss()
        clients = [
            socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) for _ in range(4)
        ]
        try:
            for client in clients:
                client.settimeout(0.2)
                flood = memoryview(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20_000)
                try:
                    while flood:
                        flood = flood[client.send(flood) :]
                except TimeoutError:
                    pass
            assert gateway.rss() - before < 16 * MIB
        finally:
            for client in clients:
                client.close()
