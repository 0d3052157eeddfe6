"""A gateway inside an application, without a server: lifespan, prefix, what is published in process."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import pytest
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from gateway import errors
from gateway.client import NoAnswer, PartlyPublished
from gateway.embed import (
    Gateway,
    Group,
    InvalidSettings,
    NotRunning,
    Outgoing,
    SomeNotPublished,
    Stream,
    WrongEventLoop,
)
from gateway.embed import running as module
from gateway.errors import GatewayError
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

    from gateway.embed.running import RunningGateway

HOST = "http://localhost"


@dataclass
class Total:
    total: int


KEPT: dict[str, Any] = {"streams": [Stream("orders", filter="orders/#")], "store": {"url": "memory:"}}


def mounted(gateway: Gateway, prefix: str = "/realtime") -> TestClient:
    app = Starlette(routes=[Mount(prefix, gateway)], lifespan=gateway.lifespan)
    return TestClient(app, base_url=HOST)


# Settings


def test_keyword_arguments_are_checked_as_settings_are() -> None:
    with pytest.raises(InvalidSettings) as refused:
        Gateway(
            limits={"message_byte": 5, "topic_levels": "many"},
            streams=[
                Stream("orders", filter="a/#/b"),
                Stream("x", filter="x", groups=[Group("g", ack_wait="soon")]),
            ],
        )
    text = "\n".join(refused.value.problems)
    assert "unknown key 'message_byte' in [limits]; did you mean message_bytes" in text
    assert "limits.topic_levels" in text
    assert "streams[0].filter" in text
    assert "streams[1].groups[0].ack_wait" in text


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="unknown key 'limit'; did you mean limits"):
        Gateway(limit={})  # type: ignore[call-arg]


def test_streams_of_several_processes_are_kept_in_the_redis_that_joins_them() -> None:
    redis, streams = "redis://127.0.0.1:1/0", [Stream("orders", filter="orders/#")]
    for workers in (1, 2):
        Gateway(streams=streams).join(redis, workers=workers)
        with pytest.raises(InvalidSettings, match=r"store.url 'sqlite:own.db' and redis.url exclude"):
            Gateway(streams=streams, store={"url": "sqlite:own.db"}).join(redis, workers=workers)
    with pytest.raises(InvalidSettings, match=r"need server.workers = 1"):
        Gateway(streams=streams).join(redis, workers=2, keeps=False)
    Gateway().join(redis, workers=2, keeps=False)


def test_what_a_part_refuses_is_refused_when_the_gateway_is_made() -> None:
    with pytest.raises(InvalidSettings, match=r"auth.keys\[0\]"):
        Gateway(auth={"mode": "required", "keys": [{"algorithm": "HS256", "secret": "short"}]})


def test_a_settings_file_serves_too_and_arguments_win_over_it(tmp_path, monkeypatch) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[limits]\nmessage_bytes = 100\ntopic_levels = 3\n[server]\nconsole = false\n")
    monkeypatch.setenv("GATEWAY_LIMITS__TOPIC_LEVELS", "4")
    limits = Gateway(file, limits={"message_bytes": "1KiB"})._settings.limits
    assert (limits.message_bytes, limits.topic_levels) == (1024, 4)
    assert Gateway()._settings.limits.topic_levels == 32  # nothing from the surroundings without a file
    with pytest.raises(InvalidSettings, match=r"Gateway\(…\): limits.message_bytes"):
        Gateway(file, limits={"message_bytes": "much"})
    with pytest.raises(InvalidSettings, match="there is no such file"):
        Gateway(tmp_path / "none.toml")


# Mounted


def test_everything_keeps_the_prefix() -> None:
    gateway = Gateway(**KEPT)
    with mounted(gateway, "/deep/realtime") as client:
        assert client.post("/deep/realtime/v1/topics/orders/1", json=1).json()["offset"] == 1
        assert client.post("/v1/topics/orders/1", json=1).status_code == 404
        assert client.get("/deep/realtime/openapi.json").json()["servers"] == [{"url": "/deep/realtime"}]
        [channel] = client.get("/deep/realtime/asyncapi.json").json()["channels"].values()
        assert channel["address"] == "/deep/realtime/v1/ws"
        assert client.get("/deep/realtime/readyz").json() == {"status": "ready"}
        console = client.get("/deep/realtime")
        assert console.url.path == "/deep/realtime/"
        assert 'src="/' not in console.text
        assert 'href="/' not in console.text
        found = client.get("/deep/realtime/v1/streams/orders/messages").headers
        assert found["cache-control"] == "no-store"  # as what is under /v1 has it
        with client.websocket_connect("ws://localhost/deep/realtime/v1/ws") as socket:
            assert socket.receive_json()["op"] == "welcome"
        missing = client.get("/deep/realtime/v1/nowhere")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_an_application_keeps_its_own_lifespan_and_routes() -> None:
    events: list[str] = []
    gateway = Gateway()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        async with gateway.lifespan(app):
            await gateway.publish("begun", 1)
            events.append("begun")
            yield {"own": "state"}
            await gateway.publish("ending", 1)
        events.append("ended")

    async def own(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.own)

    app = Starlette(routes=[Route("/own", own), Mount("/realtime", gateway)], lifespan=lifespan)
    with TestClient(app, base_url=HOST) as client:
        assert client.get("/own").text == "state"
        assert events == ["begun"]
    assert events == ["begun", "ended"]


def test_a_gateway_lives_again_with_each_lifespan() -> None:
    gateway = Gateway(**KEPT)
    for _ in range(2):
        with mounted(gateway) as client:
            assert client.post("/realtime/v1/topics/orders/1", json=1).json()["offset"] == 1


def test_a_gateway_by_itself_is_an_application_with_a_lifespan() -> None:
    with TestClient(Gateway(), base_url=HOST) as client:
        assert client.post("/v1/topics/a", json=1).status_code == 202


def test_it_is_mounted_beside_what_mounts_nothing() -> None:
    events: list[str] = []

    async def bare(scope, receive, send) -> None:
        assert scope["type"] != "lifespan", "this application has none"
        events.append(scope["path"])
        await PlainTextResponse("bare")(scope, receive, send)

    gateway = Gateway()
    with TestClient(gateway.mount(bare, "/realtime/"), base_url=HOST) as client:
        assert client.get("/else").text == "bare"
        assert client.get("/realtimes").text == "bare"
        assert client.post("/realtime/v1/topics/a", json=1).status_code == 202
        assert client.get("/realtime").url.path == "/realtime/"
    assert events == ["/else", "/realtimes"]
    with pytest.raises(ValueError, match="begins with '/'"):
        gateway.mount(bare, "realtime")


def test_mounted_beside_an_application_it_runs_around_its_lifespan() -> None:
    events: list[str] = []
    gateway = Gateway()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.publish("begun", 1)
        yield
        events.append((await gateway.publish("ending", 1)).id)

    with TestClient(gateway.mount(Starlette(lifespan=lifespan), "/realtime"), base_url=HOST):
        assert events == []
    assert len(events) == 1

    @asynccontextmanager
    async def failing(_: Starlette) -> AsyncIterator[None]:
        raise ZeroDivisionError("at the start")
        yield

    with (
        pytest.raises(ZeroDivisionError),
        TestClient(gateway.mount(Starlette(lifespan=failing), "/realtime"), base_url=HOST),
    ):
        pass


# Published in process


class Order(BaseModel):
    total: Decimal
    placed: datetime


class Renamed(BaseModel):
    count: int = Field(serialization_alias="n")


@dataclass
class Line:
    id: UUID
    orders: list[Order]


NUMBER = UUID(int=5)
MOMENT = datetime(2030, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        ({"a": [1, None, True, 1.5, "ä"]}, None, {"data": {"a": [1, None, True, 1.5, "ä"]}}),
        (None, None, {"data": None}),
        ("text", None, {"data": "text"}),
        ("text", "text/plain", {"data": "text", "content_type": "text/plain"}),
        (b"\x00\xff", None, {"data_base64": "AP8="}),
        (b"[1]", "application/json", {"data": [1], "content_type": "application/json"}),
        (
            Order(total=Decimal("1.50"), placed=MOMENT),
            None,
            {"data": {"total": "1.50", "placed": "2030-01-02T00:00:00Z"}},
        ),
        (
            {"lines": (Line(NUMBER, [Order(total=Decimal(2), placed=MOMENT)]),)},
            None,
            {
                "data": {
                    "lines": [
                        {"id": str(NUMBER), "orders": [{"total": "2", "placed": "2030-01-02T00:00:00Z"}]}
                    ]
                }
            },
        ),
        (Renamed(count=1), None, {"data": {"n": 1}}),
        ({1: MOMENT, NUMBER: {"set"}}, None, {"data": {"1": "2030-01-02T00:00:00Z", str(NUMBER): ["set"]}}),
    ],
)
async def test_what_can_be_published(data, content_type, expected) -> None:
    gateway = Gateway(**KEPT)
    async with gateway.lifespan():
        published = await gateway.publish("orders/1", data, content_type=content_type)
        assert (published.stream, published.offset) == ("orders", 1)
        with_it = await _messages(gateway)
    shown = {name: with_it[0][name] for name in ("data", "data_base64", "content_type") if name in with_it[0]}
    assert shown == expected


async def _messages(gateway: Gateway, stream: str = "orders") -> list[dict[str, Any]]:
    """What a stream holds, over HTTP as everybody reads it."""
    transport = httpx2.ASGITransport(gateway)
    async with httpx2.AsyncClient(transport=transport, base_url=HOST) as client:
        return (await client.get(f"/v1/streams/{stream}/messages")).json()["messages"]


async def test_options_travel_with_a_message() -> None:
    gateway = Gateway(**KEPT)
    async with gateway.lifespan():
        first = await gateway.publish(
            "orders/1", 1, headers={"who": "me"}, key="k", id="label", idempotency_key="once"
        )
        again = await gateway.publish("orders/1", 1, headers={"who": "me"}, idempotency_key="once")
        assert first == again
        with pytest.raises(errors.Conflict):
            await gateway.publish("orders/1", 2, idempotency_key="once")
        assert (await gateway.publish("orders/2", 2, delay=timedelta(seconds=1))).offset == 2
        assert (await gateway.delete("orders/1")).offset == 3
        [message, _, deletion] = await _messages(gateway)
        assert (message["headers"], message["key"], message["id"]) == ({"who": "me"}, "k", "label")
        assert deletion["deleted"] is True


@pytest.mark.parametrize(
    ("topic", "data", "options", "error"),
    [
        ("a/+", 1, {}, errors.BadTopic),
        ("$own", 1, {}, errors.BadTopic),
        ("a", object(), {}, errors.BadCommand),
        ("a", float("nan"), {}, errors.BadCommand),
        ("a", "\ud800", {}, errors.BadCommand),
        ("a", "x" * 70_000, {}, errors.TooLarge),
        ("a", b"x" * 70_000, {}, errors.TooLarge),
        ("a", 1, {"content_type": "text/plain"}, errors.BadCommand),
        ("a", 1, {"content_type": "ä"}, errors.BadCommand),
        ("a", 1, {"headers": {"": "x"}}, errors.BadCommand),
        ("a", 1, {"headers": {"n": 5}}, errors.BadCommand),
        ("a", 1, {"key": ""}, errors.BadCommand),
        ("a", 1, {"idempotency_key": "k" * 257}, errors.BadCommand),
        ("a", 1, {"delay": -1}, errors.BadCommand),
        ("a", 1, {"delay": 1}, errors.BadCommand),  # no stream captures it
    ],
)
async def test_what_is_refused_says_why(topic, data, options, error) -> None:
    gateway = Gateway()
    async with gateway.lifespan():
        with pytest.raises(error):
            await gateway.publish(topic, data, **options)


async def test_many_are_published_in_order_and_each_has_its_result() -> None:
    gateway = Gateway(**KEPT)
    async with gateway.lifespan():
        done = await gateway.publish_many([("orders/1", 1), Outgoing("orders/2", 2, key="k")])
        assert [each.offset for each in done] == [1, 2]
        with pytest.raises(SomeNotPublished, match="1 of 3 messages were not published") as some:
            await gateway.publish_many([("orders/1", 3), ("+", 4), ("orders/1", 5)])
        assert isinstance(some.value, PartlyPublished)
        [third, wrong, fourth] = some.value.results
        assert (third.offset, fourth.offset) == (3, 4)
        assert isinstance(wrong, errors.BadTopic)


async def test_many_may_end_what_topics_have_and_be_put_off() -> None:
    kept = Stream("orders", filter="orders/#", last_values=True)
    gateway = Gateway(streams=[kept], store={"url": "memory:"})
    async with gateway.lifespan(), gateway.client() as client:
        messages = [
            ("orders/1", 1),
            Outgoing("orders/1", deleted=True),
            Outgoing("orders/2", 2, delay=timedelta(seconds=1)),
        ]
        assert len(await gateway.publish_many(messages)) == 3
        await client.publish("orders/3", 3, delay=timedelta(seconds=1))
        async with gateway.state("orders/+") as state:
            assert {topic: each.data for topic, each in state.items()} == {"orders/2": 2, "orders/3": 3}


async def test_what_is_heard_is_made_what_the_program_says() -> None:
    gateway = Gateway(**KEPT)
    async with gateway.lifespan(), gateway.subscribe("orders/+", model=Total) as heard:
        await gateway.publish("orders/1", {"total": 7})
        assert (await anext(aiter(heard))).data == Total(7)


async def test_threads_publish_too() -> None:
    gateway = Gateway(**KEPT)
    async with gateway.lifespan():
        published = await asyncio.to_thread(gateway.publish_sync, "orders/1", {"from": "a thread"})
        assert published.offset == 1
        with pytest.raises(errors.BadTopic):
            await asyncio.to_thread(gateway.publish_sync, "#", 1)
        with pytest.raises(WrongEventLoop, match="await publish there"):
            gateway.publish_sync("orders/1", 1)


async def test_a_thread_that_gets_no_answer_is_told_that_nobody_knows(monkeypatch) -> None:
    monkeypatch.setattr(module, "_SYNC_SECONDS", 0.01)
    gateway, outcome = Gateway(), []

    def publish() -> None:
        try:
            gateway.publish_sync("a", 1)
        except GatewayError as error:
            outcome.append(error)

    async with gateway.lifespan():
        thread = threading.Thread(target=publish)
        thread.start()
        thread.join()  # the event loop does nothing else meanwhile
    assert [type(each) for each in outcome] == [NoAnswer]


def test_a_thread_that_publishes_after_the_loop_was_closed_is_told(recwarn) -> None:
    gateway = Gateway()

    async def live() -> RunningGateway | None:
        async with gateway.lifespan():
            return gateway._running

    gateway._running = asyncio.run(live())  # as a thread has found it just before
    with pytest.raises(NotRunning):
        gateway.publish_sync("a", 1)
    gc.collect()
    assert [str(each.message) for each in recwarn if "never awaited" in str(each.message)] == []


# Used wrongly


def on_disk(directory: Path) -> dict[str, object]:
    """A store on a disk that others use too."""
    return {"url": f"sqlite:{directory}/one.db", "timeout": HANG_SECONDS}


async def test_entered_twice_at_once_it_says_so(tmp_path) -> None:
    gateway = Gateway(**KEPT | {"store": on_disk(tmp_path)})

    async def live() -> None:
        async with gateway.lifespan():
            await gateway.publish("orders/1", 1)

    outcomes = await asyncio.gather(live(), live(), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), NotRunning]
    await live()


async def test_a_thread_without_an_event_loop_is_told() -> None:
    gateway = Gateway(**KEPT)
    async with gateway.lifespan():
        for use in (
            lambda: gateway.subscribe("a"),
            lambda: gateway.state("orders/#"),
            lambda: gateway.consume("orders", group="g"),
            gateway.client,
        ):
            with pytest.raises(WrongEventLoop):
                await asyncio.to_thread(use)


def test_mounted_without_its_lifespan_it_says_so() -> None:
    with TestClient(Starlette(routes=[Mount("/realtime", Gateway())]), base_url=HOST) as client:
        answer = client.post("/realtime/v1/topics/a", json=1)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "lifespan=gateway.lifespan" in answer.json()["detail"]


async def test_before_its_start_and_after_its_end_it_says_so() -> None:
    gateway = Gateway()
    with pytest.raises(NotRunning, match="was never started"):
        await gateway.publish("a", 1)
    with pytest.raises(NotRunning, match="was never started"):
        gateway.publish_sync("a", 1)
    async with gateway.lifespan():
        with pytest.raises(NotRunning, match="runs already"):
            async with gateway.lifespan():
                pass
        await gateway.publish("a", 1)
    with pytest.raises(NotRunning, match="has ended"):
        await gateway.publish("a", 1)


async def test_another_event_loop_is_told_from_its_own() -> None:
    gateway = Gateway()

    def elsewhere() -> None:
        asyncio.run(gateway.publish("a", 1))

    async with gateway.lifespan():
        with pytest.raises(WrongEventLoop, match="threads use publish_sync"):
            await asyncio.to_thread(elsewhere)


async def test_its_records_are_the_applications_own(caplog) -> None:
    gateway = Gateway()
    with caplog.at_level("INFO"):
        async with gateway.lifespan(), gateway.subscribe("a"):
            pass
    opened = next(each for each in caplog.records if "opened" in each.getMessage())
    assert (opened.name, opened.levelname) == ("gateway", "INFO")
    assert opened.getMessage().startswith("connection opened session=")


async def test_two_gateways_cannot_have_one_store(tmp_path) -> None:
    kept = {"streams": [Stream("orders", filter="orders/#")], "store": on_disk(tmp_path)}
    first, second = Gateway(**kept), Gateway(**kept)
    async with first.lifespan():
        with pytest.raises(errors.StoreUnusable, match=r"one\.db"):
            async with second.lifespan():
                pass
        await first.publish("orders/1", 1)
        with pytest.raises(NotRunning):
            await second.publish("orders/1", 1)
    async with second.lifespan():
        assert (await second.publish("orders/1", 2)).offset == 2


async def test_a_server_without_websockets_is_told_of() -> None:
    gateway = Gateway()
    async with (
        gateway.lifespan(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(gateway), base_url=HOST) as client,
    ):
        answer = await client.get("/v1/ws", headers={"connection": "upgrade", "upgrade": "websocket"})
        assert (answer.status_code, "takes no WebSockets" in answer.json()["detail"]) == (501, True)
        assert (await client.get("/v1/ws")).status_code == 400
