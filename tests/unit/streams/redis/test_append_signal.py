"""Nobody who waits misses a ring, and nobody waits for one that came while he looked."""

from __future__ import annotations

import asyncio

from gateway.streams.redis.append_signal import AppendSignal
from tests.patience import HANG_SECONDS


async def test_a_ring_wakes_everybody_who_waits() -> None:
    bell = AppendSignal()
    waiters = [asyncio.create_task(bell.wait(bell.rings, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    assert bell.waiting == 3
    bell.ring()
    await asyncio.wait_for(asyncio.gather(*waiters), HANG_SECONDS)
    assert bell.waiting == 0


async def test_a_ring_since_the_last_look_is_not_waited_for() -> None:
    bell = AppendSignal()
    looked = bell.rings
    bell.ring()
    await asyncio.wait_for(bell.wait(looked, 60), HANG_SECONDS)


async def test_what_is_told_rings_only_when_it_is_news() -> None:
    bell = AppendSignal()
    rings = []
    for epoch, last in (("1-a", 5), ("1-a", 5), ("1-a", 4), ("1-a", 6), ("2-b", 6), ("2-b", 1)):
        bell.tell(epoch, last)
        rings.append(bell.rings)
    assert rings == [1, 1, 1, 2, 3, 3]


async def test_a_wait_ends_in_time_and_leaves_nothing() -> None:
    bell = AppendSignal()
    await bell.wait(bell.rings, 0.001)
    assert bell.waiting == 0
    assert bell.left > 0
