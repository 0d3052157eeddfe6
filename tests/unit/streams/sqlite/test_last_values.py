"""Last values in a SQLite file: switched on for a log that is there, and off; changed, copied, damaged."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.codecs.record import topic_of_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.topic_keys import topic_of
from gateway.errors import StreamUnavailable
from gateway.streams.sqlite import last_values
from gateway.streams.sqlite.store import SqliteStore
from tests.unit.streams.sqlite_parts import opened, waiting

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT = StreamConfiguration("s", "s/#")
WITH = replace(WITHOUT, last_values=True)


async def append(store: SqliteStore, *topics: str, deleted: bool = False) -> None:
    body = None if deleted else b"1"
    await asyncio.gather(
        *(store.append("s", Publication(each, "m", 0, body, deleted=deleted)) for each in topics)
    )


async def values(
    store: SqliteStore, topic_filter: str = "s/#", messages: int = 1000
) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    after, through = 0, None
    while through is None or after < through:
        page = await store.snapshot("s", topic_filter, after, through, messages=messages)
        through = page.bounds.last if through is None else through
        found += [(each.topic, each.offset or 0) for each in page.publications]
        after = page.through
    return found


async def test_they_are_taken_from_a_log_that_is_there_and_dropped_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_values, "_FILL_STEP", 7)
    path = tmp_path / "streams.db"
    store = SqliteStore(path, [WITHOUT])
    await store.start()
    await append(store, *(f"s/{number % 30}" for number in range(50)))
    await append(store, "s/3", deleted=True)
    assert (await store.snapshot("s", "s/#", 0, None, messages=10)).publications == []
    await store.stop()
    expected = sorted(
        ((f"s/{each}", each + 31 if each < 20 else each + 1) for each in range(30) if each != 3),
        key=lambda each: each[1],
    )
    for attempt in range(2):
        store = SqliteStore(path, [WITH])
        await store.start()
        assert await values(store) == expected, attempt
        assert await values(store, messages=3) == expected
        assert (await store.describe("s")).last_values == 29
        await store.stop()
    store = SqliteStore(path, [WITHOUT])
    await store.start()
    assert await values(store) == []
    assert (await store.last_value("s", "s/1"))[1] is None
    await store.stop()
    with closing(sqlite3.connect(path)) as database:
        assert not database.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'last_[0-9]*'").fetchall()


async def test_filling_goes_on_where_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_values, "_FILL_STEP", 10)
    path = tmp_path / "streams.db"
    store = SqliteStore(path, [WITHOUT])
    await store.start()
    await append(store, *(f"s/{number % 30}" for number in range(50)))
    await store.stop()
    changed = last_values.SqliteLastValues.change
    steps = 0

    def fail(*arguments: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        changed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(last_values.SqliteLastValues, "change", fail)
    with pytest.raises(KeyboardInterrupt):
        await SqliteStore(path, [WITH]).start()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT through FROM last_value").fetchall() == [(30,)]
    store = SqliteStore(path, [WITH])
    await store.start()
    assert len(await values(store)) == 30
    assert steps == 6
    await store.stop()


async def test_values_that_can_not_be_changed_are_made_anew_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    store = SqliteStore(path, [WITH])
    await store.start()
    await append(store, *(f"s/{number}" for number in range(2000)))
    await store.stop()
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'last_1'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))
    store = SqliteStore(path, [WITH])
    await store.start()
    try:
        # What is appended is worth more.
        await append(store, "s/new")
        with pytest.raises(StreamUnavailable):
            await values(store)
    finally:
        await store.stop()


def test_one_write_for_each_topic_of_a_transaction(tmp_path: Path) -> None:
    with opened(tmp_path / "db", WITH) as (writer, _):
        connection = writer._connection
        assert connection is not None
        writer.commit([waiting(0)], sweep=False)
        before = connection.total_changes
        writer.commit([waiting(number) for number in range(100)], sweep=False)
        # The rows, the stream's, one value that went and one that came.
        assert connection.total_changes - before == 103
        values = writer._logs["s"].values
        assert values is not None
        assert values.count == 1


def test_too_many_go_in_steps_the_longest_unchanged_first(tmp_path: Path) -> None:
    limits = replace(WITH, last_values_max_topics=1500)
    with opened(tmp_path / "db", limits) as (writer, _):
        committed = writer.commit(
            [waiting(number, topic=f"s/{number}") for number in range(4000)], sweep=False
        )
        evicted = committed.evicted
        while committed.more:
            committed = writer.commit([], sweep=True)
            assert committed.evicted <= 1000
            evicted += committed.evicted
        assert evicted == 2500
        connection = writer._connection
        assert connection is not None
        assert connection.execute("SELECT min(offset), count(*) FROM last_1").fetchone() == (2501, 1500)


def test_values_that_change_while_they_are_copied_are_the_right_ones_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_values, "_RENEW_STEP", 5)
    with opened(tmp_path / "db", replace(WITH, last_values_max_topics=38)) as (writer, _):
        connection = writer._connection
        assert connection is not None
        writer.commit([waiting(number, topic=f"s/{number % 40}") for number in range(100)], sweep=False)
        steps, after = 0, writer.renew_values("s", 0)
        while after is not None:
            steps += 1
            # Some that are copied already, some that aren't, and new ones, for which others have to go.
            writer.commit([waiting(0, topic=f"s/{steps * 3 % 45}")], sweep=True)
            after = writer.renew_values("s", after)
        assert steps > 4
        expected = {
            topic: offset
            for offset, record in connection.execute("SELECT offset, record FROM log_1 ORDER BY offset")
            if (topic := topic_of_record(record))
        }
        newest = sorted(expected.items(), key=lambda each: each[1])[-38:]
        rows = connection.execute("SELECT topic, offset FROM last_1 ORDER BY offset").fetchall()
        assert [(topic_of(topic), offset) for topic, offset in rows] == newest
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        values = writer._logs["s"].values
        assert values is not None
        assert (values.count, values.renewing) == (38, False)
