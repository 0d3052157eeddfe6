"""Server-sent events of a real gateway: what comes, coming back with an id, and the end.

Spec: docs/http.md, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest

from gateway.core.topics.grammar import matches
from tests.event_stream import EventStreamReader
from tests.patience import HANG_SECONDS

from .event_client import EventClient, events
from .raw_client import until

if TYPE_CHECKING:
    from tests.event_stream import ServerSentEvent

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
limits.ping_interval = "1s"
limits.outbox_messages = 200
streams = [{ name = "orders", filter = "orders/#" }, { name = "payments", filter = "payments/#" }]
"""


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, way=request.param)


async def publish(node: RunningGateway, *items: tuple[str, Any]) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient(timeout=30) as http:
        body = [{"topic": topic, "data": data} for topic, data in items]
        answer = await http.post(f"{node.url}/v1/publish", json=body)
        results: list[dict[str, Any]] = answer.json()["results"]
    assert all("id" in result for result in results)
    return results


async def subscribed(client: EventClient, count: int = 1) -> list[ServerSentEvent]:
    assert client.status == 200
    assert (await client.hear()).name == "welcome"
    found = [await client.hear() for _ in range(count)]
    assert {event.name for event in found} == {"subscribed"}
    return found


async def test_the_response_is_a_stream_that_nobody_keeps(gateway) -> None:
    async with events(gateway, "quiet") as client:
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store"
        assert client.headers["x-accel-buffering"] == "no"
        welcome = await client.hear()
        assert (welcome.name, welcome.data["authenticated"]) == ("welcome", True)
        assert 1000 <= (client.events.retry or 0) <= 4000
        while not client.events.comments:
            await client.read()


async def test_http_1_0_gets_events_without_chunks(module_gateway_process) -> None:
    gateway = module_gateway_process(SETTINGS)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /v1/events?filter=old HTTP/1.0\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(HANG_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert b"\r\nconnection: close" in head
        events_read = EventStreamReader()
        found = events_read.feed(b"")
        while not any(event.name == "subscribed" for event in found):
            found += events_read.feed(await reader.read(65536))
        await publish(gateway, ("old", 1))
        while found[-1].name != "message":
            found += events_read.feed(await reader.read(65536))
        assert found[-1].data["data"] == 1
        gateway.terminate()
        while data := await reader.read(65536):
            found += events_read.feed(data)
        assert found[-1].name == "goaway"
    writer.close()
    gateway.wait()


async def test_live_and_kept_messages_come_once_whatever_matches(gateway) -> None:
    async with events(gateway, "live/#", "live/+", "orders/#", "#") as client:
        confirmed = await subscribed(client, 4)
        assert {event.data["filter"] for event in confirmed} == {"live/#", "live/+", "orders/#", "#"}
        (stored, _) = await publish(gateway, ("orders/a", {"n": 1}), ("live/a", "two\nlines"))
        both = {event.data["topic"]: event for event in [await client.hear(), await client.hear()]}
        assert both["orders/a"].data["offset"] == stored["offset"]
        assert both["live/a"].data["data"] == "two\nlines"
        assert "filter" not in both["live/a"].data
        assert both["orders/a"].last_id.startswith("1!")


async def test_history_comes_first_and_is_marked(gateway) -> None:
    results = await publish(gateway, ("orders/h", 1), ("orders/h", 2))
    for start in ("last:2", results[0]["offset"], f'{{"last": {2}}}'):
        async with events(gateway, "orders/#", from_=start) as client:
            await subscribed(client)
            history = [await client.hear(), await client.hear()]
            assert [event.data["offset"] for event in history] == [result["offset"] for result in results]
            assert {event.data["filter"] for event in history} == {"orders/#"}
            assert (await client.hear()).data == {"op": "caught_up", "filter": "orders/#"}


async def test_an_id_resumes_and_wins_over_from_in_a_header_or_the_address(gateway) -> None:
    async with events(gateway, "orders/r", "live/r") as client:
        await subscribed(client, 2)
        await publish(gateway, ("orders/r", 0))
        last_id = (await client.hear()).last_id
    missed = await publish(gateway, ("orders/r", 1), ("live/r", 1), ("orders/r", 2))
    for how in ({"last_id": last_id}, {"last_event_id": last_id}):
        async with events(gateway, "orders/r", "live/r", from_="earliest", **how) as client:
            found = {event.data["filter"]: event.data for event in await subscribed(client, 2)}
            # What is live can't be had again, so nothing is said of it.
            assert (found["orders/r"]["recovered"], found["live/r"]["recovered"]) == (True, None)
            heard = [await client.hear_op("message"), await client.hear_op("message")]
            assert [event.data["offset"] for event in heard] == [missed[0]["offset"], missed[2]["offset"]]
            assert (await client.hear_op("caught_up")).data["filter"] == "orders/r"


UNUSABLE = ["42", "1!orders:another:1", "1!gone:e:1", "\xff" * 20, "1!" + "x" * 9000]


@pytest.mark.parametrize("last_id", UNUSABLE)
async def test_an_id_from_which_nothing_can_be_had_begins_anew_and_says_so(gateway, last_id: str) -> None:
    before = gateway.metric("gateway_event_streams_resumed_total")
    async with events(gateway, "orders/#", last_id=last_id) as client:
        (event,) = await subscribed(client)
        assert event.data["recovered"] is False
        assert event.data["positions"].keys() == {"orders"}
    assert gateway.metric("gateway_event_streams_resumed_total") == before + 1


class Follower:
    """A client of two overlapping subscriptions that is cut off again and again, anywhere.

    Attributes:
        given: what each subscription got: stream and offset.
        last_id: what it comes back with.
    """

    def __init__(self, node: RunningGateway, seed: int) -> None:
        self._node = node
        self._chance = random.Random(seed)
        self.given: dict[str, list[tuple[str, int]]] = {"orders/#": [], "+/even": []}
        self.last_id = ""
        self._replaying: set[str] = set()

    async def connect(self) -> None:
        """Read in bites of any size, then end in the middle of something."""
        self._replaying.clear()
        async with events(self._node, *self.given, last_id=self.last_id) as client:
            for _ in range(self._chance.randint(2, 80)):
                with anyio.move_on_after(0.1) as quiet:
                    await client.read(self._chance.choice([1, 7, 60, 300, 4000]))
                if quiet.cancelled_caught:
                    break
            for event in client.cut():
                self._take(event)

    def _take(self, event: ServerSentEvent) -> None:
        self.last_id = event.last_id
        data = event.data
        if event.name == "message":
            live = [each for each in self.given if each not in self._replaying]
            matched = [each for each in live if matches(each, data["topic"])]
            for each in [data["filter"]] if "filter" in data else matched:
                self.given[each].append((data["stream"], data["offset"]))
        elif event.name == "subscribed":
            assert data["recovered"] is not False
            self._replaying |= {data["filter"]} if data["recovered"] else set()
        elif event.name == "caught_up":
            self._replaying.remove(data["filter"])
        else:
            assert event.name == "welcome", event


async def publish_kinds(node: RunningGateway, count: int) -> dict[str, list[tuple[str, int]]]:
    """Publish to both streams in turn, a few at a time; what each subscription has to get."""
    wanted: dict[str, list[tuple[str, int]]] = {"orders/#": [], "+/even": []}
    for first in range(0, count, 5):
        topics = [
            f"{('orders', 'payments')[number % 2]}/{'even' if number % 3 else 'odd'}"
            for number in range(first, first + 5)
        ]
        for topic, result in zip(topics, await publish(node, *[(each, 1) for each in topics]), strict=True):
            for each, all_of_it in wanted.items():
                if matches(each, topic):
                    all_of_it.append((result["stream"], result["offset"]))
    return wanted


async def test_cut_off_anywhere_nothing_of_two_streams_is_missing_and_nothing_comes_twice(gateway) -> None:
    follower, wanted = Follower(gateway, seed=11), dict[str, list[tuple[str, int]]]()
    with anyio.fail_after(3 * HANG_SECONDS):
        while not follower.last_id:
            await follower.connect()

        async def publish_all() -> None:
            wanted.update(await publish_kinds(gateway, 400))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish_all)
            for _ in range(8):
                await follower.connect()
        while any(len(follower.given[each]) < len(wanted[each]) for each in wanted):
            await follower.connect()
    for each, all_of_it in wanted.items():
        for stream in ("orders", "payments"):
            assert of_stream(stream, follower.given[each]) == of_stream(stream, all_of_it)


def of_stream(stream: str, given: list[tuple[str, int]]) -> list[int]:
    return [offset for name, offset in given if name == stream]


async def test_a_connection_is_one_of_all(gateway) -> None:
    # Those of other tests have been left, which it learns in its own time.
    await until(lambda: gateway.metric("gateway_event_streams") == 0)
    async with events(gateway, "a", "b") as client:
        session = (await client.hear()).data["session"]
        async with httpx2.AsyncClient(base_url=gateway.url) as http:
            listed = (await http.get("/v1/connections?limit=1000")).json()["connections"]
            (facts,) = [each for each in listed if each["session"] == session]
            assert (facts["transport"], facts["subscriptions"]) == ("sse", 2)
            assert gateway.metric("gateway_event_streams") == 1
            assert (await http.delete(f"/v1/connections/{session}")).status_code == 204
        *_, last = await client.end()
        assert (last.name, last.data["fatal"]) == ("error", True)
    await until(lambda: gateway.metric("gateway_event_streams") == 0)


@pytest.mark.parametrize(
    ("filters", "query", "code"),
    [
        ([], {}, "bad_command"),
        ([f"f/{number}" for number in range(101)], {}, "bad_command"),
        (["a/#/b"], {}, "bad_filter"),
        (["a"], {"from": "yesterday"}, "bad_command"),
        (["#"], {"from": "5"}, "bad_command"),
        (["a"], {"overflow": "explode"}, "bad_command"),
        (["a"], {"access_token": "x"}, None),
    ],
)
async def test_what_makes_no_sense_is_refused_before_the_stream(gateway, filters, query, code) -> None:
    async with events(gateway, *filters, **query) as client:
        if code is None:
            assert client.status == 200
        else:
            assert (client.status, client.headers["content-type"]) == (400, "application/problem+json")
            assert f'"code":"{code}"'.encode() in await client.body()


async def test_head_says_what_get_would_begin_with(gateway) -> None:
    async with events(gateway, "a", method="HEAD") as client:
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream")


async def test_a_slow_reader_of_a_stream_gets_all_in_order(gateway) -> None:
    async with events(gateway, "orders/slow", receive_buffer=4096) as client:
        await subscribed(client)
        results = []
        for _ in range(10):
            results += await publish(gateway, *[("orders/slow", "x" * 2000)] * 500)
        for result in results:
            event = await client.hear()
            assert event.data.get("offset") == result["offset"], event


async def test_a_slow_reader_of_live_topics_is_told_what_it_lost(gateway) -> None:
    async with events(gateway, "live/slow", overflow="drop_oldest", receive_buffer=4096) as client:
        await subscribed(client)
        for _ in range(10):
            await publish(gateway, *[("live/slow", "x" * 2000)] * 500)
        await publish(gateway, ("live/slow", "last"))
        messages = dropped = 0
        event = await client.hear()
        while event.data.get("data") != "last":
            messages += event.name == "message"
            dropped += event.data["dropped"] if event.name == "gap" else 0
            event = await client.hear()
        assert dropped > 0
        assert messages + dropped == 5000
