"""Run by a Python that has the client's own distribution and nothing of the gateway: what works there.

Usage: client_environment.py URL
"""

from __future__ import annotations

import asyncio
import sys

from fanout_gateway_client import Client

import gateway.client

URL = sys.argv[1]


async def asynchronous() -> None:
    assert gateway.client.Client is Client
    async with Client(URL) as client, client.subscribe("orders/#") as orders:
        published = await client.publish("orders/1", {"a": [1, None, "ä"]})
        message = await anext(orders)
        assert (message.id, message.data) == (published.id, {"a": [1, None, "ä"]})
        async with client.state("devices/#") as state:
            assert not state.stale


asyncio.run(asyncio.wait_for(asynchronous(), 60))
print("done")
