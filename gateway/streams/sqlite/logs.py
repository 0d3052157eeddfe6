"""What the writing thread knows of a log of a SQLite store, and what a transaction does to it."""

from __future__ import annotations

import logging
import sqlite3
from copy import copy
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from gateway.core.streams.configuration import Bounds
from gateway.core.streams.recent import Kept, surplus
from gateway.errors import Conflict, RateLimited
from gateway.streams.base import Appended
from gateway.streams.groups.journal import Trimmed
from gateway.streams.limits import full
from gateway.streams.local_log import KeyShares
from gateway.streams.sqlite.group_rows import note_trimmed
from gateway.streams.sqlite.rows import SIZE, is_damage, publication_of, read_whole, seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.streams.base import Dedupe
    from gateway.streams.sqlite.append_queue import Waiting
    from gateway.streams.sqlite.last_values import SqliteLastValues
    from gateway.streams.sqlite.rows import Row

TRIM_STEP = 1000
"""How many publications, or idempotency keys, a transaction lets go beyond as many as it adds."""

_First = tuple[bytes, str, int, int]
"""A row of an idempotency key: fingerprint, and the label, offset and time of its first append."""

_log = logging.getLogger("gateway.streams")
_COLUMNS = "number, epoch, first, last, bytes, time"


class DamagedLog(Exception):  # noqa: N818 - says what it is
    """The oldest part of the log of that name can't be read."""


@dataclass(slots=True)
class SqliteLog:
    """One log as it is after the last transaction; a transaction works on a copy.

    Attributes:
        limits: its configuration.
        shares: how many idempotency keys each publisher holds; copies share it.
        purged: how many of its offsets are holes, since somebody had them removed.
        oldest: the time of the oldest publication, or None.
        keys: how many idempotency keys are remembered.
        oldest_key: the time of the oldest of them, or None.
        damaged: its oldest part can't be trimmed.
        values: its last values, or None where it keeps none.
        added: the topics of what the transaction has added.
        keep_from: the first offset that must stay, since a group hasn't finished it, or None.
        watched: what has a larger offset may be unfinished by some group, or None where there is no group.
        trimmed: of that, what the transaction has let go.
    """

    limits: StreamConfiguration
    shares: KeyShares
    number: int
    epoch: str
    first: int
    last: int
    bytes: int
    time: int
    purged: int = 0
    oldest: int | None = None
    keys: int = 0
    oldest_key: int | None = None
    damaged: bool = False
    values: SqliteLastValues | None = None
    added: list[str] = field(default_factory=list, compare=False)
    keep_from: int | None = None
    watched: int | None = None
    trimmed: list[Trimmed] = field(default_factory=list, compare=False)

    def draft(self) -> SqliteLog:
        """A copy for a transaction to work on."""
        draft = copy(self)
        draft.values = copy(self.values)
        draft.added = []
        draft.trimmed = []
        return draft

    @property
    def messages(self) -> int:
        """How many publications there are, damaged ones too."""
        return self.last + 1 - self.first - self.purged

    @property
    def bounds(self) -> Bounds:
        """Epoch, first and last offset."""
        return Bounds(self.epoch, self.first, self.last)

    def too_much(self, now: int) -> bool:
        """Whether something may have to go at ``now``."""
        if self.values is not None and self.values.too_much(now):
            return True
        return (not self.damaged and self._holds_too_much(now)) or self._keys_too_old(now)

    def append(self, connection: sqlite3.Connection, batch: list[Waiting]) -> list[Appended | Exception]:
        """Add what isn't a repeat; one answer each."""
        self._trim_keys(connection, TRIM_STEP + len(batch))
        rows: list[Row] = []
        answers: list[Appended | Exception] = []
        offset, time = self.last, self.time
        topics = self.added
        ended: set[int] = set()
        for each in batch:
            if self.keep_from is not None and self._is_full(len(rows), each):
                answers.append(self._known(connection, each) or full(self.limits.name))
                continue
            if each.dedupe is not None:
                answer = self._with_key(connection, each, offset + 1)
                answers.append(answer)
                if isinstance(answer, Exception) or answer.repeated:
                    continue
            else:
                answers.append(Appended(each.publication.id, offset + 1))
            offset += 1
            self.bytes += len(each.record)
            rows.append((offset, time, each.record, seal(offset, time, each.record)))
            topics.append(each.publication.topic)
            if each.publication.deleted:
                ended.add(offset)
        if rows:
            # A damaged offset may lie where the log has not come to: such a row is nobody's.
            connection.executemany(f"INSERT OR REPLACE INTO log_{self.number} VALUES (?, ?, ?, ?)", rows)  # noqa: S608
            if self.oldest is None:
                self.oldest = time
            self.last = offset
            if self.values is not None:
                newest = dict(zip(topics, rows, strict=True))
                changed = {topic: None if row[0] in ended else row for topic, row in newest.items()}
                self.values.change(connection, changed)
        return answers

    def trim(self, connection: sqlite3.Connection, most: int) -> bool:
        """Let go of what may not be kept, at most ``most`` of it; whether there is more.

        Raises:
            DamagedLog: what would have to go can't be read; SQLite lets nothing of the transaction be kept.
            DamagedValues: the same of the last values.
        """
        more = self._trim_keys(connection, most)
        if self.values is not None:
            more |= self.values.trim(connection, self.time, most)
        if self.damaged:
            return more
        try:
            return self._trim_publications(connection, most) or more
        except (sqlite3.Error, ValueError) as error:
            if is_damage(error):
                raise DamagedLog(self.limits.name) from error
            raise

    def tell_damage(self) -> None:
        """Let nothing go from now on: what comes is worth more than the room."""
        self.damaged = True
        _log.error("stream %r can't be trimmed, its oldest part is damaged: it grows", self.limits.name)

    def save(self, connection: sqlite3.Connection) -> None:
        """Write what is known of the log beside it."""
        connection.execute(
            "UPDATE stream SET epoch = ?, first = ?, last = ?, bytes = ?, time = ? WHERE number = ?",
            (self.epoch, self.first, self.last, self.bytes, self.time, self.number),
        )

    def _is_full(self, added: int, waiting: Waiting) -> bool:
        """Whether retention may let nothing go for one that comes behind those that were ``added``."""
        messages = self.messages + added
        if self.keep_from is None or not messages:
            return False
        movable = max(0, self.keep_from - self.first)
        if messages + 1 - self.limits.max_messages > movable:
            return True
        return not movable and self.bytes + len(waiting.record) > self.limits.max_bytes

    def _known(self, connection: sqlite3.Connection, waiting: Waiting) -> Appended | Exception | None:
        """The answer to a repeat; None for what isn't one."""
        dedupe = waiting.dedupe
        return None if dedupe is None else self._answer(self._first(connection, dedupe), dedupe)

    def _first(self, connection: sqlite3.Connection, dedupe: Dedupe) -> _First | None:
        """What is remembered of the first append with a key, too long ago perhaps."""
        found: _First | None = connection.execute(
            "SELECT fingerprint, id, offset, time FROM dedupe WHERE stream = ? AND key = ?",
            (self.number, dedupe.key.encode("utf-8", "surrogatepass")),
        ).fetchone()
        return found

    def _answer(self, known: _First | None, dedupe: Dedupe) -> Appended | Exception | None:
        if known is None or self.time - known[3] >= self.limits.dedupe_window * 1000:
            return None
        if known[0] != dedupe.fingerprint:
            return Conflict("this idempotency key was first used with another topic or body")
        return Appended(known[1], known[2], repeated=True)

    def _with_key(
        self, connection: sqlite3.Connection, waiting: Waiting, offset: int
    ) -> Appended | Exception:
        dedupe = waiting.dedupe
        assert dedupe is not None
        known = self._first(connection, dedupe)
        if (answer := self._answer(known, dedupe)) is not None:
            return answer
        if known is None:
            try:
                self.shares.take(dedupe.key, self.keys)
            except RateLimited as refused:
                return refused
            self.keys += 1
        identity = waiting.publication.id
        # One that is to be remembered for longer than others counts as used so much later.
        used = self.time + dedupe.window(self.limits.dedupe_window) - int(self.limits.dedupe_window * 1000)
        connection.execute(
            "INSERT OR REPLACE INTO dedupe VALUES (?, ?, ?, ?, ?, ?)",
            (
                self.number,
                dedupe.key.encode("utf-8", "surrogatepass"),
                dedupe.fingerprint,
                identity,
                offset,
                used,
            ),
        )
        self.oldest_key = used if self.oldest_key is None else min(used, self.oldest_key)
        return Appended(identity, offset)

    def _trim_publications(self, connection: sqlite3.Connection, most: int) -> bool:
        table = f"log_{self.number}"
        rows = connection.execute(
            f"SELECT offset, {SIZE}, time FROM {table} ORDER BY offset LIMIT ?",  # noqa: S608 - a number
            (most,),
        ).fetchall()
        oldest = list(islice(self._oldest(rows), most))
        gone = surplus(
            self.limits,
            (kept for _, kept in oldest),
            messages=self.messages,
            size=self.bytes,
            now=self.time,
        )
        size = gone.size
        if gone.messages:
            first = oldest[gone.messages - 1][0] + 1
            if self.keep_from is not None and first > self.keep_from:
                first = max(self.first, self.keep_from)
                size = sum(each.size for offset, each in oldest if offset < first)
                if first == self.first:
                    return False
        elif oldest:
            # The oldest that is there may have been removed since its time was looked at.
            self.oldest = oldest[0][1].time
            return False
        else:
            # What was removed goes with what follows it, once that is to go.
            self.oldest = oldest_time(connection, self.number, self.first)
            if not rows or not self._holds_too_much(self.time):
                return False
            first = rows[-1][0] + 1
        self._note_trimmed(connection, first)
        self.purged -= sum(1 for offset, size, _ in rows if size == 0 and self.first <= offset < first)
        self.first = first
        self.bytes -= size
        connection.execute(f"DELETE FROM {table} WHERE offset < ?", (self.first,))  # noqa: S608
        self.oldest = oldest_time(connection, self.number, self.first)
        return gone.messages == len(oldest) and most in {len(oldest), len(rows)}

    def _note_trimmed(self, connection: sqlite3.Connection, first: int) -> None:
        """Note what goes before ``first`` that a group may not have finished."""
        if self.watched is None or first - 1 <= self.watched:
            return
        offsets = range(max(self.first, self.watched + 1), first)
        for row in read_whole(connection, self.number, offsets):
            publication = publication_of(row, self.limits.name)
            if publication is not None:
                self.trimmed.append(Trimmed(row[0], publication.topic, publication.key))
        note_trimmed(connection, self.number, self.trimmed)

    def _holds_too_much(self, now: int) -> bool:
        limits, messages = self.limits, self.messages
        if self.keep_from is not None and self.keep_from <= self.first:
            return False
        if messages > limits.max_messages or (self.bytes > limits.max_bytes and messages > 1):
            return True
        return self.oldest is not None and now - self.oldest > limits.max_age * 1000

    def _oldest(self, rows: Iterable[tuple[int, int | None, object]]) -> Iterator[tuple[int, Kept]]:
        """What the log holds from ``first`` on, offset by offset: what is missing weighs nothing.

        What was removed isn't counted.
        """
        offset, time = self.first, 0
        for found, size, at in rows:
            # A damaged row may hold anything, or nothing.
            time = at if isinstance(at, int) else time
            yield from ((each, Kept(0, time)) for each in range(offset, found))
            if size != 0:
                yield found, Kept(size or 0, time)
            offset = found + 1
        yield from ((each, Kept(0, time)) for each in range(offset, self.last + 1))

    def _keys_too_old(self, now: int) -> bool:
        return self.oldest_key is not None and now - self.oldest_key >= self.limits.dedupe_window * 1000

    def _trim_keys(self, connection: sqlite3.Connection, most: int) -> bool:
        if not self._keys_too_old(self.time):
            return False
        until = self.time - self.limits.dedupe_window * 1000
        forgotten = connection.execute(
            "DELETE FROM dedupe WHERE stream = ? AND key IN"
            " (SELECT key FROM dedupe WHERE stream = ? AND time <= ? ORDER BY time LIMIT ?) RETURNING key",
            (self.number, self.number, until, most),
        ).fetchall()
        for (key,) in forgotten:
            self.shares.give_back(_text(key))
        gone = len(forgotten)
        self.keys -= gone
        self.oldest_key = _oldest_key(connection, self.number)
        return gone == most


def load(connection: sqlite3.Connection, limits: StreamConfiguration, most_keys: int) -> SqliteLog:
    """The log of a stream that there is."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM stream WHERE name = ?", (limits.name,)).fetchone()  # noqa: S608
    log = SqliteLog(limits, KeyShares(limits.name, most_keys), *row)
    try:
        log.oldest = oldest_time(connection, log.number, log.first)
    except (sqlite3.Error, ValueError) as error:
        if not is_damage(error):
            raise
        log.tell_damage()
    (log.keys,) = connection.execute("SELECT count(*) FROM dedupe WHERE stream = ?", (log.number,)).fetchone()
    keys = connection.execute("SELECT key FROM dedupe WHERE stream = ?", (log.number,))
    log.shares = KeyShares(limits.name, most_keys, (_text(key) for (key,) in keys))
    log.oldest_key = _oldest_key(connection, log.number)
    return log


def oldest_time(connection: sqlite3.Connection, number: int, first: int) -> int | None:
    """The time of the first publication from ``first`` on, or None; a damaged one is as old as can be."""
    # The first itself may be a hole; what follows it grows old all the same.
    row = connection.execute(
        f"SELECT time FROM log_{number} WHERE offset >= ? AND {SIZE} > 0 ORDER BY offset LIMIT 1",  # noqa: S608
        (first,),
    ).fetchone()
    if row is None:
        return None
    return row[0] if isinstance(row[0], int) else 0


def _text(key: object) -> str:
    """A key as it was given; what a damaged row holds instead is nobody's."""
    return key.decode("utf-8", "surrogatepass") if isinstance(key, bytes) else ""


def _oldest_key(connection: sqlite3.Connection, number: int) -> int | None:
    row = connection.execute("SELECT min(time) FROM dedupe WHERE stream = ?", (number,)).fetchone()
    oldest: int | None = row[0]
    return oldest
