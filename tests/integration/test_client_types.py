"""What a program's own types, loops and deadlines meet: the Python client with a real gateway."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import pydantic
import pytest
from anyio import to_thread
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from gateway.client import (
    Backoff,
    Client,
    ClientClosed,
    CommandTimeout,
    ConnectFailed,
    InvalidData,
    NoAnswer,
    NotSent,
    WrongEventLoop,
)
from tests.patience import HANG_SECONDS

from .scripted_peer import scripted_peer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.05, limit_seconds=0.2)


class Order(pydantic.BaseModel):
    total: Decimal
    by: UUID


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process()


async def test_models_go_in_and_come_out(gateway: RunningGateway) -> None:
    order = Order(total=Decimal("1.10"), by=uuid4())
    async with Client(gateway.url) as client, client.subscribe("typed/#", model=Order) as orders:
        await client.publish("typed/1", order)
        with anyio.fail_after(HANG_SECONDS):
            message = await anext(orders)
    assert (message.topic, message.data) == ("typed/1", order)
    assert message.untyped.data == {"total": "1.10", "by": str(order.by)}


async def test_what_does_not_fit_is_raised_and_the_next_one_follows(gateway: RunningGateway) -> None:
    order = Order(total=Decimal(1), by=uuid4())
    async with Client(gateway.url) as client, client.subscribe("typed/#", model=Order) as orders:
        await client.publish("typed/1", {"total": "none"})
        await client.publish("typed/1", order)
        with anyio.fail_after(HANG_SECONDS):
            with pytest.raises(InvalidData) as caught:
                await anext(orders)
            assert (await anext(orders)).data == order
    assert caught.value.message.data == {"total": "none"}


async def test_what_does_not_fit_is_told_and_passed_over_where_asked(gateway: RunningGateway) -> None:
    told: list[InvalidData] = []
    order = Order(total=Decimal(1), by=uuid4())
    async with (
        Client(gateway.url) as client,
        client.subscribe("typed/#", model=Order, on_invalid=told.append, gaps=True) as orders,
    ):
        for data in ("no", order):
            await client.publish("typed/1", data)
        with anyio.fail_after(HANG_SECONDS):
            item = await anext(orders)
    assert getattr(item, "data", None) == order
    assert [error.message.data for error in told] == ["no"]


async def test_a_publish_carries_the_trace_it_belongs_to(gateway: RunningGateway) -> None:
    span = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    async with Client(gateway.url) as client, client.subscribe("traced/#") as subscription:
        with trace.use_span(NonRecordingSpan(span)):
            await client.publish("traced/1", 1, headers={"x": "1"})
            await client.delete("traced/1")
        await client.publish("traced/1", 2)
        with anyio.fail_after(HANG_SECONDS):
            headers = [(await anext(subscription)).headers for _ in range(3)]
    parent = {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}
    assert headers == [{"x": "1"} | parent, parent, {}]


async def test_another_event_loop_is_told_what_is_wrong(gateway: RunningGateway) -> None:
    async with Client(gateway.url) as client, client.subscribe("a") as subscription:
        state = client.state("b")

        def elsewhere(call: Coroutine[Any, Any, Any]) -> None:
            with pytest.raises(WrongEventLoop, match="opened in another event loop"):
                asyncio.run(call)

        async def loop_over() -> None:
            async for _ in client.subscribe("c"):
                pytest.fail("nothing is published there")

        for call in (
            client.publish("a", 1),
            client.delete("a"),
            client.ping(),
            subscription.__anext__(),
            loop_over(),
            state.__aenter__(),
        ):
            await to_thread.run_sync(elsewhere, call)
        await client.publish("a", 1)
        with anyio.fail_after(HANG_SECONDS):
            assert (await anext(subscription)).data == 1


async def test_a_client_that_is_not_open_says_so_at_once(gateway: RunningGateway) -> None:
    client = Client(gateway.url)
    with pytest.raises(ClientClosed, match="not open"):
        await client.publish("a", 1)
    with pytest.raises(ClientClosed, match="not open"):
        await client.subscribe("a").__aenter__()


async def test_never_sent_is_another_error_than_not_answered() -> None:
    async with scripted_peer() as peer:
        async with Client(peer.url, backoff=QUICK, timeout=HANG_SECONDS) as client:
            peer.answer = lambda command: command["op"] == "publish"
            with pytest.raises(CommandTimeout, match=r"no reply within 0\.2 s"):
                await client.publish("a", 1, timeout=0.2)
            await peer.until(lambda: len(peer.commands) == 1)
            peer.refuse = (503, {})
            await peer.socket.close()
            with anyio.fail_after(HANG_SECONDS):
                while client.welcome is not None:  # noqa: ASYNC110 - the client tells no event of it
                    await anyio.sleep(0.01)
            for call in (
                client.publish("a", 2, timeout=0.2),
                client.publish("a", 2, timeout=0.2, acknowledge=False, idempotency_key="k"),
                client.delete("a", timeout=0.2),
                client.ping(timeout=0.2),
            ):
                with pytest.raises(NotSent, match=r"no connection within 0\.2 s, so it was not sent"):
                    await call
            assert len(peer.commands) == 1
        assert not issubclass(NotSent, NoAnswer)
        assert issubclass(ConnectFailed, NotSent)


async def test_what_was_sent_once_is_never_called_unsent() -> None:
    """A publish with a key that is repeated after a loss, and then finds no connection any more."""
    async with scripted_peer() as peer, Client(peer.url, backoff=QUICK) as client:

        async def vanish(command: dict[str, Any]) -> bool:
            peer.refuse = (503, {})
            await peer.socket.close()
            return True

        peer.answer = vanish
        with pytest.raises(NoAnswer):
            await client.publish("a", 1, idempotency_key="k", timeout=0.5)
        await peer.until(lambda: len(peer.commands) == 1)


async def test_a_subscription_has_a_deadline_of_its_own() -> None:
    async with scripted_peer() as peer, Client(peer.url, backoff=QUICK, timeout=HANG_SECONDS) as client:
        peer.answer = lambda command: command["op"] == "subscribe"
        with pytest.raises(CommandTimeout, match=r"subscribe to 'a': no reply within 0\.2 s"):
            await client.subscribe("a", timeout=0.2).__aenter__()
