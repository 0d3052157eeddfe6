"""Nobody who waits misses a notification, and nobody waits for one that came while he looked."""

from __future__ import annotations

import asyncio

from gateway.streams.redis.append_signal import AppendSignal
from tests.patience import HANG_SECONDS


async def test_a_notification_wakes_everybody_who_waits() -> None:
    signal = AppendSignal()
    waiters = [asyncio.create_task(signal.wait(signal.notified, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    assert signal.waiting == 3
    signal.notify()
    await asyncio.wait_for(asyncio.gather(*waiters), HANG_SECONDS)
    assert signal.waiting == 0


async def test_a_notification_since_the_last_look_is_not_waited_for() -> None:
    signal = AppendSignal()
    looked = signal.notified
    signal.notify()
    await asyncio.wait_for(signal.wait(looked, 60), HANG_SECONDS)


async def test_what_is_noted_notifies_only_when_it_is_news() -> None:
    signal = AppendSignal()
    counts = []
    for epoch, last in (("1-a", 5), ("1-a", 5), ("1-a", 4), ("1-a", 6), ("2-b", 6), ("2-b", 1)):
        signal.note_end(epoch, last)
        counts.append(signal.notified)
    assert counts == [1, 1, 1, 2, 3, 3]


async def test_a_wait_ends_in_time_and_leaves_nothing() -> None:
    signal = AppendSignal()
    await signal.wait(signal.notified, 0.001)
    assert signal.waiting == 0
    assert signal.left > 0
