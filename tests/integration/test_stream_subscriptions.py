"""Subscriptions to streams of a real gateway: live, with history, resumed after a kill, on several nodes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from anyio import to_thread
from websockets.asyncio.client import ClientConnection, connect

from tests.patience import HANG_SECONDS

from .outage import PATIENT_REDIS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

STREAM = '[limits]\ncommands_per_second = 0\n[[streams]]\nname = "orders"\nfilter = "orders/#"\n'


@asynccontextmanager
async def client(node: RunningGateway) -> AsyncIterator[ClientConnection]:
    async with connect(node.ws_url) as websocket:
        await take(websocket)
        yield websocket


async def take(websocket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(HANG_SECONDS):
        answer: dict[str, Any] = json.loads(await websocket.recv())
        return answer


async def say(websocket: ClientConnection, **command: Any) -> dict[str, Any]:
    await websocket.send(json.dumps(command | {"ref": 1}))
    return await take(websocket)


async def publish(node: RunningGateway, count: int) -> list[int]:
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        items = [{"topic": "orders/a", "data": number} for number in range(count)]
        results = (await http.post(f"{node.url}/v1/publish", json=items)).json()["results"]
    return [result["offset"] for result in results]


async def offsets(websocket: ClientConnection, count: int) -> list[int]:
    return [(await take(websocket))["offset"] for _ in range(count)]


async def test_live_and_history_meet_and_outlive_a_kill(gateway_process: StartGateway) -> None:
    node = gateway_process(STREAM)
    async with client(node) as live:
        subscribed = await say(live, op="subscribe", filter="orders/#")
        epoch = subscribed["positions"]["orders"]["epoch"]
        assert subscribed["positions"] == {"orders": {"epoch": epoch, "offset": 0}}
        assert await publish(node, 5) == [1, 2, 3, 4, 5]
        assert await offsets(live, 5) == [1, 2, 3, 4, 5]
    await to_thread.run_sync(node.kill)
    await to_thread.run_sync(node.start)
    async with client(node) as back:
        position = {"orders": {"epoch": epoch, "offset": 2}}
        subscribed = await say(back, op="subscribe", filter="orders/#", resume=position)
        assert (subscribed["recovered"], subscribed["positions"]) == (True, position)
        assert await offsets(back, 3) == [3, 4, 5]
        assert await take(back) == {"op": "caught_up", "filter": "orders/#"}
        await publish(node, 2)
        assert await offsets(back, 2) == [6, 7]


async def test_every_node_delivers_what_any_node_stores(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    settings = f'[redis]\nurl = "{redis_server.url}"\n{PATIENT_REDIS}{STREAM}'
    one, other = gateway_process(settings), gateway_process(settings)
    async with client(one) as here, client(other) as there:
        for websocket in (here, there):
            assert (await say(websocket, op="subscribe", filter="#"))["op"] == "subscribed"
        stored = await publish(one, 20) + await publish(other, 20)
        assert await offsets(here, 40) == stored
        assert await offsets(there, 40) == stored


async def test_a_narrowed_or_split_stream_is_not_recovered_in_full(
    gateway_process: StartGateway,
) -> None:
    node = gateway_process('[[streams]]\nname = "s"\nfilter = "a/#"\n')
    async with client(node) as websocket:
        whole = await say(websocket, op="subscribe", filter="a/#")
        part = await say(websocket, op="subscribe", filter="a/y/#")
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        for topic in ("a/x/1", "a/y/1"):
            assert (await http.post(f"{node.url}/v1/topics/{topic}", json=1)).status_code == 201
    await to_thread.run_sync(node.stop)
    split = '[[streams]]\nname = "s"\nfilter = "a/x/#"\n[[streams]]\nname = "t"\nfilter = "a/y/#"\n'
    (node.directory / "gateway.toml").write_text(split)
    await to_thread.run_sync(node.start)
    async with client(node) as websocket:
        left = await say(websocket, op="subscribe", filter="a/y/#", resume=part["positions"])
        assert left["recovered"] is False
        assert list(left["positions"]) == ["t"]
    async with client(node) as websocket:
        # Nothing was stored in the other half yet: all that there is comes.
        assert (await say(websocket, op="subscribe", filter="a/#", resume=whole["positions"]))["recovered"]
        assert [(await take(websocket))["topic"] for _ in range(2)] == ["a/x/1", "a/y/1"]
    async with httpx2.AsyncClient(timeout=HANG_SECONDS) as http:
        assert (await http.post(f"{node.url}/v1/topics/a/y/2", json=1)).status_code == 201
    async with client(node) as websocket:
        again = await say(websocket, op="subscribe", filter="a/#", resume=whole["positions"])
        assert again["recovered"] is False
