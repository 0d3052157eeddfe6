"""Reading last values from a SQLite file: however few match, damaged or not, as of one moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.messages.publication import Publication
from gateway.streams.sqlite import snapshots
from gateway.streams.sqlite.store import SqliteStore
from tests.unit.streams.sqlite.test_last_values import WITH, append, values

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_where_few_topics_match_and_where_many_do_the_same_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "streams.db", [WITH])
    await store.start()
    try:
        await append(store, *(f"s/{number % 5}/{number * 7 % 60}" for number in range(100)), "s")
        for few in (0, 20, 1000):
            monkeypatch.setattr(snapshots, "_FEW_TOPICS", few)
            for topic_filter in ("#", "s/#", "s/2/#", "s/+/7", "s/2/7", "s", "s/+", "no/#"):
                found = await values(store, topic_filter, messages=4)
                if few == 0:
                    monkeypatch.setattr(snapshots, "_FEW_TOPICS", 1000)
                assert found == await values(store, topic_filter)
                monkeypatch.setattr(snapshots, "_FEW_TOPICS", few)
    finally:
        await store.stop()


async def test_a_damaged_value_is_taken_from_the_log_or_said_to_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    store = SqliteStore(path, [replace(WITH, max_messages=3)])
    await store.start()
    await append(store, "s/a", "s/b")
    await append(store, "s/c", "s/d", "s/e")
    await store.stop()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE last_1 SET time = time + 1 WHERE offset IN (2, 4)")
        database.execute("UPDATE last_1 SET topic = x'ff' WHERE offset = 5")
        database.commit()
    store = SqliteStore(path, [replace(WITH, max_messages=3)])
    await store.start()
    try:
        page = await store.snapshot("s", "#", 0, None, messages=10)
        assert [each.topic for each in page.publications] == ["s/a", "s/c", "s/d", "s/e"]
        assert [(each.first, each.last) for each in page.holes] == [(2, 2)]
    finally:
        await store.stop()


async def test_what_a_snapshot_shows_its_publisher_has_been_answered(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "streams.db", [WITH])
    await store.start()
    try:
        for number in range(50):
            answer = store.append("s", Publication("s/a", f"m{number}", 0, b"1"))
            page = await store.snapshot("s", "s/a", 0, None, messages=1)
            # As of its own bounds, whatever is being stored.
            assert [each.offset for each in page.publications] == (
                [page.bounds.last] if page.bounds.last else []
            )
            assert (await store.bounds("s")).last >= page.bounds.last
            await answer
    finally:
        await store.stop()
