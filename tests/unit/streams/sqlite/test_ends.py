"""What is noted of the logs' ends survives, slot by slot, whatever becomes of the other slots."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.sqlite.ends import EndsFile
from gateway.streams.sqlite.logs import SqliteLog

if TYPE_CHECKING:
    from pathlib import Path

SLOT = 32
EPOCHS = st.text("0123456789abcdef", min_size=1, max_size=16)
End = tuple[str, int]
ENDS = st.dictionaries(st.integers(1, 20), st.tuples(EPOCHS, st.integers(0, 2**62)), max_size=6)


def logs(ends: dict[int, End]) -> list[SqliteLog]:
    configuration = StreamConfiguration("s", "s/#")
    return [
        SqliteLog(configuration, 0, number, epoch, first=1, last=last, bytes=0, time=0)
        for number, (epoch, last) in ends.items()
    ]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ends") / "ends"


@given(st.lists(ENDS, max_size=5))
def test_the_last_note_of_each_log_is_what_is_read(path: Path, notes: list[dict[int, End]]) -> None:
    path.unlink(missing_ok=True)
    file, known = EndsFile(path), dict[int, End]()
    for each in notes:
        file.note(logs(each))
        known |= each
        assert file.read() == known
    file.close()
    assert EndsFile(path).read() == known


@given(st.integers(0, 3 * SLOT - 1), st.integers(1, 255))
def test_a_slot_that_was_damaged_is_no_end_and_the_others_are(path: Path, at: int, flipped: int) -> None:
    path.unlink(missing_ok=True)
    ends = {number: (f"epoch{number}", number * 7) for number in range(3)}
    file = EndsFile(path)
    file.note(logs(ends))
    file.close()
    content = bytearray(path.read_bytes())
    content[at] ^= flipped
    path.write_bytes(content)
    found = file.read()
    damaged = at // SLOT
    assert {number: end for number, end in found.items() if number != damaged} == {
        number: end for number, end in ends.items() if number != damaged
    }
    # Some bytes of a slot say nothing.
    assert found.get(damaged, ends[damaged]) == ends[damaged]


@pytest.mark.parametrize("size", [0, 1, SLOT - 1, SLOT + 5])
def test_a_file_cut_short_has_the_slots_that_are_whole(path: Path, size: int) -> None:
    file = EndsFile(path)
    file.note(logs({0: ("a", 1), 1: ("b", 2)}))
    file.close()
    path.write_bytes(path.read_bytes()[:size])
    assert file.read() == ({0: ("a", 1)} if size >= SLOT else {})


def test_what_is_not_there_has_no_ends(tmp_path: Path) -> None:
    assert EndsFile(tmp_path / "nothing").read() == {}
    assert EndsFile(tmp_path).read() == {}


def test_a_note_that_fails_is_told_once_and_undoes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = EndsFile(tmp_path / "no directory" / "ends")
    with caplog.at_level(logging.WARNING, "gateway.streams"):
        for _ in range(3):
            file.note(logs({1: ("a", 1)}))
        assert len(caplog.records) == 1
        (tmp_path / "no directory").mkdir()
        file.note(logs({1: ("a", 2)}))
    assert file.read() == {1: ("a", 2)}
    assert len(caplog.records) == 1
    file.close()
    file.close()
