"""`/v1/streams`: what is told of streams, and pages of them, over a store in memory."""

import asyncio

import anyio
import httpx2
import pytest
from starlette.applications import Starlette

from gateway.auth.credentials import Credentials
from gateway.auth.principal import AcceptEveryone
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.following.reading import StreamReader
from gateway.engine.following.stream_overview import StreamOverview
from gateway.engine.group_administration import GroupAdministration
from gateway.engine.groups import Groups
from gateway.engine.metrics.refusals import Refusals
from gateway.http_api.authentication import request_authenticator
from gateway.http_api.problems import exception_handlers
from gateway.http_api.streams import StreamRoutes
from gateway.streams.memory import MemoryStore
from tests.patience import HANG_SECONDS
from tests.unit.lasting import lasting_requests

STREAMS = StreamMap(
    [StreamConfiguration("orders", "orders/#", max_messages=3), StreamConfiguration("audit", "audit/+")]
)
NOW = 1_700_000_000_000


class Door:
    """The routes over a store, and a client of them."""

    def __init__(self, store, streams):
        self.store = store
        self.reader = StreamReader(store, streams)
        authenticate = request_authenticator(AcceptEveryone(), Credentials(lambda _host, _origin: False))
        routes = StreamRoutes(
            streams,
            overview=StreamOverview(store, streams),
            reader=self.reader,
            authenticate=authenticate,
            administrator=authenticate,
            lasting=lasting_requests(),
            topic_limits=TopicLimits(),
            groups=GroupAdministration(
                Groups(None if store is None else store.groups, Refusals()),
                streams,
                topic_limits=TopicLimits(),
            ),
        ).routes()
        self.app = Starlette(routes=routes, exception_handlers=exception_handlers())
        transport = httpx2.ASGITransport(self.app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://gateway.test")

    async def append(self, *topics, data=b"1", **fields):
        for topic in topics:
            await self.store.append("orders", Publication(topic, "m", 0, data, **fields))

    async def get(self, path="/orders/messages", status=200, **parameters):
        parameters = {name.rstrip("_"): value for name, value in parameters.items()}
        response = await self.client.get("/v1/streams" + path, params=parameters)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture
async def door():
    store = MemoryStore(STREAMS, clock=lambda: NOW)
    await store.start()
    door = Door(store, STREAMS)
    yield door
    await door.client.aclose()
    await store.stop()


async def test_every_stream_is_described(door):
    await door.append(*["orders/x"] * 5)
    orders, audit = (await door.get(""))["streams"]
    again = await door.get("/orders")
    assert orders | {"oldest_age_ms": again["oldest_age_ms"]} == again
    assert (orders["name"], orders["filter"], orders["max_messages"]) == ("orders", "orders/#", 3)
    assert (orders["max_age"], orders["dedupe_window"]) == (604800.0, 120.0)
    assert (orders["last_values"], orders["last_values_kept"]) == (False, 0)
    assert (orders["last_values_max_topics"], orders["last_values_max_age"]) == (100_000, 0.0)
    assert (orders["first"], orders["last"], orders["messages"]) == (3, 5, 3)
    assert (orders["first_time"], orders["last_time"], orders["groups"]) == (NOW, NOW, [])
    assert orders["bytes"] > 0
    assert orders["oldest_age_ms"] > 0
    assert orders["epoch"]
    assert (audit["first"], audit["last"], audit["messages"], audit["bytes"]) == (1, 0, 0, 0)
    assert (audit["first_time"], audit["oldest_age_ms"]) == (None, None)


async def test_messages_have_the_fields_of_the_protocol(door):
    await door.append("orders/x", data=b'{"total": 1.0}', content_type="application/json", headers={"a": "b"})
    await door.store.append("orders", Publication("orders/y", "n", 0, None, b"\0", key="k"))
    page = await door.get()
    epoch = page["epoch"]
    assert page == {
        "stream": "orders", "epoch": epoch, "first": 1, "last": 2, "next": 3,
        "messages": [
            {"topic": "orders/x", "id": "m", "time": NOW, "content_type": "application/json",
             "headers": {"a": "b"}, "stream": "orders", "offset": 1, "data": {"total": 1.0}},
            {"topic": "orders/y", "id": "n", "time": NOW, "key": "k", "stream": "orders", "offset": 2,
             "data_base64": "AA=="},
        ],
    }  # fmt: skip


async def test_a_reader_goes_on_from_next(door):
    await door.append("orders/a", "orders/b", "orders/c")
    first = await door.get(limit=2)
    rest = await door.get(from_=first["next"], epoch=first["epoch"])
    assert [message["topic"] for message in first["messages"] + rest["messages"]] == [
        "orders/a", "orders/b", "orders/c",
    ]  # fmt: skip
    assert "gap" not in first | rest


async def test_what_is_missing_is_told(door):
    await door.append(*["orders/x"] * 5)
    page = await door.get(from_=1)
    assert (page["gap"], page["messages"][0]["offset"]) == ({"reason": "trimmed", "from": 1, "to": 2}, 3)
    page = await door.get(from_=6, epoch="another")
    assert (page["gap"], page["messages"][0]["offset"]) == ({"reason": "epoch"}, 3)


@pytest.mark.parametrize(
    ("start", "offsets"),
    [("earliest", [1, 2, 3]), ("new", []), ("2", [2, 3]), ("last:1", [3]), (f"time:{NOW + 1}", []),
     (f"time:{NOW}", [1, 2, 3]), ('{"last": 2}', [2, 3]), ('{"offset": 3}', [3]), ("last_per_topic:1", [3]),
     ('{"last_per_topic": 2}', [2, 3])],
)  # fmt: skip
async def test_every_start_is_taken(door, start, offsets):
    await door.append(*["orders/x"] * 3)
    assert [message["offset"] for message in (await door.get(from_=start))["messages"]] == offsets


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"from": "0"}, "bad_command"),
        ({"from": "later"}, "bad_command"),
        ({"from": "last_per_topic:1001"}, "bad_command"),
        ({"from": "last_per_topic"}, "bad_command"),
        ({"limit": "0"}, "bad_command"),
        ({"limit": "1001"}, "bad_command"),
        ({"limit": "x"}, "bad_command"),
        ({"wait": "31"}, "bad_command"),
        ({"wait": "-1"}, "bad_command"),
        ({"wait": "nan"}, "bad_command"),
        ({"epoch": "e"}, "bad_command"),
        ({"epoch": "", "from": "1"}, "bad_command"),
        ({"epoch": "e" * 257, "from": "1"}, "bad_command"),
        ({"filter": "orders/#/x"}, "bad_filter"),
        ({"filter": ""}, "bad_filter"),
        ({"filter": "audit/x"}, "bad_filter"),
    ],
)
async def test_a_wrong_parameter_is_refused(door, parameters, code):
    response = await door.client.get("/v1/streams/orders/messages", params=parameters)
    assert (response.status_code, response.json()["code"]) == (400, code), response.text


async def test_topics_are_listed_in_order(door):
    await door.append("orders/b", "orders/a", "orders/b")
    first = await door.get("/orders/topics", limit=1)
    assert first == {
        "topics": [{"topic": "orders/a", "first": 2, "last": 2, "time": NOW, "last_value": False}],
        "next": "orders/a",
    }
    second = await door.get("/orders/topics", after=first["next"], filter="orders/+")
    assert [each["topic"] for each in second["topics"]] == ["orders/b"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"after": "a/#"}, "bad_topic"),
        ({"filter": "audit/+"}, "bad_filter"),
        ({"limit": "0"}, "bad_command"),
        ({"wait": "1"}, "bad_command"),
    ],
)
async def test_a_wrong_question_about_topics_is_refused(door, parameters, code):
    assert (await door.get("/orders/topics", 400, **parameters))["code"] == code


@pytest.mark.parametrize(
    "path", ["/other", "/other/messages", "/Orders", "/orders%00/messages", "/other/topics"]
)
async def test_an_unknown_stream_is_not_found(door, path):
    assert (await door.get(path, 404))["code"] == "not_found"


async def test_without_streams_there_is_nothing_to_list_or_read():
    door = Door(None, StreamMap())
    assert await door.get("") == {"streams": []}
    assert (await door.get("/orders", 404))["code"] == "not_found"
    assert (await door.get("/orders/messages", 404))["code"] == "not_found"
    await door.client.aclose()


@pytest.mark.parametrize("path", ["", "/orders", "/orders/messages", "/orders/messages?wait=5"])
async def test_a_store_that_is_away_is_unavailable(door, path):
    await door.store.stop()
    assert (await door.get(path, 503))["code"] == "unavailable"


async def test_a_long_poll_is_answered_as_soon_as_there_is_something(door):
    pages = []

    async def poll():
        pages.append(await door.get(from_="new", wait=30, filter="orders/b"))

    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(poll)
            await anyio.wait_all_tasks_blocked()
            await door.append("orders/a", "orders/b")
    assert [message["topic"] for message in pages[0]["messages"]] == ["orders/b"]


async def for_ever(*_, **__):
    await anyio.sleep_forever()


@pytest.mark.parametrize("query", [b"wait=30&from=new", b"from=1"])
async def test_a_read_ends_when_its_client_has_gone(door, query):
    door.store.read = for_ever
    gone, sent = asyncio.Event(), []

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": "/v1/streams/orders/messages",
        "raw_path": b"/v1/streams/orders/messages", "query_string": query, "headers": [],
        "root_path": "", "scheme": "http", "server": ("gateway.test", 80), "client": ("192.0.2.1", 1),
    }  # fmt: skip
    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(door.app, scope, receive, send)
            await anyio.wait_all_tasks_blocked()
            gone.set()
    assert sent[0]["status"] == 204
