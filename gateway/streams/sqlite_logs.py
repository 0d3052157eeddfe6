"""What the writing thread knows of a log of a SQLite store, and what a transaction does to it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING

from gateway.core.retention import Kept, surplus
from gateway.core.streams import Bounds
from gateway.errors import Conflict, RateLimited
from gateway.streams.base import Appended

if TYPE_CHECKING:
    import sqlite3

    from gateway.core.streams import StreamConfiguration
    from gateway.streams.append_queue import Waiting

TRIM_STEP = 1000
"""How many publications, or idempotency keys, a transaction lets go beyond as many as it adds."""

_COLUMNS = "number, epoch, first, last, bytes, time"


@dataclass(slots=True)
class Log:
    """One log as it is after the last transaction; a transaction works on a copy.

    Attributes:
        limits: its configuration.
        most_keys: how many idempotency keys may be remembered.
        oldest: the time of the oldest publication, or None.
        keys: how many idempotency keys are remembered.
        oldest_key: the time of the oldest of them, or None.
    """

    limits: StreamConfiguration
    most_keys: int
    number: int
    epoch: str
    first: int
    last: int
    bytes: int
    time: int
    oldest: int | None = None
    keys: int = 0
    oldest_key: int | None = None

    @property
    def bounds(self) -> Bounds:
        """Epoch, first and last offset."""
        return Bounds(self.epoch, self.first, self.last)

    def too_much(self, now: int) -> bool:
        """Whether something may have to go at ``now``."""
        limits = self.limits
        messages = self.last + 1 - self.first
        if messages > limits.max_messages or (self.bytes > limits.max_bytes and messages > 1):
            return True
        if self.oldest is not None and now - self.oldest > limits.max_age * 1000:
            return True
        return self._keys_too_old(now)

    def append(self, connection: sqlite3.Connection, batch: list[Waiting]) -> list[Appended | Exception]:
        """Add what isn't a repeat; one answer each."""
        self._trim_keys(connection, TRIM_STEP + len(batch))
        rows: list[tuple[int, int, bytes]] = []
        answers: list[Appended | Exception] = []
        offset, time = self.last, self.time
        for each in batch:
            if each.dedupe is not None:
                answer = self._with_key(connection, each, offset + 1)
                answers.append(answer)
                if isinstance(answer, Exception) or answer.repeated:
                    continue
            else:
                answers.append(Appended(each.publication.id, offset + 1))
            offset += 1
            self.bytes += len(each.record)
            rows.append((offset, time, each.record))
        if rows:
            connection.executemany(f"INSERT INTO log_{self.number} VALUES (?, ?, ?)", rows)  # noqa: S608
            if self.oldest is None:
                self.oldest = time
            self.last = offset
        return answers

    def trim(self, connection: sqlite3.Connection, most: int) -> bool:
        """Let go of what may not be kept, at most ``most`` of it; whether there is more."""
        return self._trim_keys(connection, most) | self._trim_publications(connection, most)

    def save(self, connection: sqlite3.Connection) -> None:
        """Write what is known of the log beside it."""
        connection.execute(
            "UPDATE stream SET epoch = ?, first = ?, last = ?, bytes = ?, time = ? WHERE number = ?",
            (self.epoch, self.first, self.last, self.bytes, self.time, self.number),
        )

    def _with_key(
        self, connection: sqlite3.Connection, waiting: Waiting, offset: int
    ) -> Appended | Exception:
        dedupe = waiting.dedupe
        assert dedupe is not None
        key = dedupe.key.encode("utf-8", "surrogatepass")
        known = connection.execute(
            "SELECT fingerprint, id, offset, time FROM dedupe WHERE stream = ? AND key = ?",
            (self.number, key),
        ).fetchone()
        if known is not None and self.time - known[3] < self.limits.dedupe_window * 1000:
            if known[0] != dedupe.fingerprint:
                return Conflict("this idempotency key was first used with another topic or body")
            return Appended(known[1], known[2], repeated=True)
        if known is None:
            if self.keys >= self.most_keys:
                return RateLimited(
                    f"stream {self.limits.name!r} remembers {self.keys} idempotency keys, as many as it may"
                )
            self.keys += 1
        identity = waiting.publication.id
        connection.execute(
            "INSERT OR REPLACE INTO dedupe VALUES (?, ?, ?, ?, ?, ?)",
            (self.number, key, dedupe.fingerprint, identity, offset, self.time),
        )
        if self.oldest_key is None:
            self.oldest_key = self.time
        return Appended(identity, offset)

    def _trim_publications(self, connection: sqlite3.Connection, most: int) -> bool:
        table = f"log_{self.number}"
        oldest = connection.execute(
            f"SELECT length(record), time FROM {table} ORDER BY offset LIMIT ?",  # noqa: S608 - a number
            (most,),
        )
        gone = surplus(
            self.limits,
            starmap(Kept, oldest),
            messages=self.last + 1 - self.first,
            size=self.bytes,
            now=self.time,
        )
        oldest.close()
        if not gone.messages:
            return False
        self.first += gone.messages
        self.bytes -= gone.size
        connection.execute(f"DELETE FROM {table} WHERE offset < ?", (self.first,))  # noqa: S608
        row = connection.execute(
            f"SELECT time FROM {table} WHERE offset = ?",  # noqa: S608
            (self.first,),
        ).fetchone()
        self.oldest = None if row is None else row[0]
        return gone.messages == most

    def _keys_too_old(self, now: int) -> bool:
        return self.oldest_key is not None and now - self.oldest_key >= self.limits.dedupe_window * 1000

    def _trim_keys(self, connection: sqlite3.Connection, most: int) -> bool:
        if not self._keys_too_old(self.time):
            return False
        until = self.time - self.limits.dedupe_window * 1000
        gone = connection.execute(
            "DELETE FROM dedupe WHERE stream = ? AND key IN"
            " (SELECT key FROM dedupe WHERE stream = ? AND time <= ? ORDER BY time LIMIT ?)",
            (self.number, self.number, until, most),
        ).rowcount
        self.keys -= gone
        self.oldest_key = _oldest_key(connection, self.number)
        return gone == most


def load(connection: sqlite3.Connection, limits: StreamConfiguration, most_keys: int) -> Log | None:
    """The log of a stream, or None where there is none yet."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM stream WHERE name = ?", (limits.name,)).fetchone()  # noqa: S608
    if row is None:
        return None
    log = Log(limits, most_keys, *row)
    oldest = connection.execute(f"SELECT time FROM log_{log.number} ORDER BY offset LIMIT 1").fetchone()  # noqa: S608
    log.oldest = None if oldest is None else oldest[0]
    (log.keys,) = connection.execute("SELECT count(*) FROM dedupe WHERE stream = ?", (log.number,)).fetchone()
    log.oldest_key = _oldest_key(connection, log.number)
    return log


def _oldest_key(connection: sqlite3.Connection, number: int) -> int | None:
    row = connection.execute("SELECT min(time) FROM dedupe WHERE stream = ?", (number,)).fetchone()
    oldest: int | None = row[0]
    return oldest
