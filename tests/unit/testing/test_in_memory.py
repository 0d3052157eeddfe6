"""The fixture ``gateway``: what was published and delivered, a clock that is moved, faults on demand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from gateway.client import Gap
from gateway.embed import Gateway, Group, Identity, NotRunning, Stream
from gateway.embed.running import APPLICATION
from gateway.errors import (
    BadFilter,
    BusUnavailable,
    GatewayError,
    NotPermitted,
    StreamUnavailable,
    Unauthenticated,
)
from gateway.testing import InMemoryGateway
from tests.patience import HANG_SECONDS

kept = pytest.mark.gateway(
    streams=[
        Stream(
            "orders",
            filter="orders/#",
            max_age="1h",
            groups=[Group("billing", ack_wait="30s", backoff=["10s"])],
        ),
    ]
)


def data(messages) -> list[object]:
    return [each.data for each in messages]


# What was published and delivered


async def test_what_was_published_and_delivered_is_told(gateway) -> None:
    async with gateway.client() as client, client.subscribe("orders/#"):
        await gateway.publish("orders/eu", {"id": 1})
        assert (await gateway.http.post("/v1/topics/orders/us", json={"id": 2})).is_success
        await client.publish("elsewhere", b"\x00")
        await gateway.settled()
        assert data(gateway.published()) == [{"id": 1}, {"id": 2}, b"\x00"]
        assert data(gateway.published("orders/+")) == [{"id": 1}, {"id": 2}]
        assert data(gateway.delivered(client)) == [{"id": 1}, {"id": 2}]
        assert data(gateway.delivered(client, "orders/us")) == [{"id": 2}]
        with pytest.raises(BadFilter):
            gateway.published("orders/#/x")
    with pytest.raises(ValueError, match="not connected"):
        gateway.delivered(client)


async def test_each_test_has_a_gateway_of_its_own(gateway) -> None:
    assert gateway.published() == []
    assert gateway.embedded.running


@kept
async def test_repeats_and_refusals_are_no_publications(gateway) -> None:
    for _ in range(2):
        await gateway.publish("orders/1", 1, idempotency_key="one")
    with pytest.raises(GatewayError):
        await gateway.publish("orders/#", 1)
    [message] = gateway.published()
    assert (message.stream, message.offset) == ("orders", 1)


@kept
async def test_history_and_deliveries_of_groups_count_as_delivered(gateway) -> None:
    await gateway.publish("orders/1", 1)
    async with gateway.client() as reader, reader.subscribe("orders/#", start="earliest"):
        await gateway.settled()
        assert data(gateway.delivered(reader)) == [1]
    async with gateway.client() as worker, worker.consume("orders", group="billing") as work:
        await gateway.settled()
        assert data(gateway.delivered(worker)) == [1]
        await (await anext(work)).ack()


async def test_what_never_settles_is_told_in_time(gateway) -> None:
    async def chatter() -> None:
        while True:
            await gateway.publish("a", 1)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chatter)
        with pytest.raises(TimeoutError, match="coming and going"):
            await gateway.settled(0.1)
        tasks.cancel_scope.cancel()


# The clock


@kept
async def test_leases_run_out(gateway) -> None:
    await gateway.publish("orders/1", 1)
    async with gateway.client() as client, client.consume("orders", group="billing") as work:
        with anyio.fail_after(HANG_SECONDS):
            first = await anext(work)
            await gateway.clock.move(29)
            assert len(gateway.delivered(client)) == 1
            await gateway.clock.move(2)
            assert len(gateway.delivered(client)) == 1  # nobody hurries: the group's backoff begins
            await gateway.clock.move(timedelta(seconds=11))
            assert len(gateway.delivered(client)) == 2
            again = await anext(work)
        assert (first.attempt, again.attempt) == (1, 2)
        await again.ack()


@kept
async def test_what_is_delayed_comes(gateway) -> None:
    async with gateway.client() as client, client.consume("orders", group="billing"):
        await gateway.publish("orders/1", 1, delay=600)
        await gateway.settled()
        assert gateway.delivered(client) == []
        await gateway.clock.move(601)
        assert data(gateway.delivered(client)) == [1]


@kept
async def test_retention_lets_go(gateway) -> None:
    await gateway.publish("orders/1", 1)
    await gateway.clock.move(3500)
    await gateway.publish("orders/1", 2)
    await gateway.clock.move(200)
    found = (await gateway.http.get("/v1/streams/orders/messages")).json()
    assert data(gateway.published()) == [1, 2]
    assert [each["data"] for each in found["messages"]] == [2]


async def test_windows_end(gateway) -> None:
    window = gateway.embedded._settings.limits.idempotency_window
    for _ in range(2):
        await gateway.publish("a", 1, idempotency_key="one")
    await gateway.clock.move(window + 1)
    await gateway.publish("a", 1, idempotency_key="one")
    assert len(gateway.published()) == 2


async def test_messages_bear_its_time_through_every_door(gateway) -> None:
    async with gateway.client() as client:
        for _ in range(3):  # what is known of a topic is used from the second time on
            await gateway.publish("a", 1)
            await client.publish("a", 1)
            await gateway.http.post("/v1/topics/a", json=1)
        await gateway.clock.move(timedelta(days=1))
        later = gateway.clock.now() - timedelta(seconds=1)
        await gateway.publish("a", 2)
        gateway._node.publisher.submit_plain("a", b"2", APPLICATION)
        await client.publish("a", 2)
        await gateway.http.post("/v1/topics/a", json=2)
        await gateway.settled()
    assert [each.data for each in gateway.published() if each.time > later] == [2, 2, 2, 2]


async def test_credentials_end(gateway) -> None:
    expires = gateway.clock.now() + timedelta(hours=1)
    async with gateway.client(Identity("alice", publish=["#"], expires=expires)) as client:
        await gateway.clock.move(3500)
        await client.publish("a", 1)
        await gateway.clock.move(200)
        with pytest.raises(Unauthenticated):
            await client.publish("a", 2)


async def test_a_clock_never_goes_back(gateway) -> None:
    with pytest.raises(ValueError, match="forward"):
        await gateway.clock.move(-1)


# Faults


@kept
async def test_the_store_goes_away_and_comes_back(gateway) -> None:
    async with gateway.client() as client, client.subscribe("orders/#"):
        with gateway.store_away():
            with pytest.raises(StreamUnavailable):
                await gateway.publish("orders/1", 1)
            assert (await gateway.http.get("/v1/streams/orders/messages")).status_code == 503
            await gateway.publish("live", 1)
            await gateway.settled()
        await gateway.publish("orders/1", 2)
        await gateway.settled()
        assert data(gateway.delivered(client)) == [2]
        assert (await gateway.http.get("/v1/streams/orders/messages")).status_code == 200


async def test_without_streams_there_is_no_store_to_take_away(gateway) -> None:
    with pytest.raises(ValueError, match="no streams"), gateway.store_away():
        pass


async def test_the_bus_is_cut_and_mended(gateway) -> None:
    async with gateway.client() as client, client.subscribe("a", gaps=True) as messages:
        with gateway.bus_cut(), pytest.raises(BusUnavailable):
            await gateway.publish("a", 1)
        await gateway.publish("a", 2)
        with anyio.fail_after(HANG_SECONDS):
            gap, message = await anext(messages), await anext(messages)
        assert isinstance(gap, Gap)
        assert gap.reason == "bus"
        assert message.data == 2


async def test_a_slow_consumer_gets_what_its_policy_keeps(gateway) -> None:
    async with gateway.client() as client, client.subscribe("a", overflow="latest"):
        with gateway.slow_consumer(client):
            for number in range(5):
                await gateway.publish("a", number)
            await gateway.settled()
            assert gateway.delivered(client) == []
        await gateway.settled()
        assert data(gateway.delivered(client)) == [4]


async def test_a_slow_consumer_is_dismissed_in_the_end(gateway) -> None:
    async with gateway.client() as client, client.subscribe("a"):
        session = client.welcome.session
        with gateway.slow_consumer(client):
            await gateway.publish("a", 1)
            await gateway.clock.move(gateway.embedded._settings.limits.write_timeout + 1)
            with pytest.raises(ValueError, match="not connected"):
                gateway.delivered(session)


# An application


def board(**options) -> tuple[Starlette, Gateway]:
    gateway = Gateway(**options)

    async def post(request: Request) -> PlainTextResponse:
        await gateway.publish("notices/main", request.query_params["text"], content_type="text/plain")
        return PlainTextResponse(request.state.greeting)

    @asynccontextmanager
    async def lifespan(app):
        async with gateway.lifespan(app):
            yield {"greeting": "thanks"}

    routes = [Route("/notices", post, methods=["POST"]), Mount("/realtime", gateway)]
    return Starlette(routes=routes, lifespan=lifespan), gateway


class TestOfAnApplication:
    @pytest.fixture
    def gateway_application(self, tmp_path) -> Starlette:
        app, _ = board(
            streams=[Stream("notices", filter="notices/#")], store={"url": f"sqlite:{tmp_path}/streams.db"}
        )
        return app

    async def test_it_runs_with_its_lifespan_and_leaves_nothing_behind(self, gateway, tmp_path) -> None:
        assert (await gateway.http.post("/notices?text=hello")).text == "thanks"
        assert (await gateway.http.get("/realtime/readyz")).status_code == 200
        assert data(gateway.published("notices/main")) == ["hello"]
        assert list(tmp_path.iterdir()) == []


class TestOfAGateway:
    @pytest.fixture
    def gateway_application(self) -> Gateway:
        async def who(connection: HTTPConnection) -> str | None:
            return connection.headers.get("x-user")

        return Gateway(authenticate=who, authorize=lambda principal, action, name: name == principal.subject)

    async def test_its_own_authorize_decides(self, gateway) -> None:
        async with gateway.client("alice") as client:
            await client.publish("alice", 1)
            with pytest.raises(NotPermitted):
                await client.publish("bob", 1)
        assert (await gateway.http.post("/v1/topics/bob", json=1, headers={"x-user": "bob"})).is_success
        assert (await gateway.http.post("/v1/topics/bob", json=1)).status_code == 401
        assert [each.topic for each in gateway.published()] == ["alice", "bob"]


async def test_an_application_that_does_not_start_says_why() -> None:
    async def broken(scope, receive, send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    gateway = Gateway()
    failing = gateway.mount(broken, "/realtime")
    with pytest.raises(RuntimeError, match="no database"):
        await InMemoryGateway(failing).start()
    assert not gateway.running


async def test_an_application_whose_lifespan_leaves_the_gateway_out_is_told_so() -> None:
    gateway = Gateway()
    kit = InMemoryGateway(Starlette(routes=[Mount("/realtime", gateway)]))
    await kit.start()
    with pytest.raises(NotRunning, match="never started"):
        await kit.publish("a", 1)
    with pytest.raises(RuntimeError, match="has not started its gateway"):
        await kit.settled()
    await kit.stop()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no gateway in"):
        InMemoryGateway(Starlette())
    with pytest.raises(ValueError, match="brings its own settings"):
        InMemoryGateway(Gateway(), {"streams": []})
