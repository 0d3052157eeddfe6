"""Nodes on different servers: what one publishes where another does not listen any more is told as lost.

Each node has a sentinel of its own that says what the test wants, so that they change at different times.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.integration.outage import PATIENT_REDIS, settings_for, until_status
from tests.integration.scripted_sentinel import ScriptedSentinel, scripted_sentinel
from tests.patience import HANG_SECONDS
from tests.redis_process import RunningRedis, redis_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.conftest import RunningGateway, StartGateway


class Listener:
    """A subscriber's messages and gaps."""

    def __init__(self) -> None:
        self.messages: list[int] = []
        self.gaps: list[int | None] = []

    async def run(self, websocket: Any) -> None:
        async for text in websocket:
            frame = json.loads(text)
            if frame["op"] == "gap":
                assert frame["reason"] == "bus"
                self.gaps.append(frame["dropped"])
            else:
                self.messages.append(frame["data"])

    async def until(self, messages: list[int], gaps: list[int | None]) -> None:
        """Wait until exactly these have come, in this order each."""
        async with asyncio.timeout(HANG_SECONDS):
            while len(self.messages) < len(messages) or len(self.gaps) < len(gaps):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (self.messages, self.gaps) == (messages, gaps)


@asynccontextmanager
async def listening(node: RunningGateway, topic_filter: str) -> AsyncIterator[Listener]:
    listener = Listener()
    async with connect(node.ws_url) as websocket:
        await websocket.recv()
        await websocket.send(json.dumps({"op": "subscribe", "filter": topic_filter}))
        assert json.loads(await websocket.recv())["op"] == "subscribed"
        running = asyncio.create_task(listener.run(websocket))
        try:
            yield listener
        finally:
            running.cancel()
            await asyncio.wait([running])


async def publish(node: RunningGateway, topic: str, *numbers: int) -> None:
    async with httpx2.AsyncClient() as http:
        for number in numbers:
            answer = await http.post(f"{node.url}/v1/topics/{topic}", json=number, timeout=HANG_SECONDS)
            assert answer.status_code == 202, answer.text


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RunningRedis]]:
    with redis_servers(tmp_path, (), ()) as both:
        yield both


@pytest.fixture
def sentinels(servers: list[RunningRedis]) -> Iterator[list[ScriptedSentinel]]:
    with ExitStack() as stack:
        yield [stack.enter_context(scripted_sentinel(servers[0].port)) for _ in range(2)]


async def move(node: RunningGateway, sentinel: ScriptedSentinel, server: RunningRedis) -> None:
    """Have ``node`` go over to ``server``; it has when both of its connections are there."""
    before = connected(server)
    await asyncio.to_thread(sentinel.switch, server.port)
    async with asyncio.timeout(HANG_SECONDS):
        while connected(server) < before + 2:  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.01)
    await until_status(node, "ready")


def connected(server: RunningRedis) -> int:
    clients: dict[str, int] = server.call("INFO", "clients")  # type: ignore[assignment]
    return int(clients["connected_clients"])


async def test_what_goes_by_the_old_server_is_told_once_its_node_comes_over(
    gateway_process: StartGateway, servers: list[RunningRedis], sentinels: list[ScriptedSentinel]
) -> None:
    late, early = (gateway_process(settings_for(each.url, redis=PATIENT_REDIS)) for each in sentinels)
    async with (
        listening(early, "#") as everything,
        listening(early, "red/+") as red,
        listening(early, "blue/+") as blue,
        listening(late, "#") as there,
    ):
        await publish(late, "red/1", 1, 2, 3)
        await everything.until([1, 2, 3], [])
        await move(early, sentinels[1], servers[1])
        await everything.until([1, 2, 3], [None])
        # Answered, and heard by no client of the other node: of red it has heard this node before, of
        # green it has not, and of blue there is nothing to miss.
        await publish(late, "red/1", 4, 5, 6, 7, 8)
        await publish(late, "green/1", 9)
        await there.until([1, 2, 3, 4, 5, 6, 7, 8, 9], [])
        await move(late, sentinels[0], servers[1])
        await there.until([1, 2, 3, 4, 5, 6, 7, 8, 9], [None])
        await publish(late, "red/1", 10)
        await publish(late, "green/1", 11)
        await publish(late, "blue/1", 12)
        await asyncio.gather(
            red.until([1, 2, 3, 10], [None, None]),
            blue.until([12], [None]),
            there.until([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [None]),
        )
        async with asyncio.timeout(HANG_SECONDS):
            while len(everything.messages) < 6:  # noqa: ASYNC110 - frames come from another process
                await asyncio.sleep(0.01)
        assert everything.messages == [1, 2, 3, 10, 11, 12]
        assert everything.gaps[0] is None
        assert sorted(everything.gaps[1:], key=str) == [5, None]
    assert early.metric("gateway_bus_lost_total") >= 5


async def test_two_nodes_that_change_together_are_told_one_gap(
    gateway_process: StartGateway, servers: list[RunningRedis], sentinels: list[ScriptedSentinel]
) -> None:
    nodes = [gateway_process(settings_for(each.url, redis=PATIENT_REDIS)) for each in sentinels]
    async with listening(nodes[0], "#") as one, listening(nodes[1], "#") as other:
        await publish(nodes[0], "red/1", 1)
        await publish(nodes[1], "green/1", 2)
        await asyncio.gather(one.until([1, 2], []), other.until([1, 2], []))
        for node, sentinel in zip(nodes, sentinels, strict=True):
            await move(node, sentinel, servers[1])
        await publish(nodes[0], "red/1", 3)
        await publish(nodes[1], "green/1", 4)
        await asyncio.gather(one.until([1, 2, 3, 4], [None]), other.until([1, 2, 3, 4], [None]))
