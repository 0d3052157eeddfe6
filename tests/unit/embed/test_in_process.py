"""What an application hears of its own gateway: the same as any client, without a socket."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.client import Gap
from gateway.embed import Gateway, NotRunning, Outgoing, Principal, Stream, permissions
from gateway.errors import NotPermitted
from gateway.testing.embedded import client_of
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAMS = [Stream("orders", filter="orders/#", last_values=True, groups=[{"name": "billing"}])]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway(
        streams=STREAMS, store={"url": "memory:"}, limits={"outbox_messages": 10, "outbox_bytes": "256KiB"}
    )
    async with within(), gateway.lifespan():
        yield gateway


@asynccontextmanager
async def within() -> AsyncIterator[None]:
    async with asyncio.timeout(HANG_SECONDS):
        yield


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110 - of the loop's next turns
        await asyncio.sleep(0)


def sessions(gateway: Gateway) -> int:
    return len(gateway._run().services.sessions.open)


async def test_a_subscription_is_iterated_over(gateway: Gateway) -> None:
    heard = []

    async def listen() -> None:
        async for message in gateway.subscribe("live/+"):
            heard.append((message.topic, message.data))
            if len(heard) == 2:
                return

    listening = asyncio.create_task(listen())
    await until(lambda: gateway._run().node.hub.statistics().subscriptions)
    await gateway.publish("live/1", {"a": 1})
    await gateway.publish("other", 0)
    await gateway.publish("live/2", b"bytes")
    await listening
    assert heard == [("live/1", {"a": 1}), ("live/2", b"bytes")]
    gc.collect()
    await until(lambda: not sessions(gateway))


async def test_history_and_positions_are_those_of_any_client(gateway: Gateway) -> None:
    for number in range(5):
        await gateway.publish("orders/1", number)
    async with gateway.subscribe("orders/#", start={"last": 2}) as messages:
        assert [(await anext(messages)).data for _ in range(2)] == [3, 4]
        positions = messages.positions
    await gateway.publish("orders/1", 5)
    async with gateway.subscribe("orders/#", resume=positions) as messages:
        assert (await anext(messages)).data == 5


async def test_a_state_follows(gateway: Gateway) -> None:
    await gateway.publish("orders/1/status", "open")
    async with gateway.state("orders/+/status") as state:
        assert {topic: message.data for topic, message in state.items()} == {"orders/1/status": "open"}
        changes = aiter(state)
        await gateway.publish("orders/2/status", "new")
        assert (await anext(changes)).topic == "orders/2/status"
        assert len(state) == 2


async def test_a_client_has_all_that_the_library_has(gateway: Gateway) -> None:
    async with gateway.client() as client, client.subscribe("a") as messages:
        assert client.welcome is not None
        await client.publish("a", "by the client")
        assert (await anext(messages)).data == "by the client"
        assert await client.ping() >= 0


async def test_one_that_is_slow_is_bounded_and_holds_up_nobody(gateway: Gateway) -> None:
    body = "x" * 8192
    async with (
        gateway.subscribe("flood", gaps=True, buffer=1, overflow="drop_oldest") as slow,
        gateway.subscribe("flood") as quick,
    ):
        for number in range(500):
            await gateway.publish("flood", [number, body])
            assert (await anext(quick)).data[0] == number
        held = max(each.waiting_bytes for each in _facts(gateway))
        assert held <= 256 * 1024
        got, dropped = [], 0
        while not got or got[-1] < 499:
            item = await anext(slow)
            if isinstance(item, Gap):
                assert item.reason == "overflow"
                dropped += item.dropped
            else:
                got.append(item.data[0])
    assert dropped > 400
    assert len(got) + dropped == 500
    assert got == sorted(got)


async def test_one_that_is_slow_loses_nothing_of_a_stream(gateway: Gateway) -> None:
    body = "x" * 8192
    async with gateway.subscribe("orders/#", buffer=1) as slow:
        for number in range(200):
            await gateway.publish("orders/1", [number, body])
        assert max(each.waiting_bytes for each in _facts(gateway)) <= 256 * 1024
        assert [(await anext(slow)).data[0] for _ in range(200)] == list(range(200))


def _facts(gateway: Gateway):
    return [each.facts() for each in gateway._run().services.sessions.open.values()]


async def test_administrators_see_it(gateway: Gateway) -> None:
    async with gateway.subscribe("a"):
        [facts] = _facts(gateway)
        assert (facts.transport, facts.peer, facts.subject, facts.subscriptions) == (
            "in_process",
            "in process",
            "$application",
            1,
        )


async def test_a_bad_filter_is_refused(gateway: Gateway) -> None:
    with pytest.raises(Exception, match="must be the last level"):
        async with gateway.subscribe("#/a"):
            pass
    await until(lambda: not sessions(gateway))
    with pytest.raises(Exception, match="must be the last level"):
        async for _ in gateway.subscribe("#/a"):
            pass
    await until(lambda: not sessions(gateway))


async def test_loops_end_with_the_gateway() -> None:
    gateway, heard = Gateway(), []

    async def listen() -> str:
        async for message in gateway.subscribe("a"):
            heard.append(message.data)  # noqa: PERF401 - one by one, as they come
        return "ended"

    async with within():
        async with gateway.lifespan():
            listening = asyncio.create_task(listen())
            await until(lambda: gateway._run().node.hub.statistics().subscriptions)
            await gateway.publish("a", 1)
            await until(lambda: heard)
        assert await listening == "ended"
    with pytest.raises(NotRunning):
        gateway.subscribe("a")


async def test_a_loop_thrown_away_leaves_nothing(gateway: Gateway) -> None:
    async def listen() -> None:
        async for _ in gateway.subscribe("a"):
            pass

    listening = asyncio.create_task(listen())
    await until(lambda: gateway._run().node.hub.statistics().subscriptions)
    listening.cancel()
    await asyncio.wait([listening])
    await until(lambda: not sessions(gateway))
    await until(lambda: gateway._run()._tasks == set())


async def test_a_member_of_a_group_works_and_gives_back_what_it_leaves(gateway: Gateway) -> None:
    await gateway.publish_many([Outgoing("orders/eu", number) for number in range(4)])
    async for delivery in gateway.consume("orders", group="billing", credit=4):
        async with delivery:
            assert delivery.message.data == 0
        break
    done = []
    async with gateway.consume("orders", group="billing") as deliveries:
        async for delivery in deliveries:
            assert delivery.attempt == 1, "what was given back does not count"
            async with delivery:
                done.append(delivery.message.data)
            if len(done) == 3:
                break
    assert done == [1, 2, 3]
    await until(lambda: not sessions(gateway))


@pytest.mark.parametrize("use", ["client", "subscribe", "state", "consume"])
async def test_wherever_it_is_cancelled_nothing_is_left(gateway: Gateway, use: str) -> None:
    uses = {
        "client": gateway.client,
        "subscribe": lambda: gateway.subscribe("orders/#", start="earliest"),
        "state": lambda: gateway.state("orders/#"),
        "consume": lambda: gateway.consume("orders", group="billing"),
    }

    async def open_it() -> None:
        async with uses[use]():
            pass

    for turns in range(30):
        opening = asyncio.create_task(open_it())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
    await until(lambda: not sessions(gateway))
    await until(lambda: gateway._run()._tasks == set())


async def test_a_loop_ends_once_it_is_not_allowed_any_more() -> None:
    allowed = {"rooms/5", "rooms/6"}
    gateway = Gateway(authenticate=lambda _: None, authorize=lambda _, action, name: name in allowed)
    async with (
        within(),
        gateway.lifespan(),
        client_of(gateway, "ann") as client,
        client.subscribe("rooms/5") as ending,
        client.subscribe("rooms/6") as lasting,
    ):
        allowed.remove("rooms/5")
        assert await gateway.forget("ann") == 1
        with pytest.raises(NotPermitted, match="rooms/5"):
            await anext(ending)
        await gateway.publish_many([("rooms/5", 1), ("rooms/6", 2)])
        assert (await anext(lasting)).data == 2
        await gateway.unsubscribe_for("ann", "rooms/6")
        with pytest.raises(NotPermitted, match="rooms/6"):
            await anext(lasting)


async def test_many_may_be_looked_at_anew_together(monkeypatch) -> None:
    monkeypatch.setattr(permissions, "_MOST_ASKED", 40)
    answering, asked = asyncio.Event(), []
    answering.set()

    async def may(principal: Principal, _action: str, _name: str) -> bool:
        await answering.wait()
        asked.append(principal.subject)
        return True

    gateway = Gateway(authenticate=lambda _: None, authorize=may)
    names = [f"user {number}" for number in range(60)]
    async with within(), gateway.lifespan(), AsyncExitStack() as stack:
        for name in names:
            client = await stack.enter_async_context(client_of(gateway, name))
            await stack.enter_async_context(client.subscribe("rooms/5"))
        asked.clear()
        answering.clear()
        for name in names:
            assert await gateway.forget(name) == 1
        await asyncio.sleep(0)
        answering.set()
        await until(lambda: len(asked) == len(names))
        for name in names:
            assert await gateway.unsubscribe_for(name, "rooms/5") == 1
