"""Members of groups on real connections, and groups over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from websockets.asyncio.client import ClientConnection, connect

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import RunningGateway


class Consumer:
    """One connection; what comes is told apart into replies and deliveries."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.deliveries: list[dict[str, Any]] = []

    async def send(self, op: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"op": op} | fields))

    async def event(self) -> dict[str, Any]:
        with anyio.fail_after(HANG_SECONDS):
            event: dict[str, Any] = json.loads(await self.connection.recv())
        return event

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a command, and return its reply."""
        await self.send(op, ref=op, **fields)
        while (event := await self.event()).get("ref") != op:
            assert event["op"] == "delivery", event
            self.deliveries.append(event)
        return event

    async def consume(self, group: str, stream: str = "s", **options: Any) -> None:
        reply = await self.ask("consume", stream=stream, group=group, **options)
        assert reply["op"] == "consuming", reply

    async def delivery(self) -> dict[str, Any]:
        """The next delivery."""
        if not self.deliveries:
            event = await self.event()
            assert event["op"] == "delivery", event
            return event
        return self.deliveries.pop(0)

    async def ack(self, *deliveries: dict[str, Any]) -> dict[str, Any]:
        return await self.ask("ack", deliveries=[each["delivery"] for each in deliveries])


@asynccontextmanager
async def consumer(gateway: RunningGateway, **options: Any) -> AsyncIterator[Consumer]:
    async with connect(gateway.ws_url, ping_interval=None, max_size=None, **options) as connection:
        client = Consumer(connection)
        assert (await client.event())["op"] == "welcome"
        yield client


def call(
    gateway: RunningGateway, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{gateway.url}/v1/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=2 * HANG_SECONDS) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def publish(gateway: RunningGateway, topic: str = "s/a", body: Any = 1, **headers: str) -> int:
    status, answer = call(
        gateway,
        "POST",
        f"topics/{topic}",
        json.dumps(body).encode(),
        **{"Content-Type": "application/json"},
        **headers,
    )
    assert status == 201, answer
    offset: int = answer["offset"]
    return offset


def figures(gateway: RunningGateway, group: str, stream: str = "s") -> dict[str, Any]:
    status, found = call(gateway, "GET", f"streams/{stream}/groups/{group}")
    assert status == 200, found
    return found  # type: ignore[no-any-return]  # JSON


def put(gateway: RunningGateway, group: str, **settings: Any) -> None:
    """Make a group of stream ``s``, or change one; its leases last for a minute unless it is said."""
    settings = {"backoff": [0.05], "ack_wait": 60} | settings
    status, answer = call(gateway, "PUT", f"streams/s/groups/{group}", settings)
    assert status in {200, 201}, answer
