"""One owner for one database file, by whatever name it is found."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreUnusable
from gateway.streams.sqlite.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not hasattr(fcntl, "F_OFD_SETLK"), reason="the system has no locks of open files"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "streams.db"
    path.touch()
    return path


def test_a_file_has_one_owner_until_it_is_released(path: Path) -> None:
    one, other = FileLock(path), FileLock(path)
    one.claim()
    with pytest.raises(StoreUnusable, match="by another name"):
        other.claim()
    one.release()
    other.claim()
    other.release()


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_another_name_is_the_same_file(path: Path, link: object) -> None:
    alias = path.with_name("alias.db")
    link(path, alias)  # type: ignore[operator]
    one, other = FileLock(path), FileLock(alias)
    one.claim()
    with pytest.raises(StoreUnusable):
        other.claim()
    one.release()


def test_what_is_claimed_may_be_claimed_again_by_its_owner(path: Path) -> None:
    one = FileLock(path)
    for _ in range(3):
        one.claim()
    with pytest.raises(StoreUnusable):
        FileLock(path).claim()
    one.release()
    one.release()


def test_a_file_put_in_its_place_is_claimed_instead(path: Path) -> None:
    one = FileLock(path)
    one.claim()
    old = path.rename(path.with_name("old.db"))
    path.touch()
    one.claim()
    with pytest.raises(StoreUnusable):
        FileLock(path).claim()
    former = FileLock(old)
    former.claim()
    former.release()
    one.release()


def test_a_file_that_is_not_there_yet_is_nobodys(path: Path) -> None:
    path.unlink()
    one = FileLock(path)
    one.claim()
    path.touch()
    other = FileLock(path)
    other.claim()
    with pytest.raises(StoreUnusable):
        one.claim()
    other.release()


def test_sqlite_may_lock_and_close_the_file_meanwhile(path: Path) -> None:
    """Other locks of a process end when any part of it closes the file."""
    one = FileLock(path)
    one.claim()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StoreUnusable):
        FileLock(path).claim()
    one.release()
