"""A database of streams whose bytes were changed behind its back: nothing false is given, and it is told."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import StoreUnusable, StreamUnavailable
from gateway.streams.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

STREAM = StreamConfiguration("s", "s/#")
COUNT = 600
Fields = tuple[object, ...]


def fields(publication: Publication) -> Fields:
    return publication.topic, publication.id, publication.time, publication.data, publication.offset


async def fill(path: Path) -> dict[int | None, Fields]:
    """Publications with bodies of many lengths, some over several pages; return what was stored."""
    store = SqliteStore(path, [STREAM])
    await store.start()
    try:
        sent = [
            Publication(f"s/{number}", f"m{number}", 0, b'"%b"' % (b"x" * (number * 7 % 900)))
            for number in range(COUNT - 2)
        ] + [Publication("s/large", f"large{number}", 0, b'"%b"' % (b"y" * 9000)) for number in range(2)]
        await asyncio.gather(*(store.append("s", each) for each in sent))
        return {each.offset: fields(each) for each in sent}
    finally:
        await store.stop()


async def read_all(path: Path) -> tuple[dict[int | None, Fields], set[int]]:
    """What is given, page by page, and which offsets are told to be missing."""
    store = SqliteStore(path, [STREAM])
    await store.start()
    try:
        given: dict[int | None, Fields] = {}
        missing: set[int] = set()
        bounds = await store.bounds("s")
        after = bounds.first - 1
        while after < bounds.last:
            page = await store.read("s", after, messages=100)
            assert page.last > after, "a page leads on"
            given |= {each.offset: fields(each) for each in page.publications}
            missing |= {offset for each in page.holes for offset in range(each.first, each.last + 1)}
            after = page.last
        return given, missing
    finally:
        await store.stop()


def leaves(path: Path) -> list[int]:
    """Where in the file the log's leaf pages begin, in the order of their offsets."""
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'log_1'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = path.read_bytes()

    def number(at: int, count: int) -> int:
        return int.from_bytes(content[at : at + count], "big")

    def below(page: int) -> list[int]:
        # https://www.sqlite.org/fileformat2.html, "B-tree Pages": 13 is a leaf of a table, 5 is above.
        at = (page - 1) * size
        if content[at] == 13:
            return [at]
        assert content[at] == 5
        cells = [number(at + 12 + 2 * each, 2) for each in range(number(at + 3, 2))]
        children = [number(at + cell, 4) for cell in cells] + [number(at + 8, 4)]
        return [leaf for child in children for leaf in below(child)]

    return below(root)


def wipe(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(4096))


async def test_whichever_bit_flips_nothing_false_is_given(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    genuine = await fill(path)
    whole = path.read_bytes()
    note = path.with_name("streams.db-seen").read_bytes()
    chosen = random.Random(4711)
    lost = 0
    for _ in range(60):
        bit = chosen.randrange(len(whole) * 8)
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        path.with_name("streams.db-seen").write_bytes(note)
        try:
            given, missing = await read_all(path)
        except (StoreUnusable, StreamUnavailable):
            continue  # said at the start, or to whoever asks
        assert given.items() <= genuine.items()
        assert missing.isdisjoint(given)
        assert missing | given.keys() >= set(range(1, (max(given, default=0) or 0) + 1))
        lost += len(missing)
    assert lost


async def test_a_whole_page_that_is_gone_costs_what_was_on_it(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    genuine = await fill(path)
    pages = leaves(path)
    wipe(path, pages[len(pages) // 2])
    given, missing = await read_all(path)
    assert given.items() <= genuine.items()
    assert missing == genuine.keys() - given.keys()
    assert 0 < len(missing) < 60


async def test_a_damaged_beginning_does_not_keep_what_comes_from_being_stored(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    wipe(path, leaves(path)[0])
    store = SqliteStore(path, [StreamConfiguration("s", "s/#", max_messages=100)])
    await store.start()
    try:
        for number in range(3):
            answer = await store.append("s", Publication("s/new", f"n{number}", 0, b"1"))
            assert answer.offset == COUNT + 1 + number
        assert [each.id for each in (await store.read("s", COUNT, messages=9)).publications] == [
            "n0",
            "n1",
            "n2",
        ]
    finally:
        await store.stop()


async def test_what_an_earlier_version_stored_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    genuine = await fill(path)
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT offset, record FROM log_1").fetchall()
        database.executemany(
            "UPDATE log_1 SET record = ? WHERE offset = ?",
            [(b"\1" + record[5:], offset) for offset, record in rows],
        )
        database.executescript(
            "ALTER TABLE log_1 DROP COLUMN seal; DROP TABLE segment_1; DROP TABLE block_1; DROP TABLE hole_1;"
            "DROP TABLE last_value; ALTER TABLE store DROP COLUMN segment_offsets; PRAGMA user_version = 1;"
        )
        database.commit()
    given, missing = await read_all(path)
    assert (given, missing) == (genuine, set())
    store = SqliteStore(path, [STREAM])
    await store.start()
    try:
        assert (await store.append("s", Publication("s/new", "new", 0, b"1"))).offset == COUNT + 1
    finally:
        await store.stop()
    given, missing = await read_all(path)
    assert (len(given), missing) == (COUNT + 1, set())


@pytest.mark.parametrize("kept", [b"\2", b"\1"])
async def test_a_record_without_its_seal_is_none(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE log_1 SET seal = NULL WHERE offset = 5")
        if kept == b"\1":
            database.execute("UPDATE log_1 SET record = ? || substr(record, 2) WHERE offset = 5", (kept,))
        database.commit()
    _, missing = await read_all(path)
    assert missing == {5}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE stream SET last = 100",
        "UPDATE stream SET last = -1",
        "UPDATE stream SET first = 5000",
        "UPDATE stream SET first = -4000",
        "UPDATE stream SET bytes = -5, time = 'x'",
        "UPDATE stream SET first = 'y', last = x'ff'",
    ],
)
async def test_what_is_noted_of_a_log_never_hides_what_it_holds(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "streams.db"
    genuine = await fill(path)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(damage)
    given, missing = await read_all(path)
    assert given == genuine
    assert not missing
    assert await appended(path) == COUNT + 1


async def test_a_damaged_offset_does_not_stand_in_the_way_of_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    genuine = await fill(path)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(f"UPDATE log_1 SET offset = {COUNT + 1} WHERE offset = 10")
    assert await appended(path) == COUNT + 1
    given, missing = await read_all(path)
    assert missing == {10}
    assert given.keys() == genuine.keys() - {10} | {COUNT + 1}


async def appended(path: Path) -> int | None:
    """The offset of one publication more."""
    store = SqliteStore(path, [STREAM])
    await store.start()
    try:
        return (await store.append("s", Publication("s/new", "new", 0, b"1"))).offset
    finally:
        await store.stop()
