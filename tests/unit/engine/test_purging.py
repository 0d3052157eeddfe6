"""Purging: what was read before is let go of, also where the store stopped half-way."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from gateway.core.cluster.control import ForgetStream
from gateway.core.streams.configuration import Bounds
from gateway.engine.cluster.administration import Reach
from gateway.engine.purging import PurgeService
from gateway.errors import NotFound, StreamUnavailable
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

GONE = ForgetStream("s", "s/#", 9)
REACH = Reach(["here"], [], complete=True)


class Store:
    """Removes nothing, and says so as it is told to."""

    def __init__(self, events: list[object], error: Exception | None = None) -> None:
        self.events = events
        self.error = error

    async def bounds(self, stream: str) -> Bounds:
        return Bounds(f"epoch of {stream}", 1, 9)

    async def measure(self, stream: str, topic_filter: str, before: int | None) -> Extent:
        self.events.append(("measure", stream, topic_filter, before))
        return Extent(3, 30, 1, 8)

    async def purge(self, stream: str, topic_filter: str, before: int | None) -> AsyncGenerator[int, None]:
        self.events.append((stream, topic_filter, before))
        yield 2
        if self.error is not None:
            raise self.error
        yield 1


class Administration:
    def __init__(self, events: list[object]) -> None:
        self.events = events

    async def forget_stream(self, purged: ForgetStream) -> Reach:
        self.events.append(("others", purged))
        return REACH


def service(events: list[object], store: Store | None) -> PurgeService:
    administration: Any = Administration(events)
    kept: Any = store
    return PurgeService(kept, administration, forget=lambda purged: events.append(("here", purged)))


async def test_nodes_let_go_of_a_stream_once_it_is_gone_from_the_store() -> None:
    events: list[object] = []
    purge = service(events, Store(events)).purge("s", "s/#", 7, subject="ann")
    await purge.at_once()
    assert (purge.count, purge.reach) == (3, REACH)
    assert events == [("s", "s/#", 7), ("here", GONE), ("others", GONE)]


async def test_what_is_published_meanwhile_is_neither_counted_nor_removed() -> None:
    events: list[object] = []
    purge = service(events, Store(events)).purge("s", "s/#", None, subject=None)
    assert [each async for each in purge.steps()] == [(0, 3), (2, 3), (3, 3)]
    assert purge.reach is REACH
    assert events == [("measure", "s", "s/#", 10), ("s", "s/#", 10), ("here", GONE), ("others", GONE)]


async def test_nodes_let_go_where_only_a_part_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    events: list[object] = []
    purge = service(events, Store(events, StreamUnavailable("away"))).purge("s", "s/#", None, subject="ann")
    with pytest.raises(StreamUnavailable), caplog.at_level("WARNING", "gateway.streams"):
        await purge.at_once()
    assert events[-2:] == [("here", GONE), ("others", GONE)]
    assert caplog.messages == ["2 publications of stream 's' were purged by 'ann'"]


async def test_nodes_let_go_where_nobody_waits_for_the_rest() -> None:
    events: list[object] = []
    purge = service(events, Store(events)).purge("s", "s/#", None, subject="ann")
    async with aclosing(purge.steps()) as steps:
        async for step in steps:
            if step.done:
                break
    assert purge.count == 2
    assert events[-2:] == [("here", GONE), ("others", GONE)]


async def test_nodes_let_go_where_who_asked_is_gone() -> None:
    events: list[object] = []
    purge = service(events, Store(events)).purge("s", "s/#", None, subject="ann")
    with anyio.CancelScope() as scope:
        async with aclosing(purge.steps()) as steps:
            async for step in steps:
                if step.done:
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
    assert purge.count == 2
    assert events[-2:] == [("here", GONE), ("others", GONE)]


async def test_without_streams_there_is_nothing_to_purge() -> None:
    with pytest.raises(NotFound):
        service([], None).purge("s", "#", None, subject=None)
    with pytest.raises(NotFound):
        await service([], None).measure("s", "#", None)
