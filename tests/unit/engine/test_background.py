from __future__ import annotations

import asyncio

import pytest

from gateway.engine.background import Background

from .following_world import until


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
