"""The shop's tests, with the kit of docs/testing.md."""

from collections.abc import AsyncIterator

import anyio
import pytest
from packing import pack_orders

from gateway.client import Client
from gateway.errors import Unavailable
from gateway.testing import InMemoryGateway

ORDER = {"region": "eu", "total": 42}


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def worker(gateway: InMemoryGateway) -> AsyncIterator[Client]:
    """A worker at work, in this process."""
    async with gateway.client() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(pack_orders, client)
        await gateway.settled()
        yield client
        tasks.cancel_scope.cancel()


async def test_an_order_is_taken_and_told(gateway: InMemoryGateway) -> None:
    """Whoever listens hears of it."""
    async with gateway.client() as page, page.subscribe("orders/+/+"):
        answer = await gateway.http.post("/orders", json=ORDER)
        await gateway.settled()
        [message] = gateway.delivered(page)
    assert answer.status_code == 201
    assert (message.topic, message.data) == ("orders/eu/created", answer.json())


async def test_what_is_no_order_is_refused(gateway: InMemoryGateway) -> None:
    """And nobody hears of it."""
    assert (await gateway.http.post("/orders", json={"region": "eu/#", "total": 1})).status_code == 422
    assert gateway.published() == []


@pytest.mark.usefixtures("worker")
async def test_orders_are_packed_once(gateway: InMemoryGateway) -> None:
    """Also when they wait for a worker for long."""
    for _ in range(3):
        await gateway.http.post("/orders", json=ORDER)
    await gateway.settled()
    assert len(gateway.published("orders/eu/packed")) == 3
    await gateway.clock.move(3600)
    assert len(gateway.published("orders/eu/packed")) == 3


async def test_an_order_whose_worker_hangs_is_packed_by_another(gateway: InMemoryGateway) -> None:
    """Its lease runs out."""
    await gateway.http.post("/orders", json=ORDER)
    async with gateway.client() as hanging, hanging.consume("orders", group="packing", credit=1):
        await gateway.settled()
        assert len(gateway.delivered(hanging)) == 1
        async with gateway.client() as client, anyio.create_task_group() as tasks:
            tasks.start_soon(pack_orders, client)
            await gateway.clock.move(31)  # the lease is over
            await gateway.clock.move(60)  # and the wait before the next attempt
            assert len(gateway.published("orders/eu/packed")) == 1
            tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("worker")
async def test_what_fits_no_parcel_is_set_aside(gateway: InMemoryGateway) -> None:
    """It is a dead letter, and holds up nobody."""
    await gateway.http.post("/orders", json={"region": "eu", "total": 20_000})
    await gateway.http.post("/orders", json=ORDER)
    await gateway.settled()
    found = await gateway.http.get("/realtime/v1/streams/orders/groups/packing/dead-letters")
    assert [each["data"]["total"] for each in found.json()["items"]] == [20_000]
    assert len(gateway.published("orders/eu/packed")) == 1


async def test_an_order_that_cannot_be_stored_is_not_taken(gateway: InMemoryGateway) -> None:
    """The customer is told, and can try again."""
    with gateway.store_away(), pytest.raises(Unavailable):
        await gateway.http.post("/orders", json=ORDER)
    assert (await gateway.http.post("/orders", json=ORDER)).status_code == 201
