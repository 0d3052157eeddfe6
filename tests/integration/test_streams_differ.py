"""Nodes of one gateway whose ``[[streams]]`` differ, as they do while streams are rolled out.

Spec: docs/operations.md, "Rolling out streams".
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

ORDERS = '[[streams]]\nname = "orders"\nfilter = "orders/#"\n'
EVENTS = '[[streams]]\nname = "events"\nfilter = "events/#"\n'
NARROW = '[[streams]]\nname = "orders"\nfilter = "orders/eu/#"\n'
RENAMED = '[[streams]]\nname = "purchases"\nfilter = "orders/#"\n'
SECONDS = 20.0


class Subscriber:
    """A client that records the data of each message, and ``"gap"`` for each gap, in order."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.record: list[Any] = []
        self._websocket = websocket

    async def read(self) -> None:
        async for text in self._websocket:
            frame = json.loads(text)
            self.record.append(frame["data"] if frame["op"] == "message" else frame["op"])

    @property
    def data(self) -> list[Any]:
        return [each for each in self.record if each != "gap"]

    async def has(self, *data: Any) -> None:
        """Wait until all of these have come, and assert that none came twice."""
        await until(lambda: set(data) <= set(self.data), lambda: f"{data} not all in {self.record}")
        assert len(self.data) == len(set(self.data)), self.record


@asynccontextmanager
async def subscriber(node: RunningGateway, *filters: str) -> AsyncIterator[Subscriber]:
    async with connect(node.ws_url) as websocket:
        await websocket.recv()
        for topic_filter in filters:
            await websocket.send(json.dumps({"op": "subscribe", "filter": topic_filter}))
            while json.loads(await websocket.recv())["op"] != "subscribed":
                pass
        subscriber = Subscriber(websocket)
        reading = asyncio.create_task(subscriber.read())
        try:
            yield subscriber
        finally:
            reading.cancel()


async def until(condition: Callable[[], bool], say: Callable[[], str] = str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(say())


async def get(node: RunningGateway, path: str) -> Any:
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        return (await http.get(node.url + path)).json()


async def publish(node: RunningGateway, topic: str, data: Any) -> None:
    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        answer = await http.post(f"{node.url}/v1/topics/{topic}", json=data)
    assert answer.status_code in {201, 202}, answer.text


async def all_say(*nodes: RunningGateway, both_ways: bool) -> dict[str, str]:
    """Wait until every node knows of every other one's streams, and every one of them says so.

    Returns each node's digest of its streams, by name.
    """
    async with asyncio.timeout(SECONDS):
        for node in nodes:
            while True:
                listed = (await get(node, "/v1/nodes"))["nodes"]
                if len(listed) == len(nodes) and all(each["both_ways"] is both_ways for each in listed):
                    break
                await asyncio.sleep(0.02)
    return {each["node"]: each["streams"] for each in listed}


def start(gateway_process: StartGateway, server: RunningRedis, *streams: str) -> tuple[RunningGateway, ...]:
    return tuple(gateway_process(f'[redis]\nurl = "{server.url}"\n{each}') for each in streams)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("", id="a stream that the other node has not"),
        pytest.param(ORDERS + EVENTS, id="a stream more"),
        pytest.param(RENAMED, id="another name"),
        pytest.param(NARROW, id="a narrower filter"),
    ],
)
async def test_messages_reach_subscribers_of_both_nodes_in_both_directions(
    gateway_process: StartGateway, redis_server: RunningRedis, other: str
) -> None:
    one, two = start(gateway_process, redis_server, ORDERS, other)
    await all_say(one, two, both_ways=True)
    filters = ("orders/us/#", "orders/eu/+", "events/#")
    async with (
        subscriber(one, *filters) as at_one,
        subscriber(two, *filters) as at_two,
        subscriber(one, "#") as all_at_one,
        subscriber(two, "#") as all_at_two,
    ):
        for number, topic in enumerate(["orders/us/a", "orders/eu/b", "events/c"] * 2):
            await publish(one if number < 3 else two, topic, number)
        for each in (at_one, at_two, all_at_one, all_at_two):
            await each.has(*range(6))


async def test_a_difference_is_told_to_operators_until_it_is_over(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    one, same = start(gateway_process, redis_server, ORDERS, ORDERS)
    await all_say(one, same, both_ways=False)
    assert await get(one, "/readyz") == {"status": "ready"}
    (other,) = start(gateway_process, redis_server, "")
    names = await all_say(one, same, other, both_ways=True)
    assert sorted(list(names.values()).count(each) for each in set(names.values())) == [1, 2]
    (odd,) = [name for name, digest in names.items() if list(names.values()).count(digest) == 1]
    readiness = await get(one, "/readyz")
    assert readiness["status"] == "degraded"
    assert readiness["reasons"] == [f"nodes whose [[streams]] capture other topics than this node's: {odd}"]
    assert await anyio.to_thread.run_sync(one.metric, "gateway_nodes_differing") == 1
    assert await anyio.to_thread.run_sync(other.metric, "gateway_nodes_differing") == 2
    # A thread writes the log, in its own time.
    await until(lambda: "capture other topics" in one.stderr_text())
    assert one.stderr_text().count("capture other topics") == 1
    await publish(one, "orders/a", 1)
    assert await anyio.to_thread.run_sync(one.metric, "gateway_captured_live_total") == 1
    await anyio.to_thread.run_sync(other.stop)
    await all_say(one, same, both_ways=False)
    assert await get(one, "/readyz") == {"status": "ready"}
    await until(lambda: "capture the same topics again" in one.stderr_text())
    assert one.stderr_text().count("capture the same topics again") == 1
    await publish(one, "orders/a", 2)
    assert await anyio.to_thread.run_sync(one.metric, "gateway_captured_live_total") == 1


async def test_nodes_that_divide_topics_otherwise_are_told_of(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    (one,) = start(gateway_process, redis_server, "")
    async with subscriber(one, "live/#") as at_one:
        (two,) = start(gateway_process, redis_server, "partitions = 32\n")
        for node, partitions in ((one, 64), (two, 32)):
            await all_know(node, 2)
            reason = f"nodes whose redis.partitions is not this node's {partitions}: "
            (told,) = (await get(node, "/readyz"))["reasons"]
            assert told.startswith(reason)
            assert await anyio.to_thread.run_sync(node.metric, "gateway_nodes_divided") == 1
        await until(lambda: at_one.record == ["gap"], lambda: str(at_one.record))


async def all_know(node: RunningGateway, nodes: int) -> None:
    """Wait until ``node`` knows so many, and has looked at them."""
    async with asyncio.timeout(SECONDS):
        while True:
            listed, readiness = await get(node, "/v1/nodes"), await get(node, "/readyz")
            if len(listed["nodes"]) == nodes and "reasons" in readiness:
                return
            await asyncio.sleep(0.02)


async def test_nodes_that_agree_get_each_message_once_from_its_stream(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    """With a third node that differs: copies for it are not for them."""
    nodes = start(gateway_process, redis_server, ORDERS, ORDERS, EVENTS)
    await all_say(*nodes, both_ways=True)
    async with subscriber(nodes[0], "#") as wide, subscriber(nodes[1], "orders/#") as narrow:
        for number in range(20):
            await publish(nodes[number % 2], "orders/a", number)
        await publish(nodes[2], "orders/a", "live")
        await wide.has(*range(20), "live")
        await narrow.has(*range(20), "live")


async def test_what_is_published_while_a_roll_out_begins_comes_or_is_told_to_be_missing(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    (one,) = start(gateway_process, redis_server, ORDERS)
    stop, sent = asyncio.Event(), dict[str, list[int]](one=[], two=[])

    async def go_on_publishing(node: RunningGateway, name: str) -> None:
        async with connect(node.ws_url) as websocket:
            number = 0
            await websocket.recv()
            while not stop.is_set():
                number += 1
                data = [name, number]
                command = {"op": "publish", "topic": "orders/a", "data": data, "ref": number}
                await websocket.send(json.dumps(command))
                assert json.loads(await websocket.recv())["op"] == "published"
                sent[name].append(number)

    async with subscriber(one, "orders/#") as at_one, asyncio.TaskGroup() as tasks:
        tasks.create_task(go_on_publishing(one, "one"))
        (two,) = await anyio.to_thread.run_sync(start, gateway_process, redis_server, "")
        tasks.create_task(go_on_publishing(two, "two"))
        async with subscriber(two, "orders/#") as at_two:
            # One more of each may have been under way before this subscription.
            first = {name: len(numbers) + 2 for name, numbers in sent.items()}
            await all_say(one, two, both_ways=True)
            # The new node may have noticed before it served anybody.
            await until(lambda: "gap" in at_one.record)
            count = len(sent["one"])
            await until(lambda: len(sent["one"]) > count + 50)
            stop.set()
            for each in (at_one, at_two):
                await until(
                    lambda each=each: all([name, sent[name][-1]] in each.data for name in sent),  # type: ignore[misc]
                    lambda each=each: f"{sent['one'][-1]}, {sent['two'][-1]}: {each.record[-5:]}",  # type: ignore[misc]
                )
                for name in sent:
                    check(each.record, name, sent[name], first[name] if each is at_two else 1)


def check(record: list[Any], name: str, sent: list[int], first: int) -> None:
    """Each of ``sent`` from ``first`` on is in the record, or a gap comes after those before it."""
    numbers = [each[1] for each in record if each != "gap" and each[0] == name]
    assert numbers == sorted(set(numbers)), "in order, and once"
    begin = first
    if "gap" in record:
        last_gap = len(record) - 1 - record[::-1].index("gap")
        told_up_to = max((each[1] for each in record[:last_gap] if each[0] == name), default=0)
        after = [each[1] for each in record[last_gap:] if each != "gap" and each[0] == name]
        # What is missing lies before the first message that came behind the last gap.
        begin = min(after) if after else told_up_to + 1
    missing = set(range(max(first, begin), sent[-1] + 1)) - set(numbers)
    assert not missing, (name, missing, begin)
