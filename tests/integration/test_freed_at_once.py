"""What a connection made is free once it is over, without the garbage collector.

The collector walks everything only every ten minutes. Whatever a peer can have made in circles until then,
connection by connection, is memory that it can take without a credential.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import struct
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_SECONDS

from .served_here import ServedHere, served_here
from .test_tls import make_certificate, trusting

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

CONNECTIONS = 10_000
AT_ONCE = 25

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
WAIT = b"GET /v1/streams/s/messages?from=new&wait=30 HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/topics/a HTTP/1.1\r\n" + HOST + b"Content-Length: "


def handshake(path: bytes = b"/v1/ws", fields: bytes = b"", version: bytes = b"13") -> bytes:
    return (
        b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\nSec-WebSocket-Version: "
        + version
        + b"\r\n"
        + fields
        + b"\r\n"
    )


SORTS = {
    "one request": (GET, "close"),
    "one request and the connection's end": (
        GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        "read",
    ),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", "read"),
    "HEAD": (GET.replace(b"GET", b"HEAD"), "close"),
    "no such path": (GET.replace(b"livez", b"nope"), "close"),
    "a publish": (POST + b"2\r\n\r\n{}", "close"),
    "a publish that is refused": (POST + b"2\r\nContent-Type: application/json\r\n\r\n{]", "close"),
    "a body that is too large": (POST + b"200000\r\n\r\n{}", "close"),
    "no such hook": (POST.replace(b"topics", b"hooks") + b"2\r\n\r\n{}", "close"),
    "pipelined": (GET * 20, "close"),
    "pipelined, then reset": (GET * 50, "reset"),
    "pipelined behind one that waits": (WAIT * 3 + GET * 20, "close while it waits"),
    "no request": (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", "read"),
    "too many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", "read"),
    "nothing": (b"", "close"),
    "reset in a head": (b"GET /livez HT", "reset while it waits"),
    "reset in a body": (POST + b"20\r\n\r\n{}", "reset while it waits"),
    "closed in a body": (POST + b"20\r\n\r\n{}", "close while it waits"),
    "reset in a response": (GET.replace(b"livez", b"openapi.json"), "reset"),
    "lines, then reset": (
        b"POST /v1/publish HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-ndjson\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n15\r\n{"topic":"a","data":1}',
        "reset while it waits",
    ),
    "another upgrade": (
        GET.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
        "close",
    ),
    "WebSocket": (handshake(), "close"),
    "WebSocket, then reset": (handshake(), "reset while it waits"),
    "WebSocket with compression": (
        handshake(fields=b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        "close",
    ),
    "WebSocket of no path": (handshake(b"/nope"), "close"),
    "WebSocket of a foreign page": (handshake(fields=b"Origin: http://evil.example\r\n"), "close"),
    "WebSocket of another version": (handshake(version=b"12"), "close"),
    "events": (b"GET /v1/events?filter=a HTTP/1.1\r\n" + HOST + b"\r\n", "close"),
    "events over HTTP/1.0": (b"GET /v1/events?filter=a HTTP/1.0\r\n" + HOST + b"\r\n", "close"),
    "events of no filter": (b"GET /v1/events?filter=a/%23/b HTTP/1.1\r\n" + HOST + b"\r\n", "close"),
    "a reader that waits": (WAIT, "close while it waits"),
    "a reader that waits, then reset": (WAIT, "reset while it waits"),
    "a reader that has waited": (WAIT.replace(b"wait=30", b"wait=0.01"), "close"),
}


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()


async def test_nothing_of_a_connection_waits_for_a_collection(no_collection: None, caplog) -> None:
    async with served_here(
        streams=[{"name": "s", "filter": "s/#"}],
        store={"url": "memory:"},
        server={"log_level": "warning"},
    ) as node:
        kept = {}
        number = CONNECTIONS // len(SORTS) // AT_ONCE * AT_ONCE
        for sort in SORTS:
            await connect(node, sort, AT_ONCE)  # what the first of a sort makes stays, once
            gc.collect()
            for _ in range(number // AT_ONCE):
                await connect(node, sort, AT_ONCE)
            left = circles()
            if sum(left.values()) >= number:
                kept[sort] = left.most_common(5)
        assert kept == {}
        assert [len(each) for each in node.context._deadlines.values() if len(each)] == []
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


ENCRYPTED = ("one request", "HTTP/1.0", "reset in a head", "WebSocket", "WebSocket, then reset", "events")
HANDSHAKES = {
    "a handshake that isn't one": (b"GET / HTTP/1.1\r\n\r\n", "read"),
    "a handshake that stops": (b"\x16\x03\x01\x02\x00\x01\x00", "close while it waits"),
    "a handshake that is reset": (b"\x16\x03\x01\x02\x00\x01\x00", "reset while it waits"),
}


async def test_nor_of_one_with_tls(no_collection: None, tmp_path, caplog) -> None:
    make_certificate(tmp_path, "node")
    server = {"tls_certificate": f"{tmp_path}/certificate.pem", "tls_key": f"{tmp_path}/key.pem"}
    async with served_here(server=server) as node:
        kept = {}
        for sort in (*ENCRYPTED, *HANDSHAKES):
            tls = trusting() if sort in ENCRYPTED else None
            await connect(node, sort, AT_ONCE, tls)
            gc.collect()
            await connect(node, sort, AT_ONCE, tls)
            left = circles()
            # The clients here are asyncio's own, with circles of their own.
            ours = {name: count for name, count in left.items() if "Protocol" in name or "TlsDoor" in name}
            if sum(ours.values()) >= AT_ONCE:
                kept[sort] = left.most_common()
        assert kept == {}
        assert node.gateway._room.statistics().handshakes == 0
        assert node.gateway._room.statistics().failed == 2 * AT_ONCE * len(HANDSHAKES)
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


HOOK = b"POST /v1/hooks/signed HTTP/1.1\r\n" + HOST + b"Content-Length: "
WITH_CREDENTIALS = {
    "no credential": (GET.replace(b"livez", b"v1/nodes"), "close"),
    "a credential that is wrong": (
        GET.replace(b"livez", b"v1/nodes").replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer a.b.c\r\n\r\n"),
        "close",
    ),
    "WebSocket with a credential that is wrong": (
        handshake(fields=b"Authorization: Bearer a.b.c\r\n"),
        "close",
    ),
    "events without one": (b"GET /v1/events?filter=a HTTP/1.1\r\n" + HOST + b"\r\n", "close"),
    "a delivery that nobody signed": (HOOK + b"2\r\n\r\n{}", "close"),
    "a delivery that gives way to others": (HOOK + b"30000\r\n\r\n" + b"x" * 20_000, "read or close"),
    "a delivery that stops, then is reset": (HOOK + b"200\r\n\r\n{}", "reset while it waits"),
    "a response that nobody reads": (GET.replace(b"livez", b"openapi.json") * 60, "unread"),
}


async def test_nor_of_one_that_is_refused(no_collection: None, monkeypatch, caplog) -> None:
    monkeypatch.setenv("SECRET", "s" * 32)
    hook = {"name": "signed", "scheme": "github", "secret": "env:SECRET", "topic": "a"}
    key = {"algorithm": "HS256", "secret": "env:SECRET"}
    limits = {"unverified_bytes": 65536, "hook_body_bytes": 65536, "response_bytes": 262144}
    async with served_here(
        auth={"mode": "required", "keys": [key]}, hooks=[hook], limits=limits | {"write_timeout": "1s"}
    ) as node:
        kept = {}
        for sort in WITH_CREDENTIALS:
            await connect(node, sort, AT_ONCE)
            gc.collect()
            await connect(node, sort, AT_ONCE)
            left = circles()
            if sum(left.values()) >= AT_ONCE:
                kept[sort] = left.most_common(5)
        assert kept == {}
        refused = node.gateway._refusals.statistics()
        assert refused["unverified_bytes"] >= AT_ONCE
        assert refused["response_bytes"] + refused["write_timeout"] >= 1
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


async def connect(node: ServedHere, sort: str, times: int, tls: ssl.SSLContext | None = None) -> None:
    data, end = (SORTS | HANDSHAKES | WITH_CREDENTIALS)[sort]
    async with asyncio.timeout(3 * HANG_SECONDS):
        await asyncio.gather(*[client(node, data, end, tls) for _ in range(times)])
        while not node.is_quiet():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)


async def client(node: ServedHere, data: bytes, end: str, tls: ssl.SSLContext | None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=tls)
    writer.write(data)
    if end == "close" and data:
        await reader.read(10)
    elif end == "read":
        with suppress(ConnectionError):
            await reader.read()
    elif end == "read or close":
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read()
    elif end == "unread":
        while not node.server.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
        while not node.is_quiet():  # noqa: ASYNC110 - until the node cuts it
            await asyncio.sleep(0.01)
    elif end.endswith("waits"):
        while not node.server.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    if end.startswith("reset"):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()


def circles() -> Counter[str]:
    """The types of all objects that only a collection frees."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = Counter(type(each).__name__ for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    return found
