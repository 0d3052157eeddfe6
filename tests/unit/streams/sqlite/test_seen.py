"""Whether a database is the one that was closed last, by the note beside it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.streams.sqlite.seen import Seen, SeenFile, boot_id, doubt, file_number

if TYPE_CHECKING:
    from pathlib import Path

SEEN = Seen("t", {"s": ("e", 5)}, 77, 78, None, boot_id(), safe=True)
ENDS = {"s": ("e", 5)}


def test_the_same_database_is_not_doubted() -> None:
    assert doubt(SEEN, "t", ENDS, 77) is None
    # Answers that the note has not caught up with, and a stream made since.
    assert doubt(SEEN, "t", {"s": ("e", 9), "new": ("f", 0)}, 77) is None
    # A start that came as far as the note, but not to the database.
    assert doubt(replace(SEEN, token="u", previous="t"), "t", ENDS, 77) is None
    # A crash of the process loses nothing, however it is configured.
    assert doubt(replace(SEEN, safe=False), "t", ENDS, 77) is None
    assert doubt(replace(SEEN, boot="another"), "t", ENDS, 77) is None


@pytest.mark.parametrize(
    ("seen", "token", "ends", "file", "reason"),
    [
        (None, "t", ENDS, 77, "no note"),
        (SEEN, "old", ENDS, 77, "written last"),
        (SEEN, "t", ENDS, 99, "another file"),
        (SEEN, "t", {"s": ("e", 4)}, 77, "'s' had more"),
        (SEEN, "t", {"s": ("f", 9)}, 77, "'s' had more"),
        (SEEN, "t", {}, 77, "'s' had more"),
        (replace(SEEN, safe=False, boot="another"), "t", ENDS, 77, "the machine stopped"),
    ],
)
def test_another_is(
    seen: Seen | None, token: str, ends: dict[str, tuple[str, int]], file: int, reason: str
) -> None:
    told = doubt(seen, token, ends, file)
    assert told is not None
    assert reason in told


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    note = SeenFile(tmp_path / "seen")
    assert note.read() is None
    note.write(SEEN)
    assert SeenFile(tmp_path / "seen").read() == SEEN
    assert stat.S_IMODE((tmp_path / "seen").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["seen"]


def test_a_note_follows_its_own_start_alone(tmp_path: Path) -> None:
    note = SeenFile(tmp_path / "seen")
    note.write(SEEN)
    note.update("t", {"s": ("e", 8), "other": ("f", 1)})
    note.update("earlier", {"s": ("e", 3)})
    assert note.read() == replace(SEEN, ends={"s": ("e", 8), "other": ("f", 1)})
    note.begin(SEEN, "u", "t")
    assert note.read() == replace(SEEN, token="u", previous="t")


@pytest.mark.parametrize("on_disk", [True, False])
def test_closing_makes_safe_what_is_on_the_disk(tmp_path: Path, on_disk: bool) -> None:
    note = SeenFile(tmp_path / "seen")
    note.finish({"s": ("e", 9)}, on_disk=on_disk)
    assert note.read() is None
    note.write(replace(SEEN, safe=False))
    note.finish({"s": ("e", 9)}, on_disk=on_disk)
    assert note.read() == replace(SEEN, ends={"s": ("e", 9)}, safe=on_disk)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"token": "t"}', '{"ends": {"s": 5}}', '{"ends": []}']
)
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "seen").write_text(text)
    assert SeenFile(tmp_path / "seen").read() is None


def test_a_files_number_stays_when_it_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    number = file_number(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert file_number(tmp_path / "b") == number != 0
    assert file_number(tmp_path / "a") == 0
