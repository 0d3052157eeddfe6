"""The file of a SQLite store: made for its owner alone, refused with a reason where it is something else."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import stat
from contextlib import closing
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import StoreFull, StoreUnusable, StreamUnavailable
from gateway.streams.sqlite import file
from gateway.streams.sqlite.file import lock, open_to_write, what_failed
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

STREAM = StreamConfiguration("s", "s/#")


async def refused(path: Path) -> str:
    """Why a store can't be opened there; a second attempt is refused alike, so nothing was left behind."""
    reasons = []
    for _ in range(2):
        with pytest.raises(StoreUnusable) as caught:
            await SqliteStore(path, [STREAM]).start()
        reasons.append(str(caught.value))
    assert reasons[0] == reasons[1]
    assert str(path) in reasons[0]
    return reasons[0]


async def test_directories_and_files_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "streams.db"
    store = SqliteStore(path, [STREAM])
    await store.start()
    made = {each.name for each in path.parent.iterdir()}
    assert {"streams.db", "streams.db-wal", "streams.db-lock", "streams.db-seen"} <= made
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.stop()
    assert {each.name for each in path.parent.iterdir()} == {
        "streams.db",
        "streams.db-ends",
        "streams.db-lock",
        "streams.db-seen",
    }


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    path.write_text("Dear diary, " * 1000)
    assert "not a database" in await refused(path)
    assert path.read_text() == "Dear diary, " * 1000


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipe (name)")
    assert "not one of the gateway's streams" in await refused(path)


async def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    with closing(open_to_write(path, "full")) as newer:
        newer.execute("PRAGMA user_version = 7")
    assert "format 7, this version of the gateway reads format 3" in await refused(path)


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    path.mkdir()
    assert "directory" in await refused(path)


async def test_a_place_that_can_not_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in await refused(tmp_path / "file" / "streams.db")


async def test_a_second_store_of_the_same_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    store = SqliteStore(path, [STREAM])
    await store.start()
    assert "another process keeps its streams there" in await refused(path)
    await store.stop()
    again = SqliteStore(path, [STREAM])
    await again.start()
    await again.stop()


async def test_a_second_process_is_refused_while_the_first_one_lives(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(path, ready))
    other.start()
    try:
        assert ready.wait(30)
        assert "another process keeps its streams there" in await refused(path)
    finally:
        other.kill()
        other.join()
    store = SqliteStore(path, [STREAM])
    await store.start()
    await store.stop()


def keep_store(path: Path, ready: object, done: object) -> None:
    async def keep() -> None:
        store = SqliteStore(path, [STREAM])
        await store.start()
        ready.set()  # type: ignore[attr-defined]
        await asyncio.to_thread(done.wait, 60)  # type: ignore[attr-defined]
        await store.stop()

    asyncio.run(keep())


async def test_another_name_of_the_same_file_is_no_way_round_the_lock(tmp_path: Path) -> None:
    path, link = tmp_path / "a" / "streams.db", tmp_path / "b" / "streams.db"
    store = SqliteStore(path, [STREAM])
    await store.start()
    await store.stop()
    link.parent.mkdir()
    link.hardlink_to(path)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=keep_store, args=(path, ready, done))
    other.start()
    try:
        assert await asyncio.to_thread(ready.wait, 30)
        assert "in the same file, by another name" in await refused(link)
        assert "another process keeps its streams there" in await refused(path)
    finally:
        done.set()
        other.join(3 * HANG_SECONDS)
    assert other.exitcode == 0
    store = SqliteStore(link, [STREAM])
    await store.start()
    await store.stop()


async def test_damage_where_nothing_goes_without_it_is_refused_in_plain_words(
    tmp_path: Path,
) -> None:
    path = tmp_path / "streams.db"
    store = SqliteStore(path, [STREAM])
    await store.start()
    await store.stop()
    whole = path.read_bytes()
    for at, bytes_ in (
        (100, b"\xff" * 8),
        (3900, b"\xc5\xa0" * 90),
        (4096, b"\0" * 4096),
        (4100, b"\xff" * 9),
    ):
        path.write_bytes(whole[:at] + bytes_ + whole[at + len(bytes_) :])
        assert "is damaged where the gateway can't do without it" in await refused(path)
    path.write_bytes(whole[:5000])
    assert await refused(path)


def hold(path: Path, ready: object) -> None:
    held = lock(path)
    ready.set()  # type: ignore[attr-defined]
    multiprocessing.Event().wait(60)
    held.close()


def test_errors_say_whether_there_is_no_room() -> None:
    def error(code: int) -> sqlite3.Error:
        made = sqlite3.OperationalError("it went wrong")
        made.sqlite_errorcode = code
        return made

    assert isinstance(what_failed(error(sqlite3.SQLITE_FULL)), StoreFull)
    assert type(what_failed(error(sqlite3.SQLITE_IOERR_FSYNC))) is StreamUnavailable
    assert "it went wrong" in str(what_failed(error(sqlite3.SQLITE_IOERR_FSYNC)))
    assert type(what_failed(KeyError("x"))) is StreamUnavailable


def test_a_refused_attempt_does_not_open_the_door_to_another_process(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    with closing(lock(path)):
        with pytest.raises(StoreUnusable):
            lock(path)
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        other = context.Process(target=hold, args=(path, ready))
        other.start()
        other.join(3 * HANG_SECONDS)
        assert other.exitcode == 1
        assert not ready.is_set()


def test_opening_waits_for_somebody_who_has_the_file_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    open_to_write(path, "normal").close()
    somebody = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    somebody.execute("PRAGMA locking_mode = EXCLUSIVE")
    somebody.execute("BEGIN EXCLUSIVE")
    asked, check = Event(), file._check

    def ask(connection: sqlite3.Connection, path: Path) -> None:
        asked.set()
        check(connection, path)

    monkeypatch.setattr(file, "_check", ask)

    def leave() -> None:
        asked.wait()
        somebody.close()

    leaving = Thread(target=leave)
    leaving.start()
    open_to_write(path, "normal").close()
    leaving.join()
