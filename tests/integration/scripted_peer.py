"""A peer that speaks ``gateway.v1`` and misbehaves on demand, which a real gateway cannot be made to do."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websockets.http11 import Request, Response

ACK_WAIT = 60_000
"""How long a delivery is leased for, milliseconds."""

REPLIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "subscribe": lambda c: {"op": "subscribed", "filter": c["filter"], "positions": {}, "recovered": None},
    "unsubscribe": lambda c: {"op": "unsubscribed", "filter": c["filter"]},
    "publish": lambda c: {"op": "published", "id": c.get("id", "made")},
    "consume": lambda c: {"op": "consuming", "ack_wait": ACK_WAIT, **_group(c), "credit": c["credit"]},
    "release": lambda c: {"op": "released", **_group(c)},
    "ack": lambda c: {"op": "acked", "deliveries": c["deliveries"], "stale": []},
    "nack": lambda c: {"op": "acked", "deliveries": c["deliveries"], "stale": []},
    "extend": lambda c: {"op": "acked", "deliveries": c["deliveries"], "stale": []},
    "ping": lambda _: {"op": "pong"},
    "auth": lambda _: {"op": "authenticated", "subject": "someone", "expires": None},
}


def _group(command: dict[str, Any]) -> dict[str, Any]:
    return {"stream": command["stream"], "group": command["group"]}


class Peer:
    """Answers every command as a gateway would, unless ``answer`` says otherwise.

    Attributes:
        port: where it listens.
        commands: what came, with the number of the connection (from 1) as ``connection``.
        tokens: the Authorization header of each handshake.
        answer: called with each command; True: do nothing more about it.
        welcome: more fields for the first frame.
        pongs: how many came, asked for or not.
        refuse: the HTTP status of handshakes, with headers; None admits.
    """

    def __init__(self) -> None:
        self.port = 0
        self.commands: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.sockets: list[ServerConnection] = []
        self.answer: Callable[[dict[str, Any]], Any] = lambda _: None
        self.welcome: dict[str, Any] = {}
        self.pongs = 0
        self.refuse: tuple[int, dict[str, str]] | None = None
        self._moved = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket(self) -> ServerConnection:
        return self.sockets[-1]

    def ops(self) -> list[tuple[int, str]]:
        return [(command["connection"], command["op"]) for command in self.commands]

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait for a condition over what has come; it is looked at after each command and handshake."""
        with anyio.fail_after(HANG_SECONDS):
            while not holds():
                self._moved = anyio.Event()
                await self._moved.wait()

    async def send(self, **fields: Any) -> None:
        await self.socket.send(json.dumps(fields))

    async def publish(self, topic: str, data: Any = None) -> None:
        await self.send(op="message", topic=topic, id="1", time=0, data=data)

    async def deliver(self, token: str, *, offset: int = 1, data: Any = None) -> None:
        """A delivery of the group ``s/g``."""
        deadline = int(time.time() * 1000) + ACK_WAIT
        lease = {"delivery": token, "group": "g", "attempt": 1, "deadline": deadline, "fence": offset}
        message = {"topic": "s/a", "id": "1", "time": 0, "stream": "s", "offset": offset, "data": data}
        await self.send(op="delivery", **lease, **message)

    async def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.tokens.append(request.headers.get("Authorization"))
        self._moved.set()
        if self.refuse is None:
            return None
        status, headers = self.refuse
        response = socket.respond(status, "")
        response.headers.update(headers)
        return response

    def _pong(self) -> None:
        self.pongs += 1
        self._moved.set()

    async def _serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        number = len(self.sockets)
        welcome = {"op": "welcome", "session": f"s{number}", "node": "peer", "protocol": "gateway.v1"}
        try:
            await socket.send(json.dumps(welcome | {"authenticated": True, "limits": {}} | self.welcome))
            async for frame in socket:
                command = json.loads(frame) | {"connection": number}
                self.commands.append(command)
                self._moved.set()
                if not await self._answered(command) and "ref" in command:
                    await socket.send(json.dumps(REPLIES[command["op"]](command) | {"ref": command["ref"]}))
        except ConnectionClosed:
            pass

    async def _answered(self, command: dict[str, Any]) -> bool:
        answered = self.answer(command)
        return bool(await answered if hasattr(answered, "__await__") else answered)


@asynccontextmanager
async def scripted_peer() -> AsyncIterator[Peer]:
    """A peer on a free loopback port."""
    peer = Peer()

    class Socket(ServerConnection):
        def acknowledge_pings(self, data: bytes) -> None:
            peer._pong()
            super().acknowledge_pings(data)

    async with serve(
        peer._serve,
        "127.0.0.1",
        0,
        process_request=peer._admit,
        create_connection=Socket,
        ping_interval=None,
        close_timeout=0.5,
    ) as server:
        peer.port = next(iter(server.sockets)).getsockname()[1]
        yield peer
