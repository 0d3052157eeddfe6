"""The writing thread's side of the index of topics: segments are written, made anew and let go, step by step.

A segment is written while appends go on, a little with each transaction; only its last step makes it one, in
one row. A segment that was left half-written is harmless: it is written again, with the same blocks.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import suppress
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

from gateway.core.streams.topic_keys import topic_key
from gateway.streams.sqlite.rows import is_damage, read_topics
from gateway.streams.sqlite.segments import (
    DamagedSegment,
    SegmentWriter,
    block_id,
    newest_segment,
    read_segment,
    within,
)
from gateway.streams.sqlite.tail import OldSnapshot, Tail

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.codecs.topic_segment import Range
    from gateway.streams.sqlite.segments import Entry

_READ_STEP = 4096
"""How many publications a step reads."""
_SORT_STEP = 4096
"""How many topics a step sorts."""
_WRITE_STEP = 16
"""How many blocks a step writes."""
_SWEEP_STEP = 256
"""How many blocks a step lets go."""
_TELL_SECONDS = 5.0

_log = logging.getLogger("gateway.streams")


class DamagedIndex(Exception):  # noqa: N818 - says what it is
    """The index of the log of that name can't be read or changed."""


class LogIndex:
    """One log's index. What a transaction did of it is undone by ``begin`` unless ``settle`` came before.

    Attributes:
        tail: what isn't in the file yet, for readers too.
        damaged: it can't be changed any more, and isn't used.
    """

    def __init__(self, name: str, number: int, tail: Tail) -> None:
        self.tail = tail
        self.damaged = False
        self._name = name
        self._number = number
        self._next = 0
        self._swept = 0
        self._repairs: set[int] = set()
        self._work: Iterator[None] | None = None
        self._then: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Forget what was done in a transaction that failed."""
        if self._then:
            self._then.clear()
            self._work = None

    def settle(self) -> None:
        """What was done is kept."""
        then, self._then = self._then, []
        for each in then:
            each()

    def reset(self, connection: sqlite3.Connection) -> None:
        """Begin anew with the segment that is being written, and leave nothing of it: its topics change."""
        self._work = None
        connection.execute(f"DELETE FROM block_{self._number} WHERE id >= ?", (block_id(self._next, 0),))  # noqa: S608

    def remove(self, segment: int, gone: Mapping[bytes, set[int]], offsets: Sequence[int]) -> None:
        """With the transaction, take places from topics, which makes these offsets holes."""

        def remove() -> None:
            # In this order: a reader that misses something finds it among the holes.
            self.tail.lose(offsets, purged=True)
            self.tail.remove(segment, gone)

        self._then.append(remove)

    def repair(self, segment: int) -> None:
        """Have a segment made anew that turned out to be damaged."""
        if segment < self._next:
            self._repairs.add(segment)

    def tell_damage(self) -> None:
        """Do without the index from now on: what comes is worth more."""
        self.damaged = True
        self.tail.clear()
        _log.error("the index of stream %r is damaged: filters look through all of it", self._name)

    def extend(self, first: int, topics: Sequence[str]) -> None:
        """Take the topics of what has been committed, whose offsets begin with ``first``."""
        if not self.damaged:
            self.tail.extend(first, topics)

    def due(self, first: int, last: int) -> bool:
        """Whether there is something to do for a log from ``first`` to ``last``."""
        size = self.tail.size
        return not self.damaged and (
            self._work is not None
            or last // size > self._next
            or self._passed(first) > self._swept
            or bool(self._repairs)
        )

    def step(self, connection: sqlite3.Connection, first: int, last: int) -> bool:
        """Do a part of what there is to do in this transaction; whether there is more.

        Raises:
            DamagedIndex: something can't be read; SQLite lets nothing of the transaction be kept.
        """
        try:
            more = self._sweep(connection, first)
            return self._build(connection, first, last) or more
        except (sqlite3.Error, ValueError) as error:
            if is_damage(error):
                raise DamagedIndex(self._name) from error
            raise

    @property
    def at_work(self) -> bool:
        """Whether the transaction that is open has something of the index."""
        return bool(self._then)

    def load(self, connection: sqlite3.Connection, path: Path, first: int, last: int) -> None:
        """Write what is missing of the index, in transactions of their own, and take up the rest."""
        try:
            self._load(connection, path, first, last)
        except (sqlite3.Error, ValueError) as error:
            if not is_damage(error):
                raise
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self.tell_damage()

    def _load(self, connection: sqlite3.Connection, path: Path, first: int, last: int) -> None:
        number, size = self._number, self.tail.size
        oldest, complete = (first - 1) // size, last // size
        if newest_segment(connection, number) >= complete:
            # The log lost its end: these are of what was there once.
            connection.execute(f"DELETE FROM segment_{number} WHERE segment >= ?", (complete,))  # noqa: S608
        known = {each for (each,) in connection.execute(f"SELECT segment FROM segment_{number}")}  # noqa: S608
        missing = [each for each in range(oldest, complete) if each not in known]
        progress = _Progress(path, self._name, len(missing) * size)
        for done, segment in enumerate(missing):
            for _ in self._in_transactions(connection, self._write(connection, segment, repair=True)):
                progress.tell(done * size)
        progress.end()
        for _ in self._read_into(connection, self.tail, range(max(first, complete * size + 1), last + 1)):
            pass
        self.tail.drop(complete - 1)
        self._next = complete
        self._swept = 0
        self._work = None
        self._then.clear()
        self._repairs.clear()
        self.tail.ready = True

    def purged(self, connection: sqlite3.Connection, first: int, last: int) -> int:
        """How many offsets of a log that was loaded are holes, since somebody had them removed."""
        size, count = self.tail.size, 0
        for segment in range((first - 1) // size, (last - 1) // size + 1):
            with suppress(DamagedSegment):
                holes = self._holes(connection, segment)
                count += sum(end + 1 - begin for begin, end, purged in within(holes, first, last) if purged)
        return count

    def _holes(self, connection: sqlite3.Connection, segment: int) -> Sequence[Range]:
        try:
            return self.tail.holes(segment)
        except OldSnapshot:
            return read_segment(connection, self._number, segment, self.tail.size).holes

    def _in_transactions(self, connection: sqlite3.Connection, work: Iterator[None]) -> Iterator[None]:
        while True:
            connection.execute("BEGIN IMMEDIATE")
            ended = next(work, self) is self
            connection.execute("COMMIT")
            if ended:
                return
            yield

    def _sweep(self, connection: sqlite3.Connection, first: int) -> bool:
        """Let go of what is before the log's first segment; what was half-written there too."""
        oldest = self._passed(first)
        if oldest <= self._swept:
            return False
        number, gone = self._number, 0
        for table, key, before in (
            ("segment", "segment", oldest),
            ("hole", "segment", oldest),
            ("block", "id", block_id(oldest, 0)),
        ):
            gone = max(
                gone,
                connection.execute(
                    f"DELETE FROM {table}_{number} WHERE {key} IN"  # noqa: S608
                    f" (SELECT {key} FROM {table}_{number} WHERE {key} < ?"
                    f" ORDER BY {key} LIMIT {_SWEEP_STEP})",
                    (before,),
                ).rowcount,
            )
        self._then.append(lambda: self._swept_to(oldest if gone < _SWEEP_STEP else self._swept))
        return gone == _SWEEP_STEP

    def _passed(self, first: int) -> int:
        """The first segment of a log from ``first`` on, or the next to be written: that may be under way."""
        return min((first - 1) // self.tail.size, self._next)

    def _swept_to(self, segment: int) -> None:
        self._swept = segment

    def _build(self, connection: sqlite3.Connection, first: int, last: int) -> bool:
        if self._work is None:
            self._work = self._begin_work(connection, first, last)
            if self._work is None:
                return False
        # Should the transaction fail, none of it counts: it begins anew.
        self._then.append(_nothing)
        if next(self._work, self) is self:
            self._work = None
        return True

    def _begin_work(self, connection: sqlite3.Connection, first: int, last: int) -> Iterator[None] | None:
        size = self.tail.size
        oldest = (first - 1) // size
        self._repairs = {each for each in self._repairs if each >= oldest}
        if self._repairs:
            return self._repair(connection, min(self._repairs))
        if self._next >= last // size:
            return None
        # What is trimmed before it is complete is never written.
        if self._next < oldest:
            passed = min(oldest, last // size)
            self._then.append(lambda: self._indexed(passed - 1))
            return iter(())
        return self._complete(connection, self._next)

    def _complete(self, connection: sqlite3.Connection, segment: int) -> Iterator[None]:
        yield from self._write(connection, segment, repair=False)
        self._then.append(lambda: self._indexed(segment))

    def _repair(self, connection: sqlite3.Connection, segment: int) -> Iterator[None]:
        yield from self._write(connection, segment, repair=True)
        self._then.append(lambda: self._repaired(segment))
        _log.warning("a part of the index of stream %r was damaged, and is made anew", self._name)

    def _repaired(self, segment: int) -> None:
        self._repairs.discard(segment)
        # It may have been trimmed meanwhile.
        self._swept = min(self._swept, segment)

    def _indexed(self, segment: int) -> None:
        self._next = segment + 1
        self.tail.drop(segment)

    def _write(self, connection: sqlite3.Connection, segment: int, *, repair: bool) -> Iterator[None]:
        """Write a segment, a bounded part with each step; ``repair``: from the log's rows."""
        number, tail = self._number, self.tail
        if repair:
            tail = Tail(self.tail.size)
            begin = segment * tail.size + 1
            yield from self._read_into(connection, tail, range(begin, begin + tail.size))
        topics, holes = tail.entries(segment)
        runs: list[list[Entry]] = []
        for at in range(0, len(topics), _SORT_STEP):
            runs.append(_sorted(topics[at : at + _SORT_STEP]))
            yield
        writer = SegmentWriter(segment, tail.size, holes)
        blocks = writer.blocks(merge(*runs))
        while part := list(islice(blocks, _WRITE_STEP)):
            connection.executemany(f"INSERT OR REPLACE INTO block_{number} VALUES (?, ?)", part)  # noqa: S608
            yield
        connection.execute(
            f"DELETE FROM block_{number} WHERE id >= ? AND id < ?",  # noqa: S608
            (block_id(segment, writer.count), block_id(segment + 1, 0)),
        )
        writer.write(connection, number)

    def _read_into(self, connection: sqlite3.Connection, tail: Tail, offsets: range) -> Iterator[None]:
        for at in range(0, len(offsets), _READ_STEP):
            found, lost, purged = read_topics(connection, self._number, offsets[at : at + _READ_STEP])
            begin = 0
            for end in range(1, len(found) + 1):
                if end == len(found) or found[end][0] != found[end - 1][0] + 1:
                    tail.extend(found[begin][0], [topic for _, topic in found[begin:end]])
                    begin = end
            tail.lose(lost)
            tail.lose(purged, purged=True)
            yield


class _Progress:
    """Tells how far the work at a start has come, where there is much of it."""

    def __init__(self, path: Path, stream: str, publications: int) -> None:
        self._path = path
        self._stream = stream
        self._publications = publications
        self._begin = self._told = time.monotonic()
        if publications:
            _log.info("%s: indexing %d publications of stream %r by topic", path, publications, stream)

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            _log.info(
                "%s: %d of %d publications of stream %r are indexed",
                self._path,
                done,
                self._publications,
                self._stream,
            )

    def end(self) -> None:
        if self._publications:
            seconds = time.monotonic() - self._begin
            _log.info("%s: stream %r is indexed, after %.1f s", self._path, self._stream, seconds)


def _sorted(topics: list[tuple[str, array[int]]]) -> list[Entry]:
    return sorted((topic_key(topic), places) for topic, places in topics)


def _nothing() -> None:
    pass
