"""Last values without a subscription: one topic's, and snapshots, over a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.engine.following import last_values
from gateway.engine.following.last_values import LastValueReader
from gateway.errors import NotFound, SnapshotTooLarge, Unavailable
from gateway.streams.memory import MemoryStore

STREAMS = StreamMap(
    [
        StreamConfiguration("state", "state/#", max_messages=2, last_values=True),
        StreamConfiguration("other", "other/#", last_values=True),
        StreamConfiguration("log", "log/#"),
    ]
)


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore(STREAMS)
    await store.start()
    yield store
    await store.stop()


async def publish(store: MemoryStore, topic: str, data: bytes | None = b"1") -> None:
    stream = STREAMS.capturing(topic)
    assert stream is not None
    await store.append(stream, Publication(topic, "m", 0, data, deleted=data is None))


async def end(store: MemoryStore, stream: str) -> Position:
    bounds = await store.bounds(stream)
    return Position(bounds.epoch, bounds.last)


async def test_a_value_outlives_retention_and_ends_with_its_deletion(store: MemoryStore) -> None:
    values = LastValueReader(store, STREAMS)
    await publish(store, "state/a", b'"kept"')
    for _ in range(5):
        await publish(store, "state/b")
    found = await values.value("state/a")
    assert found.publication is not None
    assert (found.publication.data, found.publication.offset) == (b'"kept"', 1)
    assert found.position == await end(store, "state")
    await publish(store, "state/a", None)
    found = await values.value("state/a")
    assert found.publication is None
    assert found.position.offset == 7


@pytest.mark.parametrize(("topic", "why"), [("live", "is live"), ("log/a", "keeps no last values")])
async def test_a_topic_that_nobody_keeps_the_value_of_is_not_found(
    store: MemoryStore, topic: str, why: str
) -> None:
    if topic == "log/a":
        await publish(store, topic)
    with pytest.raises(NotFound, match=why):
        await LastValueReader(store, STREAMS).value(topic)
    with pytest.raises(NotFound):
        await LastValueReader(None, StreamMap()).value(topic)


async def test_a_snapshot_is_of_all_streams_and_says_as_of_which_positions(store: MemoryStore) -> None:
    for topic in ("state/a", "state/b", "state/c", "state/a", "other/x", "log/x", "state/d"):
        await publish(store, topic)
    await publish(store, "state/d", None)
    snapshot = await LastValueReader(store, STREAMS).whole("#")
    assert [(each.topic, each.offset) for each in snapshot.publications] == [
        ("state/b", 2), ("state/c", 3), ("state/a", 4), ("other/x", 1),
    ]  # fmt: skip
    assert snapshot.positions == {name: await end(store, name) for name in ("state", "other", "log")}
    narrow = await LastValueReader(store, STREAMS).whole("state/+")
    assert list(narrow.positions) == ["state"]
    assert len(narrow.publications) == 3


async def test_where_there_are_no_streams_a_snapshot_is_empty() -> None:
    snapshot = await LastValueReader(None, StreamMap()).whole("#")
    assert (snapshot.publications, snapshot.positions) == ([], {})


async def test_a_whole_snapshot_is_bounded_to_the_last_value(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_values, "WHOLE_MESSAGES", 3)
    values = LastValueReader(store, STREAMS)
    for topic in ("state/a", "state/b", "other/a"):
        await publish(store, topic)
    assert len((await values.whole("#")).publications) == 3
    await publish(store, "other/b")
    with pytest.raises(SnapshotTooLarge, match="application/x-ndjson"):
        await values.whole("#")
    monkeypatch.setattr(last_values, "WHOLE_MESSAGES", 100)
    monkeypatch.setattr(last_values, "WHOLE_BYTES", 31)
    assert len((await values.whole("state/+")).publications) == 2
    with pytest.raises(SnapshotTooLarge):
        await values.whole("#")


async def pages(values: LastValueReader, positions: dict[str, Position], **bounds: Any) -> list[list[str]]:
    return [[each.topic for each in page] async for page in values.pages("#", positions, **bounds)]


async def test_pages_hold_everything_whatever_their_size(store: MemoryStore) -> None:
    topics = [f"state/{number}" for number in range(20)]
    for topic in topics:
        await publish(store, topic)
    positions: dict[str, Position] = {}
    found = await pages(LastValueReader(store, STREAMS), positions, messages=3)
    assert [topic for page in found for topic in page] == topics
    assert max(map(len, found)) == 3
    assert set(positions) == {"state", "other", "log"}


async def test_what_changes_between_two_pages_lies_behind_the_position(store: MemoryStore) -> None:
    for number in range(4):
        await publish(store, f"state/{number}")
    positions: dict[str, Position] = {}
    found = []
    async for page in LastValueReader(store, STREAMS).pages("state/#", positions, messages=2):
        found += [each.topic for each in page]
        if len(found) == 2:
            await publish(store, "state/3")
            await publish(store, "state/0", None)
    assert found == ["state/0", "state/1", "state/2"]
    following = (await store.read("state", positions["state"].offset, messages=10)).publications
    assert [(each.topic, each.deleted) for each in following] == [("state/3", False), ("state/0", True)]


async def test_a_new_epoch_between_two_pages_ends_the_snapshot(store: MemoryStore) -> None:
    for number in range(4):
        await publish(store, f"state/{number}")
    pages = LastValueReader(store, STREAMS).pages("state/#", {}, messages=2)
    assert len(await anext(pages)) == 2
    seen = await end(store, "state")
    await store.raise_epoch("state", Position(seen.epoch, seen.offset + 10))
    with pytest.raises(Unavailable, match="begin anew"):
        await anext(pages)
