"""The tables of groups in a SQLite store, and what is read from them.

Rows bear checksums, as those of logs do: what is damaged is left out, and said.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.codecs.group_record import (
    BadGroupRecord,
    GroupHead,
    decode_delivery,
    decode_group,
    range_seal,
)
from gateway.core.groups.deliveries import DeliveryState
from gateway.errors import NotFound
from gateway.streams.groups.base import DeadLetter
from gateway.streams.groups.journal import (
    GroupCounters,
    GroupState,
    LoadedGroups,
    Trimmed,
    letter_id,
)
from gateway.streams.sqlite.rows import is_removed, is_whole, publication_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from gateway.core.groups.deliveries import TrackedDelivery
    from gateway.core.messages.publication import Publication
    from gateway.streams.sqlite.rows import Row

_TOGETHER: Final = 64
GROUP_TABLES: Final = """
CREATE TABLE IF NOT EXISTS consumer_group (
    number INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    trimmed INTEGER NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (stream, name)
);
CREATE TABLE IF NOT EXISTS delivery (
    consumers INTEGER NOT NULL, offset INTEGER NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (consumers, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finished (
    consumers INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (consumers, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letter (
    consumers INTEGER NOT NULL, last_failed INTEGER NOT NULL, offset INTEGER NOT NULL,
    first_failed INTEGER NOT NULL, attempts INTEGER NOT NULL, reason BLOB NOT NULL,
    time INTEGER NOT NULL, record BLOB NOT NULL, seal INTEGER,
    UNIQUE (consumers, last_failed, offset), UNIQUE (consumers, offset)
);
CREATE TABLE IF NOT EXISTS redriven (
    consumers INTEGER NOT NULL, offset INTEGER NOT NULL,
    time INTEGER NOT NULL, record BLOB NOT NULL, seal INTEGER,
    UNIQUE (consumers, offset)
);
CREATE TABLE IF NOT EXISTS trimmed (
    stream INTEGER NOT NULL, offset INTEGER NOT NULL, topic BLOB NOT NULL, key BLOB,
    PRIMARY KEY (stream, offset)
) WITHOUT ROWID;
"""
_LETTER: Final = "offset, time, record, seal, attempts, reason, first_failed, last_failed"

_log = logging.getLogger("gateway.streams")


def make_groups(connection: sqlite3.Connection) -> None:
    """Make the tables of groups, where they aren't there."""
    for statement in GROUP_TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)


def note_trimmed(connection: sqlite3.Connection, number: int, gone: Iterable[Trimmed]) -> None:
    """Note what retention takes of a log, until its groups have counted that."""
    connection.executemany(
        "INSERT OR REPLACE INTO trimmed VALUES (?, ?, ?, ?)",
        [
            (number, each.offset, to_bytes(each.topic), None if each.key is None else to_bytes(each.key))
            for each in gone
        ],
    )


def load_groups(stream: int, name: str, connection: sqlite3.Connection) -> LoadedGroups:
    """All groups of a stream, as far as they can be read."""
    states: list[GroupState] = []
    damaged: list[str] = []
    rows = connection.execute(
        "SELECT number, name, record FROM consumer_group WHERE stream = ? ORDER BY number", (stream,)
    ).fetchall()
    for number, group, record in rows:
        try:
            states.append(_state(connection, stream, name, number, decode_group(record)))
        except BadGroupRecord:
            damaged.append(_text(group))
            _log.error(
                "what is kept of group %r of stream %r is damaged: made again, it begins with the oldest"
                " publication",
                damaged[-1],
                name,
            )
    return LoadedGroups(states, damaged)


def _state(
    connection: sqlite3.Connection, stream: int, name: str, number: int, head: GroupHead
) -> GroupState:
    counters = GroupCounters(*head.counters)
    bad = 0
    deliveries: list[TrackedDelivery] = []
    for offset, record in connection.execute(
        "SELECT offset, record FROM delivery WHERE consumers = ? ORDER BY offset", (number,)
    ):
        try:
            deliveries.append(decode_delivery(offset, record))
        except BadGroupRecord:
            bad += 1
    ranges: list[tuple[int, int]] = []
    for first, last, mark in connection.execute(
        "SELECT first, last, seal FROM finished WHERE consumers = ? ORDER BY first", (number,)
    ):
        if isinstance(first, int) and isinstance(last, int) and mark == range_seal(first, last):
            ranges.append((first, last))
        else:
            bad += 1
    if bad:
        _log.error(
            "%d rows of group %r of stream %r are damaged: what they told of is delivered again",
            bad,
            head.configuration.name,
            name,
        )
    copies = connection.execute(
        "SELECT offset, time, record, seal FROM redriven WHERE consumers = ?", (number,)
    )
    redriven = {row[0]: publication_of(row, name) for row in copies.fetchall()}
    held = [each.offset for each in deliveries if each.state is DeliveryState.DEAD]
    letters = copies_of(connection, "dead_letter", number, held)
    gone = connection.execute(
        "SELECT offset, topic, key FROM trimmed WHERE stream = ? AND offset > ? ORDER BY offset",
        (stream, counters.trimmed),
    )
    return GroupState(
        head.configuration,
        head.life,
        head.epoch,
        counters,
        ranges,
        deliveries,
        _readable(redriven),
        _readable({row[0]: publication_of(row, name) for row in letters}),
        count_dead(connection, number),
        [Trimmed(offset, _text(topic), None if key is None else _text(key)) for offset, topic, key in gone],
    )


def _readable(found: dict[int, Publication | None]) -> dict[int, Publication]:
    return {offset: each for offset, each in found.items() if each is not None}


def letters(
    stream: int,
    name: str,
    group: str,
    page: tuple[int, int, int],
    connection: sqlite3.Connection,
) -> Sequence[DeadLetter]:
    """A page of dead letters, the newest first: those before a time and an offset, and how many."""
    number = group_number(connection, stream, group)
    rows = connection.execute(
        f"SELECT {_LETTER} FROM dead_letter WHERE consumers = ? AND (last_failed, offset) < (?, ?)"  # noqa: S608
        " ORDER BY last_failed DESC, offset DESC LIMIT ?",
        (number, *page),
    ).fetchall()
    return _letters_of(rows, name)


def letters_at(
    stream: int, name: str, group: str, offsets: Sequence[int], connection: sqlite3.Connection
) -> Sequence[DeadLetter]:
    """The dead letters of these offsets, which ascend."""
    number = group_number(connection, stream, group)
    rows: list[tuple[object, ...]] = []
    for at in range(0, len(offsets), _TOGETHER):
        wanted = offsets[at : at + _TOGETHER]
        places = ", ".join("?" * len(wanted))
        rows += connection.execute(
            f"SELECT {_LETTER} FROM dead_letter WHERE consumers = ? AND offset IN ({places}) ORDER BY offset",  # noqa: S608
            (number, *wanted),
        ).fetchall()
    return _letters_of(rows, name)


def _letters_of(rows: Sequence[tuple[object, ...]], name: str) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    for offset, time, record, mark, attempts, reason, first_failed, last_failed in rows:
        publication = publication_of((offset, time, record, mark), name)  # type: ignore[arg-type]
        if publication is not None and isinstance(last_failed, int) and isinstance(offset, int):
            letters.append(
                DeadLetter(
                    letter_id(last_failed, offset),
                    publication,
                    attempts if isinstance(attempts, int) else 0,
                    _text(reason),
                    first_failed if isinstance(first_failed, int) else last_failed,
                    last_failed,
                )
            )
    return letters


def old_letters(
    stream: int, group: str, before: int, limit: int, connection: sqlite3.Connection
) -> list[int]:
    """The offsets of the oldest dead letters that failed before a time (ms since 1970)."""
    rows = connection.execute(
        "SELECT offset FROM dead_letter WHERE consumers = ? AND last_failed < ? ORDER BY last_failed LIMIT ?",
        (group_number(connection, stream, group), before, limit),
    ).fetchall()
    return [offset for (offset,) in rows]


def dead_count(stream: int, group: str, connection: sqlite3.Connection) -> int:
    """How many dead letters a group has."""
    return count_dead(connection, group_number(connection, stream, group))


def count_dead(connection: sqlite3.Connection, number: int) -> int:
    """How many dead letters the group of that number has."""
    (count,) = connection.execute(
        "SELECT count(*) FROM dead_letter WHERE consumers = ?", (number,)
    ).fetchone()
    return int(count)


def copies_of(connection: sqlite3.Connection, table: str, number: int, offsets: Sequence[int]) -> list[Row]:
    """The copies that a group has of these offsets, which ascend, in one of its tables."""
    rows: list[Row] = []
    for at in range(0, len(offsets), _TOGETHER):
        wanted = offsets[at : at + _TOGETHER]
        places = ", ".join("?" * len(wanted))
        rows += connection.execute(
            f"SELECT offset, time, record, seal FROM {table}"  # noqa: S608 - a name of this module
            f" WHERE consumers = ? AND offset IN ({places})",
            (number, *wanted),
        ).fetchall()
    return rows


def group_number(connection: sqlite3.Connection, stream: int, group: str) -> int:
    """The number of a group, which its rows bear.

    Raises:
        NotFound: there is no such group.
    """
    row = connection.execute(
        "SELECT number FROM consumer_group WHERE stream = ? AND name = ?", (stream, group)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no group {group[:64]!r}")
    return int(row[0])


def is_good(row: Row) -> bool:
    """Whether a row tells of a publication that can be given."""
    return is_whole(row) and not is_removed(row)


def to_bytes(text: str) -> bytes:
    """Text as it is kept: lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
