"""Run by a Python that has the client's own distribution and nothing of the gateway: what works there.

Usage: client_environment.py URL [DISTRIBUTION ...]; it says which version of each there is.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from uuid import UUID, uuid4

from fanout_gateway_client import AsyncHttpPublisher, Client, HttpPublisher, SyncClient

import gateway.client

URL = sys.argv[1]


@dataclass
class Order:
    id: UUID
    total: Decimal


async def asynchronous() -> None:
    assert gateway.client.Client is Client
    async with Client(URL) as client, client.subscribe("orders/#") as orders:
        published = await client.publish("orders/1", {"a": [1, None, "ä"]})
        message = await anext(orders)
        assert (message.id, message.data) == (published.id, {"a": [1, None, "ä"]})
        async with client.state("devices/#") as state:
            assert not state.stale

    async with Client(URL) as client, client.subscribe("orders/#", model=Order) as orders:
        order = Order(uuid4(), Decimal("1.10"))
        await client.publish_many([("orders/1", order), ("orders/2", order)])
        async with AsyncHttpPublisher(URL) as publisher:
            await publisher.publish("orders/3", order)
        assert [(await anext(orders)).data for _ in range(3)] == [order] * 3


def blocking() -> None:
    with SyncClient(URL) as client, client.subscribe("orders/#") as orders, HttpPublisher(URL) as publisher:
        client.publish("orders/1", 1)
        publisher.publish_many([("orders/2", 2)])
        assert [orders.receive(60).data for _ in range(2)] == [1, 2]


asyncio.run(asyncio.wait_for(asynchronous(), 60))
blocking()
print("done with", *(f"{name}=={version(name)}" for name in sys.argv[2:]))
