"""Where ``gateway subscribe`` begins, as its options say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.start_option import PositionFile, PositionsNotKept, parse_from
from gateway.client.positions import parse_start

if TYPE_CHECKING:
    from pathlib import Path

AT = {"orders": {"epoch": "e1", "offset": 4}}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("new", "new"),
        ("earliest", "earliest"),
        ("4711", {"offset": 4711}),
        ("last:10", {"last": 10}),
        ("last_per_topic:1000", {"last_per_topic": 1000}),
        ("time:0", {"time": 0}),
        ("time:1772352000123", {"time": 1772352000123}),
        ("time:2026-03-01T08:00:00.5Z", {"time": 1772352000500}),
        ("time:2026-03-01T09:00+01:00", {"time": 1772352000000}),
    ],
)
def test_from_is_read(text: str, start: Any) -> None:
    assert parse_from(text) == start
    parse_start(start)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "1.5",
        "last",
        "last:0",
        "last:-1",
        "last_per_topic:0",
        "last_per_topic:1001",
        "time:",
        "time:1900-01-01",
        "newest",
        "offset:5",
        "²",
        "a:1",
    ],
)
def test_what_is_no_beginning_is_refused(text: str) -> None:
    known = "new, earliest, snapshot, an offset from 1, last:N, last_per_topic:N or time:T"
    with pytest.raises(ValueError, match=f"it is {known}"):
        parse_from(text)


def test_positions_are_kept_by_filter(tmp_path: Path) -> None:
    path = str(tmp_path / "kept")
    file = PositionFile(path)
    assert file.positions("orders/#") == {}
    file.keep({"orders/#": AT})
    file.keep({"other/#": {}})
    assert PositionFile(path).positions("orders/#") == AT
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("text", ["", "[]", "7", '{"a": 7}', '{"a": {"s": {"epoch": "e"}}}', "\x00"])
def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "precious"
    path.write_text(text)
    with pytest.raises(PositionsNotKept, match="precious is not a position file"):
        PositionFile(str(path))
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["[]", "7", '"a"', "null"])
def test_a_file_of_another_shape_is_told_in_words_of_its_user(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(
        PositionsNotKept, match="not a position file: it holds no object with a filter for each name"
    ):
        PositionFile(str(path))


def test_wrong_options_are_told_before_anything_is_received(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    for options, said in (
        (["--from", "last"], "--from 'last': it is new, earliest"),
        (["--position-file", str(tmp_path / "none" / "file")], "--position-file: "),
        (["--position-file", str(tmp_path)], "--position-file: "),
        (["--position-file", str(tmp_path / "binary")], "binary is not a position file"),
    ):
        result = CliRunner().invoke(app, ["subscribe", "a", *options])
        assert (result.exit_code, said in result.output) == (2, True), result.output
