"""The worker that packs orders; as many of them as you like share the work.

python packing.py http://127.0.0.1:8000/realtime
"""

import sys

import anyio

from gateway.client import Client, Delivery, GiveUp, Worker

LARGEST = 10_000


async def pack_orders(client: Client) -> None:
    """Pack what comes, until cancelled."""
    worker = Worker("orders", group="packing")

    @worker.handle("orders/+/created")
    async def pack(delivery: Delivery) -> None:
        order = delivery.data
        if order["total"] > LARGEST:
            raise GiveUp("too large for any parcel")
        # Delivered again, since the answer was lost, it is published once all the same.
        await client.publish(
            f"orders/{order['region']}/packed", order, idempotency_key=f"packed {order['id']}"
        )

    await worker.run(client)


async def main() -> None:
    """Work for the gateway that the command line names."""
    async with Client(sys.argv[1]) as client:
        await pack_orders(client)


if __name__ == "__main__":
    anyio.run(main)
