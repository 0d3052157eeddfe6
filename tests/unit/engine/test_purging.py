"""Purging: what was read before is let go of, also where the store stopped half-way."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.engine.cluster.administration import Reach
from gateway.engine.purging import PurgeResult, PurgeService
from gateway.errors import NotFound, StreamUnavailable

REACH = Reach(["here"], [], complete=True)


class Store:
    """Removes nothing, and says so as it is told to."""

    def __init__(self, events: list[object], error: Exception | None = None) -> None:
        self.events = events
        self.error = error

    async def purge(self, stream: str, topic_filter: str, before: int | None) -> int:
        self.events.append((stream, topic_filter, before))
        if self.error is not None:
            raise self.error
        return 3


class Administration:
    def __init__(self, events: list[object]) -> None:
        self.events = events

    async def forget_stream(self, stream: str) -> Reach:
        self.events.append(("others", stream))
        return REACH


def service(events: list[object], store: Store | None) -> PurgeService:
    administration: Any = Administration(events)
    kept: Any = store
    return PurgeService(kept, administration, forget=lambda stream: events.append(("here", stream)))


async def test_nodes_let_go_of_a_stream_once_it_is_gone_from_the_store() -> None:
    events: list[object] = []
    assert await service(events, Store(events)).purge("s", "s/#", 7) == PurgeResult(3, REACH)
    assert events == [("s", "s/#", 7), ("here", "s"), ("others", "s")]


async def test_this_node_lets_go_where_only_a_part_is_gone() -> None:
    events: list[object] = []
    with pytest.raises(StreamUnavailable):
        await service(events, Store(events, StreamUnavailable("away"))).purge("s", "s/#", None)
    assert events[-1] == ("here", "s")


async def test_without_streams_there_is_nothing_to_purge() -> None:
    with pytest.raises(NotFound):
        await service([], None).purge("s", "#", None)
