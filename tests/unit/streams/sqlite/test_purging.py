"""Purging a SQLite store: what was removed is gone from the file for good, and nothing else is."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.pages import PURGED, Hole
from gateway.errors import StreamUnavailable
from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite.purging import overwrite_free_pages
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS
from tests.purging import purge
from tests.unit.streams.sqlite_parts import indexed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STREAM = StreamConfiguration("s", "s/#", last_values=True, max_messages=4000)
SECRET = b"lives-in-Oak-Street"
LIMITS = StoreLimits(timeout=HANG_SECONDS, sweep_seconds=0.01)


@asynccontextmanager
async def running(
    path: Path, *configurations: StreamConfiguration, segment_offsets: int = 256
) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, configurations or (STREAM,), limits=LIMITS, segment_offsets=segment_offsets)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def fill(store: SqliteStore, count: int, *, person: str, every: int = 5) -> int:
    """Publications of many lengths, one in so many of a person; how many are the person's."""
    chosen = random.Random(count)
    theirs = 0
    for _ in range(count // 100):
        batch = []
        for _ in range(100):
            mine = chosen.randrange(every) == 0
            theirs += mine
            topic = f"s/{person}/{chosen.randrange(40)}" if mine else f"s/other/{chosen.randrange(300)}"
            body = b'"%b"' % ((SECRET if mine else b"nothing") * chosen.randrange(1, 60))
            batch.append(store.append("s", Publication(topic, "m", 0, body)))
        await asyncio.gather(*batch)
    return theirs


def everything(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()))


@pytest.mark.parametrize("last_values", [False, True])
async def test_nothing_of_what_was_purged_is_left_in_any_file(tmp_path: Path, last_values: bool) -> None:
    path = tmp_path / "streams.db"
    async with running(path, replace(STREAM, last_values=last_values)) as store:
        await fill(store, 3000, person="mallory")
        # Some of it is trimmed meanwhile, and lies in pages that are free; of some only last values are left.
        await fill(store, 3000, person="bob", every=50)
        await indexed(store)
        assert SECRET in everything(path)
        assert b"mallory" in everything(path)
        assert await purge(store, "s", "s/mallory/#")
        assert await purge(store, "s", "s/bob/#")
        left = everything(path)
        assert SECRET not in left
        assert b"mallory" not in left
        assert b"bob" not in left
        assert b"nothing" in left
        bounds = await store.bounds("s")
        page = await store.select("s", ["s/other/#"], bounds.first - 1, messages=10_000, size=2**30)
        assert page is not None
        assert not (await store.topics("s", "s/mallory/#", after=None, limit=10)).topics
        assert len(page.publications) + sum(each.last + 1 - each.first for each in page.holes) == 4000


async def test_its_bytes_are_given_back_and_bounds_stay_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with running(path) as store:
        theirs = await fill(store, 1000, person="alice")
        before, bounds = await store.describe("s"), await store.bounds("s")
        assert await purge(store, "s", "s/alice/#") == theirs
        after = await store.describe("s")
        assert 0 < after.bytes < before.bytes
        assert await store.bounds("s") == bounds
        assert store.statistics().purged == theirs
    async with running(path) as store:
        assert (await store.describe("s")).bytes == after.bytes
        assert await store.bounds("s") == bounds
        assert await purge(store, "s", "s/alice/#") == 0
        page = await store.read("s", 0, messages=1000, size=2**30)
        assert sum(each.last + 1 - each.first for each in page.holes if each.reason == PURGED) == theirs


async def test_appends_go_on_between_the_steps(tmp_path: Path) -> None:
    async with running(tmp_path / "streams.db", StreamConfiguration("s", "s/#")) as store:
        for _ in range(5):
            await asyncio.gather(*(store.append("s", Publication("s/a", "m", 0, b"1")) for _ in range(1000)))
        purging = asyncio.create_task(purge(store, "s", "#"))
        answered = 0
        while not purging.done():
            await store.append("s", Publication("s/a", "new", 0, b"1"))
            answered += 1
        # What comes after the call stays.
        assert await purging == 5000
        assert answered > 1
        page = await store.select("s", ["s/a"], 0, messages=10_000)
        assert page is not None
        assert len(page.publications) == answered
        assert page.holes == [Hole(1, 5000, PURGED)]


async def test_nothing_is_left_of_dead_letters_and_what_was_sent_back(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with running(path, StreamConfiguration("s", "s/#", max_messages=20)) as store:
        await store.groups.put("s", GroupConfiguration("g"))
        body = b'"%b"' % (SECRET * 500)
        for _ in range(20):
            await store.append("s", Publication("s/carol", "m", 0, body))
        given = (await store.groups.take("s", "g", ["m"] * 20)).deliveries
        await store.groups.reject("s", "g", [each.lease for each in given], dead=True)
        letters, _ = await store.groups.dead_letters("s", "g", after=None, limit=10)
        await store.groups.redrive("s", "g", ids=[each.id for each in letters])
        # Retention takes all of them from the log: there is nothing but copies.
        for _ in range(20):
            await store.append("s", Publication("s/other", "m", 0, b"1"))
        while (await store.bounds("s")).first < 21:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert await purge(store, "s", "s/carol") == 0
        assert (await store.groups.figures("s", "g")).dead == 0
        assert SECRET not in everything(path)
        assert (await store.groups.figures("s", "g")).depth == 20


async def test_a_purge_that_is_killed_goes_on_when_it_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with running(path) as store:
        for _ in range(3):
            await asyncio.gather(*(store.append("s", Publication("s/a", "m", 0, b"1")) for _ in range(1000)))
        purging = asyncio.create_task(purge(store, "s", "#"))
        while not store.statistics().purged:  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0)
        purging.cancel()
    async with running(path) as store:
        page = await store.read("s", 0, messages=10_000)
        gone = sum(each.last + 1 - each.first for each in page.holes)
        assert 0 < gone < 3000
        assert len(page.publications) == 3000 - gone
        assert await purge(store, "s", "#") == 3000 - gone


async def test_what_a_purge_that_nobody_stayed_for_removed_is_overwritten_too(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with running(path, StreamConfiguration("s", "s/#")) as store:
        bodies = [b'"words of %05d"' % number for number in range(2000)]
        await asyncio.gather(*(store.append("s", Publication("s/a", "m", 0, body)) for body in bodies))
        async with aclosing(store.purge("s", "s/a")) as steps:
            removed = await anext(steps)
        assert 0 < removed < 2000
        while any(body in everything(path) for body in bodies[:removed:50]):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
        assert all(body in everything(path) for body in bodies[removed::50])


async def test_where_the_index_is_damaged_it_is_made_anew_before_anything_is_purged(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with running(path, StreamConfiguration("s", "s/#")) as store:
        theirs = await fill(store, 600, person="carol")
        await indexed(store)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE block_1 SET content = zeroblob(length(content)) WHERE id = 0")
        database.commit()
    async with running(path, StreamConfiguration("s", "s/#")) as store:
        with pytest.raises(StreamUnavailable):
            await purge(store, "s", "s/carol/#")
        await indexed(store)
        assert await purge(store, "s", "s/carol/#") == theirs
        assert SECRET not in everything(path)


def test_free_pages_are_overwritten_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE kept (content BLOB)")
        database.execute("CREATE TABLE gone (content BLOB)")
        database.execute("BEGIN")
        database.executemany("INSERT INTO gone VALUES (?)", [(SECRET * 100,) for _ in range(2000)])
        database.execute("COMMIT")
        database.execute("INSERT INTO kept VALUES ('kept')")
        database.execute("DROP TABLE gone")
        assert SECRET in path.read_bytes()
        begun: int | None = 0
        parts = 0
        while begun is not None:
            begun = overwrite_free_pages(database, begun)
            parts += 1
        assert parts > 3
        assert SECRET not in path.read_bytes()
        assert database.execute("SELECT content FROM kept").fetchall() == [("kept",)]
