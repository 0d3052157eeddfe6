"""Several nodes are one gateway: real processes that share a Redis."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.patience import HANG_SECONDS

from .process_tree import wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis


@pytest.fixture(scope="module")
def nodes(module_gateway_process: StartGateway, module_redis_server: RunningRedis) -> list[RunningGateway]:
    # So many partitions that hardly any two of the topics below share one; a filter that takes them all
    # then waits for 4096 confirmations, on a machine that may have other things to do.
    settings = (
        f'[redis]\nurl = "{module_redis_server.url}"\npartitions = 4096\ntimeout = "10s"\n'
        "[limits]\ncommands_per_second = 0\n"
    )
    return [module_gateway_process(settings) for _ in range(3)]


@asynccontextmanager
async def client(node: RunningGateway) -> AsyncIterator[ClientConnection]:
    async with connect(node.ws_url) as websocket:
        assert json.loads(await websocket.recv())["op"] == "welcome"
        yield websocket


async def ask(websocket: ClientConnection, **command: Any) -> dict[str, Any]:
    """Send a command and return its reply; nothing else is expected in between."""
    await websocket.send(json.dumps(command | {"ref": 1}))
    reply = json.loads(await websocket.recv())
    assert reply.get("ref") == 1, reply
    return reply


async def test_a_message_reaches_the_subscribers_of_every_node(nodes: list[RunningGateway]) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(node)) for node in nodes]
        for each in clients:
            assert (await ask(each, op="subscribe", filter="reach/#"))["op"] == "subscribed"
        async with httpx2.AsyncClient() as http:
            answer = await http.post(
                f"{nodes[0].url}/v1/topics/reach/one",
                content=b'{"n": 1}',
                headers={"content-type": "application/json"},
            )
        assert answer.status_code == 202
        frames = [json.loads(await each.recv()) for each in clients]
        assert frames[0]["data"] == {"n": 1}
        assert frames[0] == frames[1] == frames[2]
        assert frames[0]["id"] == answer.json()["id"]


async def test_subscribed_means_subscribed(nodes: list[RunningGateway]) -> None:
    """Publish on one node the moment another one has answered; a thousand times."""
    async with client(nodes[0]) as subscriber, client(nodes[1]) as publisher:
        for number in range(1000):
            topic = f"s{number}/x"
            assert (await ask(subscriber, op="subscribe", filter=topic))["op"] == "subscribed"
            await publisher.send(json.dumps({"op": "publish", "topic": topic, "data": number}))
            async with asyncio.timeout(HANG_SECONDS):
                assert json.loads(await subscriber.recv())["data"] == number
            assert (await ask(subscriber, op="unsubscribe", filter=topic))["op"] == "unsubscribed"


async def test_every_subscriber_on_every_node_sees_one_order(nodes: list[RunningGateway]) -> None:
    """Six publishers on three nodes publish on three topics at once; each subscriber's record is the same."""
    each_publishes, publishers = 150, 6
    topics = ["order/a", "order/b", "other/c"]

    async def publish(node: RunningGateway, name: int) -> None:
        async with client(node) as websocket:
            for number in range(each_publishes):
                command = {"op": "publish", "topic": topics[number % 3], "data": [name, number]}
                await websocket.send(json.dumps(command))
            # The reply to the last one: all before it have gone out on the same connection.
            await websocket.send(json.dumps({"op": "publish", "topic": "done", "data": 0, "ref": 1}))
            assert json.loads(await websocket.recv())["op"] == "published"

    async def record(websocket: ClientConnection) -> dict[str, list[Any]]:
        seen: dict[str, list[Any]] = {topic: [] for topic in topics}
        async with asyncio.timeout(HANG_SECONDS):
            while sum(map(len, seen.values())) < each_publishes * publishers:
                frame = json.loads(await websocket.recv())
                assert frame["op"] == "message", frame
                seen[frame["topic"]].append(frame["data"])
        return seen

    async with AsyncExitStack() as stack:
        subscribers = [await stack.enter_async_context(client(node)) for node in nodes * 2]
        for each in subscribers:
            for topic_filter in ("order/#", "+/c"):
                reply = await ask(each, op="subscribe", filter=topic_filter)
                assert reply["op"] == "subscribed", reply
        records = asyncio.gather(*(record(each) for each in subscribers))
        await asyncio.gather(*(publish(nodes[name % 3], name) for name in range(publishers)))
        seen = await records
    assert all(each == seen[0] for each in seen)
    for topic in topics:
        for name in range(publishers):
            numbers = [number for publisher, number in seen[0][topic] if publisher == name]
            assert numbers == sorted(numbers)


def test_a_node_that_starts_later_joins(nodes: list[RunningGateway]) -> None:
    # On a machine that has other things to do its event loop may just have been late.
    wait_for(lambda: httpx2.get(f"{nodes[2].url}/readyz", timeout=HANG_SECONDS).json() == {"status": "ready"})
    assert nodes[2].metric("gateway_bus_connected") == 1
