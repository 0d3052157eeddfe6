"""Where ``gateway subscribe`` begins: ``--from``, and the file of ``--position-file``."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, cast

import typer

from gateway.core.messages.commands import MOST_PER_TOPIC

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.client.positions import PositionFields, StartFrom

FROM_HELP = (
    "Where to begin in streams: new, earliest, snapshot, an offset, last:N, last_per_topic:N, or time:T with "
    "milliseconds since 1970 or ISO 8601 (local time where it names no zone)."
)


LastOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--last", min=1, metavar="N", help="Begin with each stream's newest N that match."),
]
LastPerTopicOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--last-per-topic", min=1, max=MOST_PER_TOPIC, metavar="N", help="Begin with each topic's newest N."
    ),
]


_WORDS: Final = ("new", "earliest", "snapshot")


class PositionsNotKept(Exception):  # noqa: N818 - says what happened
    """The position file can't be read or written."""


def one_beginning(text: str, last: int | None, last_per_topic: int | None) -> StartFrom:
    """Read the value of ``--from``, or of the option that is short for one of its forms.

    Raises:
        ValueError: it is none, or several options say where to begin.
    """
    said = {"last": last, "last_per_topic": last_per_topic}
    short = [f"{name}:{count}" for name, count in said.items() if count is not None]
    if len(short) + (text != "new") > 1:
        raise ValueError("--from, --last and --last-per-topic: one of them says where to begin")
    return parse_from(*short or [text])


def parse_from(text: str) -> StartFrom:
    """Read the value of ``--from``.

    Raises:
        ValueError: it is none.
    """
    if text in _WORDS:
        return cast("StartFrom", text)
    kind, colon, value = text.partition(":")
    with suppress(ValueError, OverflowError):
        if not colon:
            return {"offset": _number(text, least=1)}
        if kind == "last":
            return {"last": _number(value, least=1)}
        if kind == "last_per_topic":
            return {"last_per_topic": _number(value, least=1, most=MOST_PER_TOPIC)}
        if kind == "time":
            return {"time": _time(value)}
    raise ValueError(
        f"--from {text!r}: it is new, earliest, snapshot, an offset from 1, last:N, last_per_topic:N or "
        "time:T"
    )


def _number(text: str, *, least: int, most: float = float("inf")) -> int:
    number = int(text) if text.isdecimal() and text.isascii() else -1
    if not least <= number <= most:
        raise ValueError(text)
    return number


def _time(text: str) -> int:
    if text.isdecimal():
        return _number(text, least=0)
    milliseconds = round(datetime.fromisoformat(text).timestamp() * 1000)
    if milliseconds < 0:
        raise ValueError(text)
    return milliseconds


class PositionFile:
    """Keeps for each filter where its last printed message was: JSON in a file, replaced as a whole.

    Any thread may keep.
    """

    def __init__(self, path: str) -> None:
        """Read ``path``, and write it back, so that a wrong one is known before anything is received.

        Raises:
            PositionsNotKept: it holds something else, or can't be read or written.
        """
        self._path = Path(path)
        self._one_writer = threading.Lock()
        self._positions = self._read()
        self.keep({})

    def positions(self, topic_filter: str) -> Mapping[str, PositionFields]:
        """Where the filter's messages go on; empty if nothing was kept."""
        return self._positions.get(topic_filter, {})

    def keep(self, positions: Mapping[str, Mapping[str, PositionFields]]) -> None:
        """Write the ``positions`` of some filters; those of others stay.

        Raises:
            PositionsNotKept: the file can't be written.
        """
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            with self._one_writer:
                self._positions.update(positions)
                new.write_text(json.dumps(self._positions, indent=1) + "\n", "utf-8")
                new.replace(self._path)
        except OSError as error:
            raise PositionsNotKept(f"{self._path}: {error.strerror or error}") from error

    def _read(self) -> dict[str, Mapping[str, PositionFields]]:
        from gateway.client.positions import parse_positions  # noqa: PLC0415 - keeps `gateway --help` quick

        try:
            kept = json.loads(self._path.read_text("utf-8"))
            if not isinstance(kept, dict):
                raise ValueError("it holds no object with a filter for each name")  # noqa: TRY004, TRY301 - as below
            for positions in kept.values():
                parse_positions(positions)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise PositionsNotKept(f"{self._path}: {error.strerror or error}") from error
        except ValueError as error:
            raise PositionsNotKept(f"{self._path} is not a position file: {error}") from error
        return dict(kept)
