"""Groups in a SQLite store: what changes of them, in the transactions of its appends.

What is written here are parts of transactions: each is a job that the writing thread does together with the
appends that wait (``group_commit``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from gateway.codecs.group_record import (
    GroupHead,
    encode_delivery,
    encode_group,
    range_seal,
)
from gateway.codecs.record import encode_record
from gateway.streams.groups.journal import (
    GroupState,
    KeptChange,
    LoadedGroups,
    letter_place,
)
from gateway.streams.sqlite.group_rows import (
    copies_of,
    count_dead,
    dead_count,
    group_number,
    is_good,
    letters,
    letters_at,
    load_groups,
    old_letters,
    to_bytes,
)
from gateway.streams.sqlite.rows import rows_at, seal

if TYPE_CHECKING:
    import asyncio
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.groups.deliveries import Dead
    from gateway.streams.groups.base import DeadLetter
    from gateway.streams.groups.journal import GroupChange

T = TypeVar("T")


class Transact(Protocol):
    """Does a job in the next transaction."""

    def __call__(self, job: Callable[[sqlite3.Connection], T], /) -> asyncio.Future[T]: ...  # noqa: D102


class Look(Protocol):
    """Does a job that only reads."""

    async def __call__(self, job: Callable[[sqlite3.Connection], T], /) -> T: ...  # noqa: D102


_TOGETHER: Final = 64
_EXPIRED_TOGETHER: Final = 1000
_OF_A_GROUP: Final = ("delivery", "finished", "dead_letter", "redriven")


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
        loaded = await self._look(partial(load_groups, self._number(stream), stream))
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
        old = await self._look(partial(old_letters, self._number(stream), group, before, _EXPIRED_TOGETHER))
        if not old:
            return KeptChange(await self._look(partial(dead_count, self._number(stream), group)))
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
        return await self._look(partial(letters, self._number(stream), stream, group, page))

    async def dead(self, stream: str, group: str, offsets: Sequence[int]) -> Sequence[DeadLetter]:
        """Those of these offsets."""
        if not offsets:
            return ()
        return await self._look(
            partial(letters_at, self._number(stream), stream, group, sorted(set(offsets)))
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
        number = group_number(connection, stream, configuration.name)
        _put_deliveries(connection, number, self._put)
        _end_deliveries(connection, number, self._gone)
        _put_ranges(connection, number, change.ranges.items())
        dead: int | None = None
        missing, evicted = list[int](), list[int]()
        if change.redriven:
            _redrive(connection, number, change.redriven)
        if change.buried:
            missing = _bury(connection, stream, number, change.buried)
        if change.redriven or change.buried:
            dead = count_dead(connection, number)
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


def _put_deliveries(connection: sqlite3.Connection, number: int, rows: Sequence[tuple[int, bytes]]) -> None:
    # One statement for many: for each that it runs, the thread lets others have the interpreter, and waits.
    for at in range(0, len(rows), _TOGETHER):
        some = rows[at : at + _TOGETHER]
        places = ",".join(["(?,?,?)"] * len(some))
        values = [value for offset, record in some for value in (number, offset, record)]
        connection.execute(f"INSERT OR REPLACE INTO delivery VALUES {places}", values)  # noqa: S608


def _end_deliveries(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> None:
    for at in range(0, len(offsets), _TOGETHER):
        some = offsets[at : at + _TOGETHER]
        places = ",".join("?" * len(some))
        connection.execute(
            f"DELETE FROM delivery WHERE consumers = ? AND offset IN ({places})",  # noqa: S608
            (number, *some),
        )


def _begin(stream: int, state: GroupState, connection: sqlite3.Connection) -> None:
    name = state.configuration.name
    record = encode_group(GroupHead(state.configuration, state.life, state.epoch, state.counters))
    connection.execute(
        "INSERT INTO consumer_group (stream, name, trimmed, record) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (stream, name) DO UPDATE SET trimmed = excluded.trimmed, record = excluded.record",
        (stream, name, state.counters.trimmed, record),
    )
    number = group_number(connection, stream, name)
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
    rows = {offset: row for offset, row in rows_at(connection, stream, offsets).items() if is_good(row)}
    rows |= {row[0]: row for row in copies_of(connection, "redriven", number, offsets) if is_good(row)}
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
                to_bytes(each.reason),
                *rows[each.offset][1:],
            )
            for each in buried
            if each.offset in rows
        ],
    )
    return [each.offset for each in buried if each.offset not in rows]


def _redrive(connection: sqlite3.Connection, number: int, offsets: Sequence[int]) -> None:
    rows = copies_of(connection, "dead_letter", number, sorted(offsets))
    connection.executemany(
        "INSERT OR REPLACE INTO redriven VALUES (?, ?, ?, ?, ?)", [(number, *row) for row in rows]
    )
    _delete_letters(connection, number, offsets)


def _discard(stream: int, group: str, offsets: Sequence[int], connection: sqlite3.Connection) -> int:
    number = group_number(connection, stream, group)
    _delete_letters(connection, number, offsets)
    return count_dead(connection, number)


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
    number = group_number(connection, stream, group)
    for table in _OF_A_GROUP:
        connection.execute(f"DELETE FROM {table} WHERE consumers = ?", (number,))  # noqa: S608
    connection.execute("DELETE FROM consumer_group WHERE number = ?", (number,))
