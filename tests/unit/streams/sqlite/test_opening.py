"""An old copy in place of the database begins new epochs; the same database doesn't."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.sqlite import seen as sqlite_seen
from gateway.streams.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.core.streams.configuration import Bounds

STREAM = StreamConfiguration("s", "s/#")


def message(number: int) -> Publication:
    return Publication("s/t", f"m{number}", 0, b"1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data" / "streams.db"


@asynccontextmanager
async def opened(path: Path, synchronous: Literal["full", "normal"] = "full") -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, [STREAM], synchronous=synchronous)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def fill(path: Path, first: int, last: int) -> Bounds:
    async with opened(path) as store:
        await asyncio.gather(*(store.append("s", message(number)) for number in range(first, last + 1)))
        return await store.bounds("s")


def put_into(file: Path, copy: Path) -> None:
    """Replace what is in a file; it stays the same file."""
    file.write_bytes(copy.read_bytes())


def forget(path: Path, what: str = "-seen") -> None:
    path.with_name(path.name + what).unlink()


async def bounds(path: Path) -> Bounds:
    async with opened(path) as store:
        return await store.bounds("s")


async def test_a_stop_and_a_start_change_nothing(place: Path) -> None:
    told = await fill(place, 1, 5)
    for _ in range(3):
        assert await bounds(place) == told


async def test_a_copy_from_before_the_last_start_is_found_out(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(place, 1, 5)
    shutil.copy(place, tmp_path / "backup")
    newer = await fill(place, 6, 9)
    # Into the very same file, so that only what is in it can tell.
    put_into(place, tmp_path / "backup")
    with caplog.at_level(logging.WARNING, "gateway.streams"):
        found = await bounds(place)
    assert found.epoch != newer.epoch
    assert found.last == 5
    assert "begin a new epoch" in caplog.text
    assert await fill(place, 10, 10) == await bounds(place)
    assert (await bounds(place)).epoch == found.epoch


async def test_a_copy_from_the_last_run_is_found_out(place: Path, tmp_path: Path) -> None:
    async with opened(place) as store:
        await asyncio.gather(*(store.append("s", message(number)) for number in range(2000)))
        # As a copying program does: the database, and what SQLite has beside it.
        shutil.copy(place, tmp_path / "backup")
        shutil.copy(f"{place}-wal", tmp_path / "backup-wal")
        await store.append("s", message(1))
        newer = await store.bounds("s")
    put_into(place, tmp_path / "backup")
    shutil.copy(tmp_path / "backup-wal", f"{place}-wal")
    found = await bounds(place)
    assert (found.epoch != newer.epoch, found.last) == (True, 2000)


async def test_a_copy_in_another_place_is_a_life_of_its_own(place: Path, tmp_path: Path) -> None:
    told = await fill(place, 1, 5)
    shutil.copytree(place.parent, tmp_path / "copied")
    copied = await bounds(tmp_path / "copied" / "streams.db")
    assert (copied.epoch != told.epoch, copied.last) == (True, 5)
    assert await bounds(place) == told


async def test_without_the_note_nothing_is_taken_for_granted(place: Path) -> None:
    told = await fill(place, 1, 5)
    forget(place)
    found = await bounds(place)
    assert (found.epoch != told.epoch, found.last) == (True, 5)
    assert await bounds(place) == found


async def test_every_stream_begins_a_new_epoch_those_not_configured_too(place: Path) -> None:
    old = await fill(place, 1, 5)
    forget(place)
    other = SqliteStore(place, [StreamConfiguration("other", "o/#")])
    await other.start()
    assert other.statistics().epochs_raised == 1
    await other.stop()
    assert (await bounds(place)).epoch != old.epoch


async def test_a_new_database_beside_an_old_note_is_just_new(place: Path) -> None:
    old = await fill(place, 1, 5)
    forget(place, "")
    new = await bounds(place)
    assert (new.epoch != old.epoch, new.last) == (True, 0)
    assert await bounds(place) == new


async def test_a_stop_of_the_machine_matters_where_answers_do_not_outlive_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = place.with_name("streams.db-seen")

    async def crash() -> Bounds:
        """A stop without the last note."""
        async with opened(place, "normal") as store:
            await store.append("s", message(1))
            crashed = note.read_bytes()
            told = await store.bounds("s")
        note.write_bytes(crashed)
        return told

    assert (await crash()).epoch == (await bounds(place)).epoch
    # Closed properly, everything is on the disk.
    old = await bounds(place)
    monkeypatch.setattr(sqlite_seen, "boot_id", lambda: "the next boot")
    assert await bounds(place) == old
    await crash()
    monkeypatch.setattr(sqlite_seen, "boot_id", lambda: "the one after")
    assert (await bounds(place)).epoch != old.epoch
