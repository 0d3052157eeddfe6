"""An echo server under uvicorn, a process of its own: ``python echo_server.py '{"mode": "asgi"}'``.

``asgi`` echoes in a plain ASGI application, which has uvicorn's own WebSockets; ``lean`` in a session that
has taken its connection over.
The first line of its output is the port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from gateway.codecs.websocket_frames import server_frame
from gateway.transports.http.configuration import http_protocol
from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.websocket.connection import EXTENSION
from gateway.transports.websocket.limits import ConnectionPolicy
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    from gateway.transports.websocket.connection import Connection

MAX_MESSAGE = 16 * 1024 * 1024


class EchoSession:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def message_received(self, opcode: int, payload: bytes) -> None:
        self.connection.write(server_frame(payload, opcode))
        if not self.connection.writable:
            self.connection.pause_reading()

    def more_to_read(self) -> None: ...

    def writable_changed(self, writable: bool) -> None:
        if writable:
            self.connection.resume_reading()

    def connection_closed(self, code: int, reason: str) -> None:
        print("closed", code, reason, file=sys.stderr, flush=True)

    def drain(self) -> None:
        self.connection.close(1001, "going away")


async def lean_echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        takeover = scope["extensions"][EXTENSION]
        takeover.take_over(EchoSession, max_message=MAX_MESSAGE, refuse_invalid_text=True)
    else:
        await hello(scope, receive, send)


async def asgi_echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        await hello(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        message["type"] = "websocket.send"
        await send(message)
    print("closed", message["code"], message.get("reason", ""), file=sys.stderr, flush=True)


async def count(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the size of the body, which it takes its time to read: the seconds in the path."""
    if scope["type"] != "http":
        await hello(scope, receive, send)
        return
    await asyncio.sleep(float(scope["path"][1:] or 0))
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
    else:
        print("the client went", file=sys.stderr, flush=True)
        return
    text = str(size).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    else:
        await hello(scope, receive, send)


APPLICATIONS = {"asgi": asgi_echo, "lean": lean_echo, "refuse": refuse, "count": count}


def serve(mode: str, *, loop: str = "uvloop", limits: Any = None, policy: Any = None, **options: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    # What the kernel would buffer for a client that doesn't read must not hide what the process does.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    taken_over = frozenset() if mode == "asgi" else None
    offer = TakeoverOffer(taken_over, ConnectionPolicy(**policy or {}))
    config = uvicorn.Config(
        APPLICATIONS[mode],
        ws="websockets-sansio",
        http=http_protocol(RequestLimits(**limits or {}), offer=offer),
        ws_max_size=MAX_MESSAGE,
        loop=loop,
        access_log=False,
        **options,
    )
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
