"""The index of topics in the file: written step by step, whole or not at all, made anew, and let go."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite import indexing
from gateway.streams.sqlite.rows import seal
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS
from tests.unit.streams.sqlite_parts import indexed, make_writer, opened, waiting

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

CHANGED = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
STREAM = StreamConfiguration("s", "s/#")
FORMAT_2 = """
PRAGMA application_id = 1180790351;
PRAGMA user_version = 2;
CREATE TABLE store (token TEXT NOT NULL);
INSERT INTO store VALUES ('');
CREATE TABLE stream (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, bytes INTEGER NOT NULL, time INTEGER NOT NULL);
CREATE TABLE dedupe (stream INTEGER NOT NULL, key BLOB NOT NULL, fingerprint BLOB NOT NULL, id TEXT NOT NULL,
    offset INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (stream, key)) WITHOUT ROWID;
CREATE INDEX dedupe_time ON dedupe (stream, time);
CREATE TABLE log_1 (offset INTEGER PRIMARY KEY, time INTEGER NOT NULL, record BLOB NOT NULL, seal INTEGER);
"""


def make_old(path: Path, count: int, *, version: int = 2, topics: int = 7) -> None:
    """A file as an earlier release left it, of format 2 or 1."""
    rows = []
    now = time.time_ns() // 1_000_000
    for offset in range(1, count + 1):
        record = encode_record(Publication(f"s/{offset % topics}", f"m{offset}", 0, b"%d" % offset))
        if version == 1:
            record = b"\1" + record[5:]
        rows.append((offset, now, record, seal(offset, now, record)))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FORMAT_2)
        size = sum(len(record) for _, _, record, _ in rows)
        database.execute("INSERT INTO stream VALUES (1, 's', 'before', 1, ?, ?, ?)", (count, size, now))
        database.executemany("INSERT INTO log_1 VALUES (?, ?, ?, ?)", rows)
        if version == 1:
            database.execute("ALTER TABLE log_1 DROP COLUMN seal")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


async def offsets(store: SqliteStore, *filters: str, after: int = 0) -> list[int | None]:
    """What is selected, page by page."""
    found: list[int | None] = []
    while True:
        page = await store.select("s", filters, after, messages=1000)
        assert page is not None
        found += [each.offset for each in page.publications]
        if page.through == page.bounds.last:
            return found
        after = page.through


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("count", [0, 5, 64, 200])
async def test_a_file_of_an_earlier_format_is_taken_over(
    tmp_path: Path, version: int, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.streams")
    path = tmp_path / "streams.db"
    make_old(path, count, version=version)
    for opening in range(2):
        store = SqliteStore(path, [STREAM], segment_offsets=64)
        await store.start()
        try:
            assert await offsets(store, "s/3") == [each for each in range(1, count + 1) if each % 7 == 3]
            assert (await store.bounds("s")).last == count + opening
            assert (
                await store.append("s", Publication("s/new", "new", 0, b"1"))
            ).offset == count + 1 + opening
            assert await offsets(store, "s/new") == [*range(count + 1, count + 2 + opening)]
        finally:
            await store.stop()
        told = [each for each in caplog.messages if "index" in each]
        # Once, and only where there was something to do.
        assert len(told) == (2 if count >= 64 else 0)
    assert rows(path, "PRAGMA user_version") == [(3,)]


def take_over(path: str, steps: int) -> None:
    """Stand still at the last of so many steps, in the middle of its transaction."""
    read, left = indexing.read_topics, steps

    def read_or_stop(*where: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGSTOP)
        return read(*where)

    async def start() -> None:
        store = SqliteStore(path, [STREAM], segment_offsets=64)
        await store.start()

    indexing._READ_STEP = 16
    indexing.read_topics = read_or_stop
    asyncio.run(start())


def stops(process: SpawnProcess) -> bool:
    """Whether it comes to stand still; it begins with a whole interpreter."""
    assert process.pid is not None
    end = time.monotonic() + 3 * HANG_SECONDS
    while (state := os.waitid(os.P_PID, process.pid, CHANGED)) is None and time.monotonic() < end:
        time.sleep(0.005)
    return state is not None and state.si_code == os.CLD_STOPPED


async def test_taking_over_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    make_old(path, 6000)
    context = multiprocessing.get_context("spawn")
    seen = []
    for steps in (10, 103):
        process = context.Process(target=take_over, args=(str(path), steps))
        process.start()
        try:
            assert stops(process)
        finally:
            process.kill()
            process.join()
        ((segments,),) = rows(path, "SELECT count(*) FROM segment_1")
        seen.append(segments)
    assert seen == [2, 27], "it was killed on its way"
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    try:
        assert await offsets(store, "s/3") == [*range(3, 6001, 7)]
        assert await offsets(store, "s/#") == [*range(1, 6001)]
    finally:
        await store.stop()


def append_on(path: str) -> None:
    async def append() -> None:
        store = SqliteStore(path, [STREAM], segment_offsets=64)
        await store.start()
        for number in range(100_000):
            await asyncio.gather(
                *(store.append("s", Publication(f"s/{each}", f"m{number}", 0, b"1")) for each in range(10))
            )

    asyncio.run(append())


async def test_a_store_that_is_killed_as_it_writes_has_everything_by_topic_again(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    process = multiprocessing.get_context("spawn").Process(target=append_on, args=(str(path),))
    process.start()
    segments: object = 0
    try:
        # It begins with a whole interpreter.
        async with asyncio.timeout(3 * HANG_SECONDS):
            while not segments:
                with suppress(sqlite3.Error):
                    ((segments,),) = rows(path, "SELECT count(*) FROM segment_1")
                await asyncio.sleep(0.001)
    finally:
        process.kill()
        process.join()
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    try:
        last = (await store.bounds("s")).last
        assert last >= 64
        assert await offsets(store, "s/3") == [*range(4, last + 1, 10)]
        assert await offsets(store, "s/+") == [*range(1, last + 1)]
    finally:
        await store.stop()


def test_a_segment_is_written_in_steps_while_appends_go_on(tmp_path: Path) -> None:
    writer, reader = make_writer(tmp_path / "db", segment_offsets=1000)
    writer.open({})
    try:
        writer.commit([waiting(number, topic=f"s/{number}") for number in range(1000)], sweep=False)
        more, commits = True, 0
        while more:
            written = rows(tmp_path / "db", "SELECT count(*) FROM segment_1")
            committed = writer.commit([waiting(1, topic="s/x")], sweep=False)
            assert committed.answers[0]
            more = committed.more
            commits += 1
        assert commits > 2
        # The last step alone makes it a segment.
        assert written in ([(0,)], [(1,)])
        assert rows(tmp_path / "db", "SELECT segment FROM segment_1") == [(0,)]
        assert writer.commit([], sweep=True).more is False
    finally:
        reader.close()
        writer.close(note=True)


async def test_a_half_written_segment_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    make_old(path, 256, topics=200)
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    await store.stop()
    whole = rows(path, "SELECT * FROM block_1"), rows(path, "SELECT * FROM segment_1")
    with closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM segment_1 WHERE segment >= 2")
        database.execute("UPDATE block_1 SET content = x'00' WHERE id = (SELECT max(id) FROM block_1)")
        database.execute("INSERT INTO block_1 VALUES ((SELECT max(id) + 1 FROM block_1), x'00')")
        database.commit()
    store = SqliteStore(path, [STREAM], segment_offsets=64)
    await store.start()
    try:
        assert await offsets(store, "s/17") == [17, 217]
    finally:
        await store.stop()
    assert (rows(path, "SELECT * FROM block_1"), rows(path, "SELECT * FROM segment_1")) == whole


async def test_what_is_trimmed_leaves_the_index_and_short_logs_never_come_into_it(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    configurations = [
        StreamConfiguration("s", "s/#", max_messages=100),
        StreamConfiguration("t", "t/#", max_messages=10),
    ]
    store = SqliteStore(
        path, configurations, limits=StoreLimits(timeout=HANG_SECONDS, sweep_seconds=60), segment_offsets=64
    )
    await store.start()
    try:
        for batch in range(40):
            await asyncio.gather(
                *(
                    store.append(stream, Publication(f"{stream}/{batch}/{number}", "m", 0, b"1"))
                    for number in range(25)
                    for stream in "st"
                )
            )
        await indexed(store)
        assert rows(path, "SELECT segment FROM segment_1") == [(14,)]
        ((lowest, count),) = rows(path, "SELECT min(id), count(*) FROM block_1")
        assert isinstance(lowest, int)
        assert isinstance(count, int)
        assert (lowest >> 17, count > 0) == (14, True)
        assert rows(path, "SELECT count(*) FROM block_2") == [(0,)]
        assert await offsets(store, "s/39/#") == [*range(976, 1001)]
        assert await offsets(store, "s/#") == [*range(901, 1001)]
        tail = store._tails["t"]
        assert sum(len(each.topics) for each in tail._segments.values()) < 100, "memory lets go too"
    finally:
        await store.stop()


async def test_a_full_disk_while_a_segment_is_written_keeps_nobody_from_appending(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    with opened(path, segment_offsets=512) as (writer, _):
        connection = writer._connection
        assert connection is not None
        writer.commit(
            [waiting(number, topic=f"s/{'x' * 400}/{number}") for number in range(500)], sweep=False
        )
        writer.commit([waiting(number, topic="s/x") for number in range(20)], sweep=False)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        # Room for some publications more, and for none of the index.
        connection.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone()
        for number in range(6):
            committed = writer.commit([waiting(number, topic="s/x")], sweep=False)
            assert not isinstance(committed.answers[0], Exception)
        assert rows(path, "SELECT count(*) FROM segment_1") == [(0,)]
        connection.execute("PRAGMA max_page_count = 1000000").fetchone()
        while writer.commit([], sweep=True).more:
            pass
        assert rows(path, "SELECT count(*) FROM segment_1") == [(1,)]


async def test_the_event_loop_turns_while_a_large_log_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    make_old(path, 20_000, topics=5000)
    store = SqliteStore(path, [STREAM], segment_offsets=4096)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await store.start()
    turning.cancel()
    await store.stop()
    assert turns > 10
