from __future__ import annotations

import asyncio

import pytest

from gateway.engine.runtime.background import Background
from tests.unit.engine.following_world import until


async def test_tasks_run_until_their_parent_ends() -> None:
    background, events = Background(), []

    async def work(name: str) -> None:
        try:
            events.append(f"{name} begins")
            await asyncio.sleep(60)
        finally:
            events.append(f"{name} ends")

    with pytest.raises(RuntimeError, match="before the node runs"):
        background.start(work, "early")
    running = asyncio.create_task(background.run())
    await asyncio.sleep(0)
    background.start(work, "one")
    await until(lambda: events)
    running.cancel()
    await asyncio.wait([running])
    background.start(work, "late")
    await asyncio.sleep(0)
    assert events == ["one begins", "one ends"]


async def test_a_task_that_fails_or_waits_for_what_is_cancelled_leaves_the_others_alone() -> None:
    background = Background()
    ended: list[str] = []

    async def fail() -> None:
        raise ZeroDivisionError

    async def wait_for(future: asyncio.Future[None]) -> None:
        await future

    async def live() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("live")

    running = asyncio.create_task(background.run())
    await asyncio.sleep(0)
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    background.start(live)
    background.start(fail)
    background.start(wait_for, future)
    await asyncio.sleep(0)
    future.cancel()
    await until(lambda: background.supervision.statistics() == {"background": 2})
    assert not running.done()
    assert ended == []
    running.cancel()
    await asyncio.wait([running])
    assert ended == ["live"]
