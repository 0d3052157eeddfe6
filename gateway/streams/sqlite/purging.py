"""Removing publications of a SQLite store for good: the writing thread's side, a bounded part at a time.

A publication's row keeps its offset and time, and loses the rest; the index and the last values lose it in
the same transaction. Nothing of it is to be left in the file: what is deleted is overwritten, in the end
pages that are free are too, and SQLite's write-ahead log is emptied.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.codecs.record import topic_of_record
from gateway.core.streams.topic_keys import topic_key, topic_of, topics_matching
from gateway.streams.groups.journal import Trimmed
from gateway.streams.sqlite.matching import Seek
from gateway.streams.sqlite.rows import is_removed, is_whole, publication_of, removed, rows_at
from gateway.streams.sqlite.segments import DamagedSegment, StoredSegment
from gateway.streams.sqlite.selecting import LogView
from gateway.streams.sqlite.snapshots import LastTopics

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from gateway.streams.sqlite.indexing import LogIndex
    from gateway.streams.sqlite.logs import SqliteLog
    from gateway.streams.sqlite.rows import Row

_STEP = 250
"""How many publications a step removes."""
_LOOKS = 4096
"""How many topics a step looks at."""
_VALUES: Final = 2**62
"""In place of a segment: what is left are last values of publications that the log no longer has."""
_SCRUB_PAGES = 256
_SCRUB_ROUNDS = 16


class Cursor(NamedTuple):
    """Where to go on: a segment, and a topic's key in it."""

    segment: int = 0
    key: bytes | None = None


class Purged(NamedTuple):
    """What a step did.

    Attributes:
        removed: how many publications were removed.
        gone: those of them that the log had, ascending.
        next: where to go on; None once all are removed.
    """

    removed: int
    gone: Sequence[Trimmed]
    next: Cursor | None

    @property
    def offsets(self) -> list[int]:
        """The offsets of what the log had, ascending."""
        return [each.offset for each in self.gone]


def purge_step(  # noqa: PLR0917 - of one place
    connection: sqlite3.Connection,
    log: SqliteLog,
    index: LogIndex,
    topic_filter: str,
    before: int,
    cursor: Cursor,
) -> Purged:
    """Remove some of what matches and has a smaller offset than ``before``, in the transaction that is open.

    Raises:
        DamagedSegment: the index is to be repaired first.
        NotIndexed: there is no index.
    """
    end = min(before - 1, log.last)
    size = index.tail.size
    segment = max(cursor.segment, (log.first - 1) // size)
    if segment > (end - 1) // size or end < log.first:
        return _purge_values(connection, log, topic_filter, before, cursor)
    view = LogView(
        connection, log.limits.name, log.number, index.tail, first=log.first, end=end, most_topics=0, known={}
    )
    part = view.segment(segment, ordered=True)
    seek = Seek([part], cursor.key if cursor.segment == segment else None)
    gone: dict[bytes, list[int]] = {}
    left = _STEP
    onward = Cursor(segment + 1)
    for looked, topic in enumerate(topics_matching(topic_filter, seek), 1):
        if topic is not None and (places := part.places(topic_key(topic))):
            # What has been trimmed of the topic leaves the index as well.
            found = places[: min(left, bisect_right(places, end - part.base))]
            if found:
                gone[topic_key(topic)] = [part.base + each for each in found]
                left -= len(found)
        if not left or looked >= _LOOKS:
            # The same topic again: what is removed isn't found any more.
            onward = Cursor(segment, seek.last)
            break
    removed = _remove(connection, log, segment, gone)
    _forget(connection, log, index, part, segment, gone)
    return Purged(len(removed), removed, onward)


def overwrite_free_pages(connection: sqlite3.Connection, begun: int) -> int | None:
    """Write zeros to a part of the pages that are free; None once there are none left.

    Args:
        connection: the one that writes.
        begun: how many parts were written before.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if not begun:
        connection.execute("CREATE TABLE IF NOT EXISTS scratch (zeros BLOB)")
    if free > 1 and begun < _SCRUB_ROUNDS + free // _SCRUB_PAGES * 2:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        pages = min(free, _SCRUB_PAGES)
        connection.execute(
            "INSERT INTO scratch VALUES (zeroblob(?))", ((pages - 1) * (size - 4) + size // 2,)
        )
        return begun + 1
    connection.execute("DROP TABLE scratch")
    return None


def _remove(
    connection: sqlite3.Connection, log: SqliteLog, segment: int, gone: Mapping[bytes, Sequence[int]]
) -> list[Trimmed]:
    keys = {offset: key for key, offsets in gone.items() for offset in offsets if offset >= log.first}
    offsets = sorted(keys)
    rows = rows_at(connection, log.number, offsets)
    for offset, row in rows.items():
        if not is_removed(row) and is_whole(row) and topic_key(topic_of_record(row[2]) or "") != keys[offset]:
            raise DamagedSegment(segment)
    held = [rows[each] for each in offsets if each in rows]
    messages = {row[0]: _key(row, log.limits.name) for row in held} if log.watched is not None else {}
    sizes = [len(row[2]) if isinstance(row[2], bytes) else 0 for row in held]
    # Of the same length, so that they are overwritten where they lie: a row that is moved leaves a copy.
    markers = [
        removed(row[0], row[1] if isinstance(row[1], int) else 0, max(1, size))
        for row, size in zip(held, sizes, strict=True)
    ]
    connection.executemany(
        f"UPDATE log_{log.number} SET time = ?, record = ?, seal = ? WHERE offset = ?",  # noqa: S608
        [(*rest, offset) for offset, *rest in markers],
    )
    log.bytes = max(0, log.bytes - sum(sizes))
    log.purged += sum(1 for row in held if not is_removed(row))
    if log.values is not None:
        log.values.remove(connection, offsets)
    return [Trimmed(row[0], topic_of(keys[row[0]]), messages.get(row[0])) for row in held]


def _key(row: Row, stream: str) -> str | None:
    publication = publication_of(row, stream)
    return None if publication is None else publication.key


def _forget(  # noqa: PLR0917
    connection: sqlite3.Connection,
    log: SqliteLog,
    index: LogIndex,
    part: object,
    segment: int,
    gone: Mapping[bytes, Sequence[int]],
) -> None:
    """Take what is gone from the index."""
    if not gone:
        return
    base = segment * index.tail.size + 1
    places = {key: {each - base for each in offsets} for key, offsets in gone.items()}
    offsets = sorted(each for those in gone.values() for each in those if each >= log.first)
    index.reset(connection)
    if not isinstance(part, StoredSegment):
        index.remove(segment, places, offsets)
        return
    part.take_out(places, offsets)


def _purge_values(
    connection: sqlite3.Connection, log: SqliteLog, topic_filter: str, before: int, cursor: Cursor
) -> Purged:
    if log.values is None:
        return Purged(0, (), None)
    topics = LastTopics(connection, log.number)
    seek = Seek([topics], cursor.key if cursor.segment == _VALUES else None)
    offsets: list[int] = []
    onward: Cursor | None = None
    for looked, topic in enumerate(topics_matching(topic_filter, seek), 1):
        value = None if topic is None else topics.value(topic_key(topic))
        if value is not None and value[0] < before:
            offsets.append(value[0])
        if len(offsets) >= _STEP or looked >= _LOOKS:
            onward = None if seek.last is None else Cursor(_VALUES, seek.last + b"\0")
            break
    log.values.remove(connection, sorted(offsets))
    return Purged(len(offsets), (), onward)
