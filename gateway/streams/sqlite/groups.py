"""The tables of groups in a SQLite store, and what is read and written of them.

What is written here are parts of transactions: each is a job that the writing thread does together with the
appends that wait (``group_commit``). Rows bear checksums, as those of logs do: what is damaged is left out,
and said.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from gateway.codecs.group_record import (
    BadGroupRecord,
    GroupHead,
    decode_delivery,
    decode_group,
    encode_delivery,
    encode_group,
    range_seal,
)
from gateway.codecs.record import encode_record
from gateway.core.groups.group import DeliveryState
from gateway.errors import NotFound
from gateway.streams.groups.base import DeadLetter
from gateway.streams.groups.journal import (
    GroupCounters,
    GroupState,
    KeptChange,
    LoadedGroups,
    Trimmed,
    letter_id,
    letter_place,
)
from gateway.streams.sqlite.rows import is_removed, is_whole, publication_of, rows_at, seal

if TYPE_CHECKING:
    import asyncio
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.groups.group import Dead, TrackedDelivery
    from gateway.core.messages.publication import Publication
    from gateway.streams.groups.journal import GroupChange
    from gateway.streams.sqlite.rows import Row

T = TypeVar("T")


class Transact(Protocol):
    """Does a job in the next transaction."""

    def __call__(self, job: Callable[[sqlite3.Connection], T], /) -> asyncio.Future[T]: ...  # noqa: D102


class Look(Protocol):
    """Does a job that only reads."""

    async def __call__(self, job: Callable[[sqlite3.Connection], T], /) -> T: ...  # noqa: D102


_TOGETHER: Final = 64
_EXPIRED_TOGETHER: Final = 1000
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
_OF_A_GROUP: Final = ("delivery", "finished", "dead_letter", "redriven")
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
            (number, each.offset, _bytes(each.topic), None if each.key is None else _bytes(each.key))
            for each in gone
        ],
    )


class SqliteJournal:
    """Keeps groups in the tables of a store."""

    durable = True

    def __init__(
        self,
        number: Callable[[str], int],
        write: Transact,
        look: Look,
    ) -> None:
        """Use a store's transactions.

        Args:
            number: tells a stream's number, which names its tables.
            write: does a job in the next transaction.
            look: does one that only reads.
        """
        self._number = number
        self._write = write
        self._look = look
        self._trimmed: dict[tuple[str, str], int] = {}
        self._lives: dict[tuple[str, str], tuple[str, str]] = {}

    async def load(self, stream: str) -> LoadedGroups:
        """All groups of a stream, as far as they can be read."""
        loaded = await self._look(partial(_load, self._number(stream), stream))
        for each in loaded.states:
            self._lives[stream, each.configuration.name] = each.life, each.epoch
        return loaded

    async def begin(self, stream: str, state: GroupState) -> None:
        """Keep a group as a whole."""
        await self._write(partial(_begin, self._number(stream), state))
        self._lives[stream, state.configuration.name] = state.life, state.epoch

    def save(
        self, stream: str, configuration: GroupConfiguration, change: GroupChange
    ) -> asyncio.Future[KeptChange]:
        """Keep a change, in the next transaction."""
        key = stream, configuration.name
        life, epoch = self._lives[key]
        job = _Save(self._number(stream), change, configuration, life, epoch)
        if self._trimmed.get(key) != change.counters.trimmed:
            self._trimmed[key] = change.counters.trimmed
            job.forget_trimmed = True
        return self._write(job)

    async def expire(self, stream: str, group: str, before: int) -> KeptChange:
        """The oldest dead letters go."""
        old = await self._look(partial(_old, self._number(stream), group, before, _EXPIRED_TOGETHER))
        if not old:
            return KeptChange(await self._look(partial(_dead_count, self._number(stream), group)))
        dead = await self.discard(stream, group, old)
        return KeptChange(dead, (), old)

    async def end(self, stream: str, group: str) -> None:
        """Forget a group."""
        await self._write(partial(_forget, self._number(stream), group))

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> Sequence[DeadLetter]:
        """The newest first."""
        place = (2**63 - 1, 0) if after is None else letter_place(after)
        if place is None:
            return ()
        page = (*place, limit)
        return await self._look(partial(_letters, self._number(stream), stream, group, page))

    async def dead(self, stream: str, group: str, offsets: Sequence[int]) -> Sequence[DeadLetter]:
        """Those of these offsets."""
        if not offsets:
            return ()
        return await self._look(
            partial(_letters_at, self._number(stream), stream, group, sorted(set(offsets)))
        )

    async def discard(self, stream: str, group: str, offsets: Sequence[int]) -> int:
        """They are no more."""
        return await self._write(partial(_discard, self._number(stream), group, list(offsets)))


# What is written


class _Save:
    """A change as rows: what it refers to may change before the writing thread comes to it."""

    def __init__(
        self, stream: int, change: GroupChange, configuration: GroupConfiguration, life: str, epoch: str
    ) -> None:
        self._life = life
        self._epoch = epoch
        self._stream = stream
        self._change = change
        self._configuration = configuration
        self._put = [
            (offset, encode_delivery(each)) for offset, each in change.deliveries.items() if each is not None
        ]
        self._gone = [offset for offset, each in change.deliveries.items() if each is None]
        self.forget_trimmed = False

    def __call__(self, connection: sqlite3.Connection) -> KeptChange:
        stream, change, configuration = self._stream, self._change, self._configuration
        number = _number(connection, stream, configuration.name)
        connection.executemany(
            "INSERT OR REPLACE INTO delivery VALUES (?, ?, ?)",
            [(number, offset, record) for offset, record in self._put],
        )
        connection.executemany(
            "DELETE FROM delivery WHERE consumers = ? AND offset = ?",
            [(number, offset) for offset in self._gone],
        )
        _put_ranges(connection, number, change.ranges.items())
        dead: int | None = None
        missing, evicted = list[int](), list[int]()
        if change.redriven:
            _redrive(connection, number, change.redriven)
        if change.buried:
            missing = _bury(connection, stream, number, change.buried)
        if change.redriven or change.buried:
            dead = _count_dead(connection, number)
            if dead > configuration.dead_max_messages:
                evicted = _evict(connection, number, dead - configuration.dead_max_messages)
                dead -= len(evicted)
        if change.ended:
            connection.executemany(
                "DELETE FROM redriven WHERE consumers = ? AND offset = ?",
                [(number, offset) for offset in change.ended],
            )
        counters = change.counters._replace(lost=change.counters.lost + len(missing))
        record = encode_group(GroupHead(configuration, self._life, self._epoch, counters))
        connection.execute(
            "UPDATE consumer_group SET trimmed = ?, record = ? WHERE number = ?",
            (counters.trimmed, record, number),
        )
        if self.forget_trimmed:
            connection.execute(
                "DELETE FROM trimmed WHERE stream = ? AND offset <="
                " (SELECT min(trimmed) FROM consumer_group WHERE stream = ?)",
                (stream, stream),
            )
        return KeptChange(dead, missing, evicted)


def _begin(stream: int, state: GroupState, connection: sqlite3.Connection) -> None:
    name = state.configuration.name
    record = encode_group(GroupHead(state.configuration, state.life, state.epoch, state.counters))
    connection.execute(
        "INSERT INTO consumer_group (stream, name, trimmed, record) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (stream, name) DO UPDATE SET trimmed = excluded.trimmed, record = excluded.record",
        (stream, name, state.counters.trimmed, record),
    )
    number = _number(connection, stream, name)
    for table in ("delivery", "finished", "redriven"):
        connection.execute(f"DELETE FROM {table} WHERE consumers = ?", (number,))  # noqa: S608
    connection.executemany(
        "INSERT INTO delivery VALUES (?, ?, ?)",
        [(number, each.offset, encode_delivery(each)) for each in state.deliveries],
    )
    _put_ranges(connection, number, state.ranges)
    copies = [(offset, each.time, encode_record(each)) for offset, each in state.redriven.items()]
    connection.executemany(
        "INSERT INTO redriven VALUES (?, ?, ?, ?, ?)",
        [(number, offset, time, record, seal(offset, time, record)) for offset, time, record in copies],
    )


def _put_ranges(
    connection: sqlite3.Connection, number: int, ranges: Iterable[tuple[int, int | None]]
) -> None:
    ranges = list(ranges)
    connection.executemany(
        "INSERT OR REPLACE INTO finished VALUES (?, ?, ?, ?)",
        [(number, first, last, range_seal(first, last)) for first, last in ranges if last is not None],
    )
    connection.executemany(
        "DELETE FROM finished WHERE consumers = ? AND first = ?",
        [(number, first) for first, last in ranges if last is None],
    )


def _bury(connection: sqlite3.Connection, stream: int, number: int, buried: Sequence[Dead]) -> list[int]:
    """Copy what is dead from where it is kept; the offsets of what isn't any more."""
    offsets = sorted({each.offset for each in buried})
    rows = {offset: row for offset, row in rows_at(connection, stream, offsets).items() if _is_good(row)}
    rows |= {row[0]: row for row in _copies(connection, "redriven", number, offsets) if _is_good(row)}
    connection.executemany(
        "INSERT OR REPLACE INTO dead_letter (consumers, last_failed, offset, first_failed, attempts, reason,"
        " time, record, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                number,
                each.last_failed,
                each.offset,
                each.first_failed,
                each.attempts,
                _bytes(each.reason),
                *rows[each.offset][1:],
            )
            for each in buried
            if each.offset in rows
        ],
    )
    return [each.offset for each in buried if each.offset not in rows]


def _redrive(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> None:
    rows = _copies(connection, "dead_letter", number, sorted(offsets))
    connection.executemany(
        "INSERT OR REPLACE INTO redriven VALUES (?, ?, ?, ?, ?)", [(number, *row) for row in rows]
    )
    _delete_letters(connection, number, offsets)


def _discard(stream: int, group: str, offsets: Sequence[int], connection: sqlite3.Connection) -> int:
    number = _number(connection, stream, group)
    _delete_letters(connection, number, offsets)
    return _count_dead(connection, number)


def _delete_letters(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> None:
    connection.executemany(
        "DELETE FROM dead_letter WHERE consumers = ? AND offset = ?", [(number, each) for each in offsets]
    )


def _evict(connection: sqlite3.Connection, number: int, count: int) -> list[int]:
    rows = connection.execute(
        "SELECT offset FROM dead_letter WHERE consumers = ? ORDER BY last_failed, offset LIMIT ?",
        (number, count),
    ).fetchall()
    evicted = [offset for (offset,) in rows]
    _delete_letters(connection, number, evicted)
    return evicted


def _forget(stream: int, group: str, connection: sqlite3.Connection) -> None:
    number = _number(connection, stream, group)
    for table in _OF_A_GROUP:
        connection.execute(f"DELETE FROM {table} WHERE consumers = ?", (number,))  # noqa: S608
    connection.execute("DELETE FROM consumer_group WHERE number = ?", (number,))


# What is read


def _load(stream: int, name: str, connection: sqlite3.Connection) -> LoadedGroups:
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
    letters = _copies(connection, "dead_letter", number, held)
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
        _count_dead(connection, number),
        [Trimmed(offset, _text(topic), None if key is None else _text(key)) for offset, topic, key in gone],
    )


def _readable(found: dict[int, Publication | None]) -> dict[int, Publication]:
    return {offset: each for offset, each in found.items() if each is not None}


def _letters(
    stream: int,
    name: str,
    group: str,
    page: tuple[int, int, int],
    connection: sqlite3.Connection,
) -> Sequence[DeadLetter]:
    number = _number(connection, stream, group)
    rows = connection.execute(
        f"SELECT {_LETTER} FROM dead_letter WHERE consumers = ? AND (last_failed, offset) < (?, ?)"  # noqa: S608
        " ORDER BY last_failed DESC, offset DESC LIMIT ?",
        (number, *page),
    ).fetchall()
    return _letters_of(rows, name)


def _letters_at(
    stream: int, name: str, group: str, offsets: Sequence[int], connection: sqlite3.Connection
) -> Sequence[DeadLetter]:
    number = _number(connection, stream, group)
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


def _old(stream: int, group: str, before: int, limit: int, connection: sqlite3.Connection) -> list[int]:
    rows = connection.execute(
        "SELECT offset FROM dead_letter WHERE consumers = ? AND last_failed < ? ORDER BY last_failed LIMIT ?",
        (_number(connection, stream, group), before, limit),
    ).fetchall()
    return [offset for (offset,) in rows]


def _dead_count(stream: int, group: str, connection: sqlite3.Connection) -> int:
    return _count_dead(connection, _number(connection, stream, group))


def _count_dead(connection: sqlite3.Connection, number: int) -> int:
    (count,) = connection.execute(
        "SELECT count(*) FROM dead_letter WHERE consumers = ?", (number,)
    ).fetchone()
    return int(count)


def _copies(connection: sqlite3.Connection, table: str, number: int, offsets: Sequence[int]) -> list[Row]:
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


def _number(connection: sqlite3.Connection, stream: int, group: str) -> int:
    row = connection.execute(
        "SELECT number FROM consumer_group WHERE stream = ? AND name = ?", (stream, group)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no group {group[:64]!r}")
    return int(row[0])


def _is_good(row: Row) -> bool:
    return is_whole(row) and not is_removed(row)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
