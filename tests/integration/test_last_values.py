"""Last values of a real gateway: snapshots and what follows them, at every door, while publishers go on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.integration.event_client import events
from tests.integration.outage import PATIENT_REDIS
from tests.integration.test_stream_subscriptions import client, say, take
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
[limits]
commands_per_second = 0

[origins]
allow = ["https://app.example"]

[store]
url = "memory:"

[[streams]]
name = "devices"
filter = "devices/#"
max_messages = 20
last_values = true

[[streams]]
name = "orders"
filter = "orders/#"
"""
TOPICS = [f"devices/{number}/state" for number in range(12)]
NDJSON = {"accept": "application/x-ndjson"}
LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(params=["memory", "sqlite"])
def node(gateway_process: StartGateway, request: pytest.FixtureRequest, tmp_path: Path) -> RunningGateway:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/streams.db"
    return gateway_process(SETTINGS.replace("memory:", url))


@pytest.fixture
async def http(node: RunningGateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=node.url, timeout=HANG_SECONDS) as client:
        yield client


class View:
    """What is shown of the last values: changed by each message, whole with ``caught_up``."""

    def __init__(self, messages: list[dict[str, Any]] = ()) -> None:  # type: ignore[assignment]
        self.shown: dict[str, Any] = {}
        for message in messages:
            self.change(message)

    def change(self, message: dict[str, Any]) -> None:
        if message.get("deleted"):
            self.shown.pop(message["topic"], None)
        else:
            self.shown[message["topic"]] = message["data"]

    async def catch_up(self, websocket: ClientConnection, *, while_published: bool = False) -> None:
        while (frame := await take(websocket))["op"] != "caught_up":
            self.hear(frame, while_published=while_published)

    def hear(self, frame: dict[str, Any], *, while_published: bool = False) -> None:
        if while_published and frame["op"] == "gap":
            # Its log is short, and publishers may be faster: then there is nothing else to tell.
            assert frame["reason"] == "trimmed", frame
        else:
            assert frame["op"] == "message", frame
            self.change(frame)


async def state(http: httpx2.AsyncClient) -> dict[str, Any]:
    answer = (await http.get("/v1/snapshot?filter=devices/%23")).json()
    return View(answer["messages"]).shown


async def publish_for_a_while(http: httpx2.AsyncClient, rounds: int) -> None:
    """Change and delete values in turn, so that logs are trimmed and values replaced meanwhile."""
    for number in range(rounds):
        topic = TOPICS[number * 7 % len(TOPICS)]
        items = [{"topic": topic, "deleted": True}] if number % 5 == 4 else [{"topic": topic, "data": number}]
        items.append({"topic": "devices/clock", "data": number})
        answer = await http.post("/v1/publish", json=items)
        assert all("offset" in each for each in answer.json()["results"]), answer.text


async def test_a_view_that_joins_while_publishers_go_on_is_the_state(
    node: RunningGateway, http: httpx2.AsyncClient
) -> None:
    await publish_for_a_while(http, 40)
    publishing = asyncio.create_task(publish_for_a_while(http, 150))
    views = []
    while not publishing.done():
        async with client(node) as websocket:
            reply = await say(websocket, op="subscribe", filter="devices/#", **{"from": "snapshot"})
            assert (reply["op"], reply["recovered"]) == ("subscribed", None)
            view = View()
            await view.catch_up(websocket, while_published=True)
            # Nothing was published behind this, or it comes.
            end = (await http.get("/v1/topics/devices/clock")).json()
            while view.shown.get("devices/clock", -1) < end:
                view.hear(await take(websocket), while_published=True)
            views.append(view)
        await asyncio.sleep(0)
    await publishing
    assert views
    async with client(node) as websocket:
        await say(websocket, op="subscribe", filter="devices/#", **{"from": "snapshot"})
        last = View()
        await last.catch_up(websocket)
    assert last.shown == await state(http)


@pytest.mark.parametrize("headers", [{}, NDJSON])
async def test_what_was_rendered_from_a_snapshot_goes_on_from_its_position(
    node: RunningGateway, http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    await publish_for_a_while(http, 40)
    publishing = asyncio.create_task(publish_for_a_while(http, 8))
    answer = await http.get("/v1/snapshot?filter=devices/%23", headers=headers)
    if headers:
        *messages, last = map(json.loads, answer.text.splitlines())
        position = last["position"]
    else:
        messages, position = answer.json()["messages"], answer.json()["position"]
    await publishing
    view = View(messages)
    async with client(node) as websocket:
        reply = await say(websocket, op="subscribe", filter="devices/#", resume=position)
        assert (reply["recovered"], reply["positions"]) == (True, position)
        await view.catch_up(websocket)
    assert view.shown == await state(http)


async def test_who_lost_the_connection_in_a_snapshot_begins_anew_and_who_had_it_goes_on(
    node: RunningGateway, http: httpx2.AsyncClient
) -> None:
    await publish_for_a_while(http, 40)
    start = {"op": "subscribe", "filter": "devices/#", "from": "snapshot"}
    view = View()
    async with client(node) as websocket:
        position = (await say(websocket, **start))["positions"]
        await view.catch_up(websocket)
    await publish_for_a_while(http, 5)
    async with client(node) as websocket:
        reply = await say(websocket, **start, resume=position)
        assert reply["recovered"] is True
        await view.catch_up(websocket)
        assert view.shown == await state(http)
    # What can't be gone on with comes again, all of it.
    position["devices"]["epoch"] = "another"
    async with client(node) as websocket:
        reply = await say(websocket, **start, resume=position)
        assert reply["recovered"] is False
        assert (await take(websocket))["reason"] == "epoch"
        again = View()
        await again.catch_up(websocket)
        assert again.shown == view.shown


async def test_server_sent_events_begin_with_a_snapshot_and_go_on_by_their_id(
    node: RunningGateway, http: httpx2.AsyncClient
) -> None:
    await publish_for_a_while(http, 40)
    async with events(node, "devices/#", from_="snapshot") as stream:
        view, whole = View(), False
        while not whole:
            event = await stream.hear()
            if event.name == "message":
                assert event.last_id == "", "whoever is cut off here must begin anew"
                view.change(event.data)
            whole = event.name == "caught_up"
        assert event.last_id != ""
        assert view.shown == await state(http)
    await publish_for_a_while(http, 5)
    async with events(node, "devices/#", from_="snapshot", last_id=event.last_id) as stream:
        assert (await stream.hear_op("subscribed")).data["recovered"] is True
        while (again := await stream.hear()).name != "caught_up":
            assert "snapshot" not in again.data
            view.change(again.data)
    assert view.shown == await state(http)


async def test_a_snapshot_is_the_same_on_every_node(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    redis = f'[redis]\nurl = "{redis_server.url}"\n{PATIENT_REDIS}'
    settings = SETTINGS.replace('[store]\nurl = "memory:"', redis)
    one, other = gateway_process(settings), gateway_process(settings)
    async with (
        httpx2.AsyncClient(base_url=one.url, timeout=HANG_SECONDS) as here,
        httpx2.AsyncClient(base_url=other.url, timeout=HANG_SECONDS) as there,
    ):
        publishing = [asyncio.create_task(publish_for_a_while(http, 60)) for http in (here, there)]
        while not all(each.done() for each in publishing):
            for node in (one, other):
                async with client(node) as websocket:
                    await say(websocket, op="subscribe", filter="devices/#", **{"from": "snapshot"})
                    await View().catch_up(websocket, while_published=True)
        await asyncio.gather(*publishing)
        expected = await state(here)
        assert await state(there) == expected
        last = max(expected["devices/clock"], 0)
        for node in (one, other):
            async with client(node) as websocket:
                await say(websocket, op="subscribe", filter="devices/#", **{"from": "snapshot"})
                view = View()
                await view.catch_up(websocket)
                assert view.shown["devices/clock"] == last
                assert view.shown == expected


async def test_any_number_of_last_values_comes_as_lines(
    node: RunningGateway, http: httpx2.AsyncClient
) -> None:
    count = 5000
    for start in range(0, count, 500):
        numbers = range(start, start + 500)
        body = b"".join(b'{"topic":"devices/many/%d","data":%d}\n' % (number, number) for number in numbers)
        async with asyncio.timeout(HANG_SECONDS):
            # What a store takes too long for is answered so, and is to be published again.
            while (await http.post("/v1/publish", content=body, headers=LINES)).json()["accepted"] < 500:
                pass
    last_offset = (await http.get("/v1/streams/devices")).json()["last"]
    refused = await http.get("/v1/snapshot?filter=devices/%23")
    assert (refused.status_code, refused.json()["code"]) == (413, "too_many")
    lines = 0
    async with http.stream("GET", "/v1/snapshot?filter=devices/%23", headers=NDJSON) as response:
        async for line in response.aiter_lines():
            lines += 1
            last = line
    assert lines == count + 1
    assert json.loads(last)["position"]["devices"]["offset"] == last_offset >= count
    async with client(node) as websocket:
        await say(websocket, op="subscribe", filter="devices/many/+", **{"from": "snapshot"})
        view = View()
        await view.catch_up(websocket)
    assert len(view.shown) == count


async def test_pages_of_allowed_origins_may_read_and_delete_and_others_may_not_delete(
    http: httpx2.AsyncClient,
) -> None:
    topic = "/v1/topics/devices/1/state"
    page, foreign = {"origin": "https://app.example"}, {"origin": "https://evil.example"}
    assert (await http.request("DELETE", topic, headers=foreign)).status_code == 403
    assert (await http.post(topic, content=b"on", headers=page)).status_code == 201
    value = await http.get(topic, headers=page)
    assert value.headers["access-control-allow-origin"] == "https://app.example"
    exposed = {each.strip() for each in value.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"ETag", "Gateway-Position"}
    for method in ("DELETE", "HEAD"):
        asked = {"access-control-request-method": method, "access-control-request-headers": "authorization"}
        assert (await http.options(topic, headers=page | asked)).status_code == 200
    assert (await http.request("DELETE", topic, headers=page)).status_code == 201
    assert (await http.get(topic, headers=page)).status_code == 404
