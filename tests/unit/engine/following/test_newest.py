"""Where the newest that match begin, with an index and without."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.publication import Publication
from gateway.core.topics.grammar import matches
from gateway.engine.following import newest
from gateway.engine.following.newest import before_newest
from tests.unit.engine.model_store import ModelStore

TOPICS = st.sampled_from(["s/a", "s/b", "s/b/c"])


def filled(topics: list[str]) -> ModelStore:
    store = ModelStore("s")
    for number, topic in enumerate(topics, start=1):
        store.logs["s"].append(Publication(topic, str(number), number, b"1"))
    return store


@given(
    topics=st.lists(TOPICS, max_size=40),
    removed=st.sets(st.integers(1, 40), max_size=5),
    trimmed=st.integers(0, 10),
    count=st.integers(1, 12),
    topic_filter=st.sampled_from(["#", "s/a", "s/+"]),
    indexed=st.booleans(),
)
def test_reading_on_from_there_gives_the_newest_that_match(
    topics: list[str], removed: set[int], trimmed: int, count: int, topic_filter: str, indexed: bool
) -> None:
    store = filled(topics)
    log = store.logs["s"]
    log.trim(trimmed)
    for offset in removed:
        log.remove(offset)
    store.indexed = indexed
    before = asyncio.run(before_newest(store, "s", topic_filter, count, log.bounds))
    matching = [each for each in log.kept if each is not None and matches(topic_filter, each.topic)]
    behind = [each for each in matching if (each.offset or 0) > before]
    assert behind == matching[-count:]
    assert log.first - 1 <= before <= log.last


async def test_without_an_index_it_is_looked_back_a_bounded_way() -> None:
    store = filled(["s/a"] + ["s/b"] * 99)
    store.indexed = False
    newest_looked, newest.LOOKED_BACK = newest.LOOKED_BACK, 50  # type: ignore[misc]  # to be done quickly
    try:
        assert await before_newest(store, "s", "s/a", 1, store.logs["s"].bounds) == 50
    finally:
        newest.LOOKED_BACK = newest_looked  # type: ignore[misc]


async def test_a_log_that_has_grown_since_is_counted_from_its_new_end() -> None:
    store = filled(["s/a"] * 5)
    bounds = store.logs["s"].bounds
    for number in range(6, 20):
        store.logs["s"].append(Publication("s/a", str(number), number, b"1"))
    assert await before_newest(store, "s", "s/a", 3, bounds) == 16
