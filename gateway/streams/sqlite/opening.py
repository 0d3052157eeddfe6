"""Taking over a database of streams: is it the one that was closed last, and what does it hold?"""

from __future__ import annotations

import logging
import secrets
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.streams.configuration import Bounds
from gateway.streams.sqlite.counters import correct, corrections
from gateway.streams.sqlite.file import make_log, open_alone, write_ahead_log
from gateway.streams.sqlite.logs import SqliteLog, load
from gateway.streams.sqlite.seen import Seen, boot_id, doubt, file_number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.errors import StreamUnavailable
    from gateway.streams.sqlite.file import Synchronous
    from gateway.streams.sqlite.seen import End, SeenFile

_log = logging.getLogger("gateway.streams")


class Opened(NamedTuple):
    """What a database turned out to hold.

    Attributes:
        numbers: of the configured streams, which name their tables.
        token: of this opening.
        raised: how many streams began a new epoch.
        refusal: what publishers are given, where the database can be read but not written; else None.
    """

    bounds: Mapping[str, Bounds]
    numbers: Mapping[str, int]
    token: str
    raised: int
    refusal: StreamUnavailable | None = None


def look_at(path: Path, configurations: Sequence[StreamConfiguration], refusal: StreamUnavailable) -> Opened:
    """What a database holds that can't be written; of streams that it doesn't know nothing can be told.

    Nothing of it is in doubt: where it is an old copy of itself, nothing is added to it.

    Raises:
        sqlite3.Error: it can't be read either.
    """
    configured = {each.name for each in configurations}
    with closing(open_alone(path)) as connection:
        rows = connection.execute("SELECT name, number, epoch, first, last FROM stream").fetchall()
    found = {name: (number, Bounds(*bounds)) for name, number, *bounds in rows if name in configured}
    return Opened(
        {name: bounds for name, (_, bounds) in found.items()},
        {name: number for name, (number, _) in found.items()},
        "",
        0,
        refusal,
    )


def take_over(
    connection: sqlite3.Connection,
    path: Path,
    configurations: Sequence[StreamConfiguration],
    *,
    most_keys: int,
    synchronous: Synchronous,
    seen_file: SeenFile,
    answered: Mapping[str, End],
    noted: Mapping[int, End],
) -> tuple[Opened, dict[str, SqliteLog]]:
    """Make the database this start's own; every stream begins a new epoch if it may be an older copy.

    Args:
        connection: the one that writes.
        path: of the database.
        configurations: the streams, of which those that aren't there yet are made.
        most_keys: idempotency keys that a stream may remember.
        synchronous: what the answers to come will outlive.
        seen_file: the note beside it.
        answered: how far each log had come when this process last knew.
        noted: the same by number, as it was noted with the last transaction of whoever wrote last.

    Raises:
        OSError: the note can't be written.
        sqlite3.Error: the database can't be written.
    """
    _correct(connection, path)
    (token,) = connection.execute("SELECT token FROM store").fetchone()
    file = file_number(path)
    seen, ends = seen_file.read(), _ends(connection)
    reason = _shorter(connection, answered, noted)
    # A database that has just been made has nothing to be doubted, unless there was another in its place.
    if reason is None and (token or (seen is not None and any(last for _, last in seen.ends.values()))):
        reason = doubt(seen, token, ends, file)
    new_token = secrets.token_hex(8)
    if token and seen is not None and reason is None:
        # The note goes first: a crash before the database knows its token must not look like an old copy.
        seen_file.begin(seen, new_token, token)
    raised = 0
    connection.execute("BEGIN IMMEDIATE")
    if reason is not None:
        raised = _begin_epochs(connection)
        _log.warning(
            "%s: %s: all streams (%d) begin a new epoch", path, reason, raised or len(configurations)
        )
    connection.execute("UPDATE store SET token = ?", (new_token,))
    known = _ends(connection)
    for each in configurations:
        if each.name not in known:
            _make(connection, each)
    connection.execute("COMMIT")
    # Not within the transaction, which would not be kept if something damaged was met.
    logs = {each.name: load(connection, each, most_keys) for each in configurations}
    log = file_number(write_ahead_log(path))
    seen_file.write(Seen(new_token, _ends(connection), file, log, None, boot_id(), synchronous == "full"))
    bounds = {name: log.bounds for name, log in logs.items()}
    return Opened(bounds, {name: log.number for name, log in logs.items()}, new_token, raised), logs


def set_foreign_log_aside(path: Path, seen: Seen | None) -> None:
    """Keep SQLite from applying the write-ahead log of a database that was replaced to the one in its place.

    After a crash the log holds what was written last. Where an older copy was put over the database, and the
    log was forgotten, the two together would make a damaged database.

    Raises:
        OSError: it can't be moved.
    """
    log = write_ahead_log(path)
    if seen is not None and seen.log == file_number(log) != 0 and seen.file != file_number(path):
        aside = log.with_name(log.name + ".old")
        log.replace(aside)
        _log.warning("%s isn't the log of the database that is there now: it is %s from now on", log, aside)


def new_epoch() -> str:
    """A name that no life of a log had before."""
    return secrets.token_hex(8)


def _correct(connection: sqlite3.Connection, path: Path) -> None:
    found = corrections(connection)
    for each in found:
        _log.error(
            "%s: what is noted of stream %r is damaged: its offsets are taken to be %d to %d",
            path,
            each.name,
            each.first,
            each.last,
        )
    if found:
        correct(connection, found)


def _begin_epochs(connection: sqlite3.Connection) -> int:
    numbers = connection.execute("SELECT number FROM stream").fetchall()
    connection.executemany(
        "UPDATE stream SET epoch = ? WHERE number = ?", [(new_epoch(), number) for (number,) in numbers]
    )
    return len(numbers)


def _make(connection: sqlite3.Connection, limits: StreamConfiguration) -> None:
    made = connection.execute(
        "INSERT INTO stream (name, epoch, first, last, bytes, time) VALUES (?, ?, 1, 0, 0, 0)",
        (limits.name, new_epoch()),
    )
    assert made.lastrowid is not None
    make_log(connection, made.lastrowid)


def _ends(connection: sqlite3.Connection) -> dict[str, End]:
    rows = connection.execute("SELECT name, epoch, last FROM stream")
    return {name: (epoch, last) for name, epoch, last in rows}


def _shorter(
    connection: sqlite3.Connection, answered: Mapping[str, End], noted: Mapping[int, End]
) -> str | None:
    """What is missing of what was answered, where one of those who know says so."""
    rows = connection.execute("SELECT number, name, epoch, last FROM stream").fetchall()
    missing = [
        (name, known - last)
        for number, name, epoch, last in rows
        for known_epoch, known in (noted.get(number, ("", 0)), answered.get(name, ("", 0)))
        if known_epoch == epoch and known > last
    ]
    if missing:
        stream, count = max(missing, key=lambda each: each[1])
        return f"{count} publications that were answered are missing at the end of stream {stream!r}"
    if not rows and (count := sum(last for _, last in noted.values())):
        return f"it is empty, although publications were answered up to offsets that add up to {count}"
    return None
