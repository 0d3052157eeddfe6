"""A group whose settings change goes on with all that it has, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.errors import StreamUnavailable
from gateway.streams.memory import MemoryStore

GROUP = GroupConfiguration("g")
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_change_that_was_kept_goes_on_although_the_log_could_not_be_read(cancelled: bool) -> None:
    store = MemoryStore(StreamMap([StreamConfiguration("s", "s/#")]))
    await store.start()
    groups = store.groups
    await groups.put("s", GROUP)
    for number in range(5):
        await store.append("s", Publication("s/a", f"m{number}", 0, b"1"))
    count: Any = store.count
    asked = asyncio.Event()

    async def away(*_arguments: Any) -> int:
        asked.set()
        if cancelled:
            await asyncio.Event().wait()
        raise StreamUnavailable("away")

    store.count = away  # type: ignore[method-assign]
    change = asyncio.create_task(groups.put("s", replace(GROUP, ack_wait=7.0)))
    await asked.wait()
    if cancelled:
        change.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else StreamUnavailable):
        await change
    if not cancelled:
        with pytest.raises(StreamUnavailable):
            await groups.take("s", "g", ["m"])
    store.count = count  # type: ignore[method-assign]
    given = (await groups.take("s", "g", ["m"] * 9)).deliveries
    assert [each.lease.offset for each in given] == [1, 2, 3, 4, 5]
    assert (await groups.groups("s"))["g"].ack_wait == 7.0
    assert all(await groups.acknowledge("s", "g", [each.lease for each in given]))
    figures = await groups.figures("s", "g")
    assert (figures.depth, figures.in_flight) == (0, 0)
    await store.stop()
