"""A client that stops reading loses nothing that a stream holds, and is not disconnected for it.

Spec: docs/protocol.md, "Overflow" and "History".
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.patience import HANG_SECONDS

from .raw_client import RawClient, bystander, command, raw_client, subscribe, until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

MIB = 1024 * 1024
FILLER = "x" * 700
LAST_OFFSET = 'gateway_stream_last_offset{stream="orders"}'
SETTINGS = """
limits.commands_per_second = 1000000
limits.outbox_messages = 500
limits.outbox_bytes = "512KiB"
limits.write_timeout = "1s"
limits.ping_interval = "10m"
store.url = "memory:"
[[streams]]
name = "orders"
filter = "orders/#"
max_messages = 200000
"""


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, way=request.param)


async def publish(gateway: RunningGateway, numbers: range, topic: str) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=30) as http:
        for start in range(numbers.start, numbers.stop, 1000):
            part = range(start, min(start + 1000, numbers.stop))
            items = [{"topic": topic, "data": {"n": number, "filler": FILLER}} for number in part]
            answer = await http.post("/v1/publish", json=items)
            assert all("offset" in result for result in answer.json()["results"])


async def messages(client: RawClient, count: int) -> list[dict[str, Any]]:
    """The next ``count`` events, all of them messages."""
    events = [await client.event() for _ in range(count)]
    assert {event["op"] for event in events} == {"message"}
    return events


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["n"] for event in events]


def get(gateway: RunningGateway, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(gateway.url + path, timeout=HANG_SECONDS) as response:
        found: dict[str, Any] = json.load(response)
    return found


def waiting(gateway: RunningGateway) -> list[int]:
    """How many publications wait for each connection."""
    listed = get(gateway, "/v1/connections")
    return [each["waiting_messages"] for each in listed["connections"]]


def slowest(gateway: RunningGateway) -> dict[str, Any]:
    """The connection that takes nothing, or takes least."""
    listed = get(gateway, "/v1/connections?order=slow&limit=1")
    (found,) = listed["connections"]
    described: dict[str, Any] = found
    return described


def is_let_go(gateway: RunningGateway) -> bool:
    """Whether one takes nothing, and nothing waits for it, nor for any other."""
    return slowest(gateway)["blocked_ms"] is not None and waiting(gateway) == [0, 0]


def described(gateway: RunningGateway, session: str) -> dict[str, Any]:
    return get(gateway, f"/v1/connections/{session}")


async def test_a_client_that_stops_reading_under_load_gets_everything_and_is_live_again(gateway) -> None:
    topic, count = f"orders/{time.time_ns()}", 16_000
    async with bystander(gateway), raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, topic)
        before = gateway.rss()
        await publish(gateway, range(count // 2), topic)
        await until(lambda: gateway.metric("gateway_spills_total") >= 1)
        # After `write_timeout` what waited is let go, and the connection stays.
        await until(lambda: is_let_go(gateway))
        shown = described(gateway, slowest(gateway)["session"])
        (subscription,) = shown["filters"]
        assert (subscription["filter"], subscription["state"]) == (topic, "spilled")
        assert subscription["positions"] == shown["positions"]
        assert shown["positions"]["orders"]["offset"] > 0
        assert shown["positions"]["orders"]["offset"] < gateway.metric(LAST_OFFSET)
        await publish(gateway, range(count // 2, count), topic)
        # What the stream itself holds in memory is most of this.
        assert gateway.rss() - before < 60 * MIB
        # The bystander may be late too, until it has caught up.
        await until(lambda: gateway.metric("gateway_slow_consumers") == 1)
        assert "4408" not in gateway.output()
        events = await messages(client, count)
        assert numbers(events) == list(range(count))
        assert not any("filter" in event for event in events)
        offsets = [event["offset"] for event in events]
        assert offsets == list(range(offsets[0], offsets[0] + count))
        await until(lambda: gateway.metric("gateway_behind") == 0)
        await publish(gateway, range(count, count + 10), topic)
        assert numbers(await messages(client, 10)) == list(range(count, count + 10))
        await client.send(command(op="ping"))
        assert (await client.event())["op"] == "pong"


async def test_one_that_returns_resumes_where_it_was(gateway) -> None:
    topic = f"orders/{time.time_ns()}"
    async with raw_client(gateway) as client:
        await client.send(command(op="subscribe", filter=topic))
        reply = await client.event()
        await publish(gateway, range(5), topic)
        events = await messages(client, 5)
    position = {"epoch": reply["positions"]["orders"]["epoch"], "offset": events[2]["offset"]}
    await publish(gateway, range(5, 10), topic)
    async with raw_client(gateway) as client:
        await client.send(command(op="subscribe", filter=topic, resume={"orders": position}))
        reply = await client.event()
        assert (reply["recovered"], reply["positions"]) == (True, {"orders": position})
        history = await messages(client, 7)
        assert numbers(history) == list(range(3, 10))
        assert {event["filter"] for event in history} == {topic}
        assert await client.event() == {"op": "caught_up", "filter": topic}
        await publish(gateway, range(10, 12), topic)
        live = await messages(client, 2)
        assert numbers(live) == [10, 11]
        assert not any("filter" in event for event in live)


async def test_history_and_a_live_subscription_that_overlaps_do_not_mix(gateway) -> None:
    topic = f"orders/{time.time_ns()}"
    await publish(gateway, range(3000), topic)
    async with raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, topic)
        # Until it is answered, what is published may be among the newest.
        await subscribe(client, "orders/+", from_={"last": 3000})
        await publish(gateway, range(3000, 3100), topic)
        history, live, caught_up = [], [], 0
        while not live or live[-1] != 3099 or not caught_up:
            event = await client.event()
            if event["op"] == "caught_up":
                caught_up = len(live) or 1
            elif event["op"] == "message" and "filter" in event:
                assert not caught_up
                history.append(event["data"]["n"])
            elif event["op"] == "message":
                live.append(event["data"]["n"])
        assert live == list(range(3000, 3100))
        assert history[:3000] == list(range(3000))
        # What came with the filter and what came without is the whole, for the one that read.
        assert history == list(range(len(history)))


async def test_a_page_of_json_is_what_the_codec_says(gateway) -> None:
    topic = f"orders/{time.time_ns()}"
    data = {"text": "ü\n", "list": [1, 2.50, None]}
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=HANG_SECONDS) as http:
        await http.post(
            f"/v1/topics/{topic}", content=json.dumps(data), headers={"content-type": "application/json"}
        )
    async with raw_client(gateway) as client:
        await client.send(command(op="subscribe", filter=topic, from_={"last": 1}))
        await client.event()
        message = await client.event()
        assert (message["topic"], message["data"], message["filter"]) == (topic, data, topic)
