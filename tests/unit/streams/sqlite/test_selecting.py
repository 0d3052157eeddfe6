"""Reading a damaged file by topic: never a wrong answer, and the index is made anew."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.topics.grammar import matches
from gateway.errors import StoreUnusable, StreamUnavailable
from gateway.streams.sqlite.indexing import LogIndex
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS
from tests.unit.streams.sqlite_parts import indexed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

STREAM = StreamConfiguration("s", "s/#")
COUNT = 700
TOPICS = [f"s/{number % 4}/{number}" for number in range(40)]
FILTERS = ["s/#", "s/+/7", "s/1/#", "s/3/3", "s/0/+"]


async def fill(path: Path) -> None:
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    chosen = random.Random(1)
    for begin in range(0, COUNT, 50):
        await asyncio.gather(
            *(
                store.append("s", Publication(chosen.choice(TOPICS), f"m{begin + each}", 0, b"1" * 50))
                for each in range(50)
            )
        )
    await indexed(store)
    await store.stop()


async def scanned(store: SqliteStore) -> tuple[list[Publication], set[int]]:
    """Everything that a log gives, and what it says is missing."""
    found: list[Publication] = []
    missing: set[int] = set()
    bounds = await store.bounds("s")
    after = bounds.first - 1
    while after < bounds.last:
        page = await store.read("s", after, messages=100)
        found += page.publications
        missing |= {each for hole in page.holes for each in range(hole.first, hole.last + 1)}
        after = page.last
    return found, missing


async def selected(store: SqliteStore, topic_filter: str) -> tuple[list[Publication], set[int], int]:
    """The same of what a filter selects, read as a reader does; how many pages the index couldn't give."""
    found: list[Publication] = []
    missing: set[int] = set()
    others = 0
    bounds = await store.bounds("s")
    after = bounds.first - 1
    while after < bounds.last:
        selection = await store.select("s", [topic_filter], after, messages=30)
        if selection is None:
            others += 1
            page = await store.read("s", after, messages=30)
            found += [each for each in page.publications if matches(topic_filter, each.topic)]
            holes, after = page.holes, page.last
        else:
            found += selection.publications
            holes, after = selection.holes, selection.through
        missing |= {each for hole in holes for each in range(hole.first, hole.last + 1)}
    return found, missing, others


def facts(publications: Sequence[Publication]) -> list[object]:
    return [(each.offset, each.topic, each.id, each.data) for each in publications]


async def test_whichever_bit_flips_no_filter_misses_anything_unsaid(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    genuine, _ = await scanned(store)
    await store.stop()
    whole = path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'block_1'").fetchone()
    note = path.with_name("streams.db-seen").read_bytes()
    chosen = random.Random(17)
    passed = exact = compared = 0
    for attempt in range(45):
        bit = chosen.randrange(len(whole) * 8)
        if attempt % 3 == 0:
            # Somewhere in the blocks' root, which leads to all of them or is the only one.
            bit = ((root - 1) * 4096 + chosen.randrange(4096)) * 8
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        path.with_name("streams.db-seen").write_bytes(note)
        store = SqliteStore(path, [STREAM], segment_offsets=64)
        try:
            await store.start()
        except StoreUnusable:
            continue
        try:
            for topic_filter in FILTERS:
                found, missing, others = await selected(store, topic_filter)
                everything, holes = await scanned(store)
                wanted = [each for each in everything if matches(topic_filter, each.topic)]
                assert {*facts(found)} <= {*facts(genuine)}
                assert all(matches(topic_filter, each.topic) for each in found)
                # Where a page above the rows is damaged, reading in a row may find what looking for it can't,
                # and the other way round: what isn't found is said to be missing.
                unfound = {each.offset for each in wanted} - {each.offset for each in found}
                assert unfound <= missing <= holes | unfound
                passed += others
                exact += facts(found) == facts(wanted)
                compared += 1
        except StreamUnavailable:
            pass  # said to whoever asks
        finally:
            await store.stop()
    assert passed, "some pages had to be read otherwise"
    assert exact > compared * 0.9


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE block_1 SET content = zeroblob(length(content)) WHERE id = 262144",
        "DELETE FROM block_1 WHERE id = 262144",
        "UPDATE segment_1 SET content = x'00' WHERE segment = 2",
        "UPDATE segment_1 SET seal = seal + 1 WHERE segment = 2",
        # As from another file: each is whole, and says something of other offsets.
        (
            "UPDATE segment_1 SET (seal, content) = (SELECT seal, content FROM segment_1 WHERE segment = 3)"
            " WHERE segment = 2"
        ),
        "UPDATE block_1 SET content = (SELECT content FROM block_1 WHERE id = 393216) WHERE id = 262144",
    ],
)
async def test_a_damaged_segment_is_passed_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    allowed, repair = threading.Event(), LogIndex._repair

    def repair_when_allowed(self: LogIndex, connection: sqlite3.Connection, segment: int) -> Iterator[None]:
        assert allowed.wait(HANG_SECONDS)
        yield from repair(self, connection, segment)

    monkeypatch.setattr(LogIndex, "_repair", repair_when_allowed)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(damage).rowcount == 1
        database.commit()
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    try:
        everything, _ = await scanned(store)
        # What lies before the damage is told, and then nothing that isn't certain.
        page = await store.select("s", ["s/1/#"], 0, messages=1000)
        assert page is not None
        assert page.through == 128
        assert await store.select("s", ["s/1/#"], 128, messages=1000) is None
        assert await store.before_newest("s", "s/1/#", 1000) is None
        with pytest.raises(StreamUnavailable):
            await store.topics("s", "#", after=None, limit=100)
        allowed.set()
        await indexed(store)
        page = await store.select("s", ["s/1/#"], 0, messages=1000)
        assert page is not None
        assert facts(page.publications) == facts([each for each in everything if each.topic[:4] == "s/1/"])
        assert len((await store.topics("s", "#", after=None, limit=100)).topics) == len(TOPICS)
    finally:
        allowed.set()
        await store.stop()


async def test_an_index_that_belongs_to_other_publications_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    other = tmp_path / "other.db"
    store = SqliteStore(other, [STREAM], segment_offsets=64)
    await store.start()
    for number in range(64 * 3):
        await store.append("s", Publication(TOPICS[number % 40], "other", 0, b"1"))
    await store.stop()
    with closing(sqlite3.connect(path)) as database:
        # Rows that are whole, of another log's life, in place of those that were indexed.
        database.execute("ATTACH ? AS other", (str(other),))
        database.execute(
            "INSERT OR REPLACE INTO log_1 SELECT * FROM other.log_1 WHERE offset BETWEEN 129 AND 192"
        )
        database.commit()
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    try:
        everything, _ = await scanned(store)
        for topic_filter in ("s/0/4", "s/1/+", "s/#"):
            found, _, _ = await selected(store, topic_filter)
            wanted = [each for each in everything if matches(topic_filter, each.topic)]
            # What the index doesn't know of isn't given; but nothing is given that doesn't match.
            assert {*facts(found)} <= {*facts(wanted)}
    finally:
        await store.stop()


async def test_the_last_publications_are_found_where_the_log_lost_its_end(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    await fill(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM log_1 WHERE offset > 150")
        database.execute("UPDATE stream SET last = 150")
        database.commit()
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    try:
        await store.append("s", Publication("s/new", "new", 0, b"1"))
        page = await store.select("s", ["s/#"], 0, messages=1000)
        assert page is not None
        assert [each.offset for each in page.publications] == [*range(1, 152)]
        assert page.publications[-1].topic == "s/new"
    finally:
        await store.stop()
