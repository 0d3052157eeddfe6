"""Groups in a database that is damaged, full, or not the one it was."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import StreamUnavailable
from gateway.streams.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STREAM = StreamConfiguration("s", "s/#")
GROUP = GroupConfiguration("g", start=Start(StartKind.EARLIEST), max_deliver=2, backoff=())

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, [STREAM])
    await store.start()
    try:
        await store.groups.put("s", GROUP)
        yield store
    finally:
        await store.stop()


async def fill(path: Path) -> list[Any]:
    """1 acknowledged, 2 dead, 3 sent back, 4 leased, 5 acknowledged, 6 waiting."""
    async with opened(path) as store:
        await asyncio.gather(*(store.append("s", Publication("s/t", f"m{at}", 0, b"1")) for at in range(6)))
        given = [each.lease for each in (await store.groups.take("s", "g", ["m"] * 5)).deliveries]
        await store.groups.acknowledge("s", "g", [given[0], given[4]])
        await store.groups.reject("s", "g", given[1:3], dead=True)
        letters, _ = await store.groups.dead_letters("s", "g", after=None, limit=10)
        await store.groups.redrive("s", "g", ids=[letters[0].id])
        return given


async def taken(store: SqliteStore) -> list[int]:
    return [each.lease.offset for each in (await store.groups.take("s", "g", ["m"] * 10)).deliveries]


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(statement).rowcount >= 1
        database.commit()


async def test_everything_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    given = await fill(path)
    async with opened(path) as store:
        told = await store.groups.figures("s", "g")
        assert (told.depth, told.in_flight, told.dead) == (3, 1, 1)
        assert await taken(store) == [3, 6]
        assert await store.groups.acknowledge("s", "g", given[3:4]) == [True]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        # What was leased waits again; nothing else changes.
        ("UPDATE delivery SET record = x'00' WHERE offset = 4", [3, 4, 6]),
        ("UPDATE delivery SET record = zeroblob(length(record)) WHERE offset = 4", [3, 4, 6]),
        # What was finished is done again, never forgotten.
        ("UPDATE finished SET last = last + 1", [3, 5, 6]),
        ("UPDATE finished SET seal = 0", [3, 5, 6]),
        # Of what was sent back there is nothing left to deliver: it is lost.
        ("UPDATE redriven SET record = x'00'", [6]),
        # Where nothing is known of the group, all of it is done again.
        ("UPDATE consumer_group SET record = x'00'", [1, 2, 3, 4, 5, 6]),
    ],
)
async def test_damaged_rows_lead_to_repeats_not_to_silent_loss(
    tmp_path: Path, statement: str, expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    damage(path, statement)
    with caplog.at_level(logging.ERROR, logger="gateway.streams"):
        async with opened(path) as store:
            assert await taken(store) == expected
            told = await store.groups.figures("s", "g")
    assert told.lost == ("redriven" in statement)
    assert told.lost or "damaged" in caplog.text


async def test_a_damaged_dead_letter_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    damage(path, "UPDATE dead_letter SET time = time + 1")
    async with opened(path) as store:
        assert await store.groups.dead_letters("s", "g", after=None, limit=10) == ([], None)
        assert await store.groups.redrive("s", "g") == 0


async def test_a_damaged_page_of_groups_keeps_nobody_from_publishing(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'delivery'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(root - 1) * size : root * size] = b"\xff" * size
    path.write_bytes(content)
    store = SqliteStore(path, [STREAM])
    try:
        await store.start()
    except StreamUnavailable:
        pytest.fail("the logs can be had without the groups")
    try:
        answer = await store.append("s", Publication("s/t", "m", 0, b"1"))
        assert answer.offset == 7
        with pytest.raises(StreamUnavailable):
            await store.groups.put("s", GROUP)
    finally:
        await store.stop()


async def test_a_full_disk_refuses_and_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        await asyncio.gather(*(store.append("s", Publication("s/t", f"m{at}", 0, b"1")) for at in range(50)))
        full = FullDisk(store)
        given = (await store.groups.take("s", "g", ["m"] * 10)).deliveries
        await full.begin()
        with pytest.raises(StreamUnavailable):
            await store.groups.take("s", "g", ["m"] * 40)
        with pytest.raises(StreamUnavailable):
            await store.groups.acknowledge("s", "g", [each.lease for each in given])
        await full.end()
        # The acknowledgement was asked for; whoever wasn't answered may ask again.
        await store.groups.figures("s", "g")
        again = (await store.groups.take("s", "g", ["m"] * 50)).deliveries
        assert [(each.lease.offset, each.attempt) for each in again] == [(at, 1) for at in range(11, 51)]
    async with opened(path) as store:
        told = await store.groups.figures("s", "g")
        assert (told.depth, told.in_flight, told.redelivered) == (40, 40, 0)


class FullDisk:
    """Lets the writing thread find that there is no room, by SQLite's own word."""

    def __init__(self, store: SqliteStore) -> None:
        self._writer = store._writing._writer
        self._run = self._writer.commit

    async def begin(self) -> None:
        def commit(*given: Any, jobs: Any = (), **options: Any) -> Any:
            def fail(_: sqlite3.Connection) -> None:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error

            return self._run(*given, jobs=[*jobs, fail] if jobs else (), **options)

        self._writer.commit = commit  # type: ignore[method-assign]

    async def end(self) -> None:
        self._writer.commit = self._run  # type: ignore[method-assign]


async def test_an_older_copy_of_the_file_begins_a_new_life(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    given = await fill(path)
    copy = path.read_bytes()
    async with opened(path) as store:
        assert await taken(store) == [3, 6]
        await asyncio.gather(*(store.append("s", Publication("s/t", "m", 0, b"1")) for _ in range(3)))
    path.write_bytes(copy)
    async with opened(path) as store:
        # What was leased then is nobody's now, and no attempt is counted for it.
        assert await store.groups.acknowledge("s", "g", given[3:4]) == [False]
        again = (await store.groups.take("s", "g", ["m"] * 10)).deliveries
        assert [(each.lease.offset, each.attempt) for each in again] == [(3, 1), (4, 1), (6, 1)]
