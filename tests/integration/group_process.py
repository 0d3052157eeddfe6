"""A node with a member of a group that a test kills or pauses: ``python -m tests.integration.group_process``.

It says on standard output what it took and what became of that, a line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import StreamUnavailable
from gateway.streams.limits import RedisStoreLimits
from gateway.streams.redis.store import RedisStore

if TYPE_CHECKING:
    from gateway.streams.groups.base import LeasedPublication

STREAM = StreamConfiguration("s", "s/#")
GROUP = GroupConfiguration("g", ack_wait=0.4, max_deliver=4, backoff=(0.02,), max_in_flight=12)
LIMITS = RedisStoreLimits(timeout=0.5, backoff=0.05)
REJECTED = 10
"""Every such publication is one that nobody can handle."""


def say(what: str, delivery: LeasedPublication) -> None:
    lease = delivery.lease
    os.write(1, f"{what} {lease.offset} {lease.fence} {delivery.attempt}\n".encode())


async def settle(store: RedisStore, delivery: LeasedPublication) -> None:
    await asyncio.sleep(0.002)
    try:
        if delivery.lease.offset % REJECTED == 0:
            (done,) = await store.groups.reject("s", "g", [delivery.lease])
            say("rejected" if done else "stale", delivery)
        else:
            (done,) = await store.groups.acknowledge("s", "g", [delivery.lease])
            say("acked" if done else "stale", delivery)
    except StreamUnavailable:
        say("unknown", delivery)


async def work(url: str, prefix: str, member: str) -> None:
    """Take what there is, for ever."""
    store = RedisStore(url, [STREAM], prefix=prefix, limits=LIMITS)
    await store.start()
    woken = asyncio.Event()
    store.groups.watch("s", "g", woken.set)
    while True:
        woken.clear()
        try:
            taken = await store.groups.take("s", "g", [member] * 4)
        except StreamUnavailable:
            await asyncio.sleep(0.02)
            continue
        for each in taken.deliveries:
            say("took", each)
        await asyncio.gather(*(settle(store, each) for each in taken.deliveries))
        if not taken.deliveries:
            try:
                async with asyncio.timeout(0.05):
                    await woken.wait()
            except TimeoutError:
                pass


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
