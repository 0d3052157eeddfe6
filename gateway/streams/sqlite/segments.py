"""The index of topics as it lies in the file: a log in segments, each indexed once and for all.

Segment ``s`` of a log has the offsets ``s * size + 1`` to ``(s + 1) * size``. Once they are all there, its
topics and their places are written as a sorted table: blocks of about a page in ``block_N``, and one row in
``segment_N`` with the first key and the checksum of each block, and of what ``hole_N`` says the log can't
give. So appending dirties pages at the end of a tree only, however many topics there are; what is trimmed
goes as a range; and that a topic isn't there is known from bytes that a checksum vouches for. A row for each
topic in one tree of all would be written to a page of its own with nearly every append.

A place is an offset less the segment's first: two bytes.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from gateway.codecs.record import BadRecord
from gateway.codecs.topic_segment import (
    Block,
    Contents,
    decode_block,
    decode_contents,
    decode_ranges,
    encode_part,
)
from gateway.streams.sqlite.rows import is_damage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.codecs.topic_segment import Range

SEGMENT_OFFSETS: Final = 65536
"""How many offsets a segment has; a place among them must fit two bytes."""

BLOCK_BYTES: Final = 3900
"""About as much as fits a page of the file."""

_ENTRY_BYTES: Final = 6
_BLOCKS_OF_A_SEGMENT: Final = 2**17
_identity = Struct("<QQ").pack

Entry = tuple[bytes, "array[int]"]
"""A topic's key and its places in a segment, ascending."""


class DamagedSegment(Exception):  # noqa: N818 - says what it is
    """The segment of that number isn't there, or isn't as it was written."""

    def __init__(self, segment: int) -> None:
        super().__init__(segment)
        self.segment = segment


Known = dict[tuple[int, int], tuple[int, Contents]]
"""What is remembered of segments from one read to the next, with their seals, by log and segment."""


class Stored(NamedTuple):
    """A block as it is written: its row's id and its content."""

    id: int
    content: bytes


def make_index(connection: sqlite3.Connection, number: int) -> None:
    """Make the tables of the index of the log of that number."""
    connection.execute(
        f"CREATE TABLE segment_{number}"
        " (segment INTEGER PRIMARY KEY, seal INTEGER NOT NULL, content BLOB NOT NULL)"
    )
    connection.execute(f"CREATE TABLE block_{number} (id INTEGER PRIMARY KEY, content BLOB NOT NULL)")
    connection.execute(f"CREATE TABLE hole_{number} (segment INTEGER PRIMARY KEY, content BLOB NOT NULL)")


class SegmentWriter:
    """Makes the blocks of one segment from its entries, in the order of their keys."""

    def __init__(self, segment: int, size: int, holes: Iterable[Range] = ()) -> None:
        self.segment = segment
        self._holes = list(holes)
        self._contents = Contents(size, [], [], [], 0)

    @property
    def count(self) -> int:
        """How many blocks were made."""
        return len(self._contents.blocks)

    def blocks(self, entries: Iterable[Entry]) -> Iterator[Stored]:
        """The blocks, one after the other."""
        keys: list[bytes] = []
        places: list[bytes] = []
        held = 0
        for key, each in entries:
            packed = pack(each)
            weight = len(key) + len(packed) + _ENTRY_BYTES
            if keys and held + weight > BLOCK_BYTES:
                yield self._block(keys, places)
                keys, places, held = [], [], 0
            keys.append(key)
            places.append(packed)
            held += weight
        if keys:
            yield self._block(keys, places)

    def write(self, connection: sqlite3.Connection, number: int) -> None:
        """Make the segment complete, of the log of that number; its blocks are written."""
        contents = self._contents
        contents.holes = _write_holes(connection, number, self.segment, self._holes)
        row = segment_row(number, self.segment, contents)
        connection.execute(f"INSERT OR REPLACE INTO segment_{number} VALUES (?, ?, ?)", row)  # noqa: S608

    def _block(self, keys: list[bytes], places: list[bytes]) -> Stored:
        contents = self._contents
        at = len(contents.fences)
        content = encode_part(Block(keys, places))
        contents.fences.append(keys[0])
        contents.blocks.append(at)
        contents.seals.append(crc32(content))
        return Stored(block_id(self.segment, at), content)


class StoredSegment:
    """One segment of the file, read as far as it is asked for."""

    def __init__(self, connection: sqlite3.Connection, number: int, segment: int, contents: Contents) -> None:
        self._connection = connection
        self._number = number
        self._read: dict[int, Block] = {}
        self._place = 0, -1
        self.segment = segment
        self.contents = contents
        self.base = segment * contents.size + 1

    @property
    def holes(self) -> Sequence[Range]:
        """Offsets that the log can't give, in order.

        Raises:
            DamagedSegment: what is noted of them isn't as it was written.
        """
        if not self.contents.holes:
            return ()
        with _read(self.segment):
            row = self._connection.execute(
                f"SELECT content FROM hole_{self._number} WHERE segment = ?",  # noqa: S608 - a number
                (self.segment,),
            ).fetchone()
            if row is None or crc32(row[0]) != self.contents.holes:
                raise DamagedSegment(self.segment)
            return decode_ranges(row[0])

    def seek(self, key: bytes) -> bytes | None:
        """The first key that is not less than ``key``."""
        at, found = self._place
        # Mostly it is the one behind the last.
        if found >= 0:
            keys = self._block(at).keys
            if found + 1 < len(keys) and keys[found] < key <= keys[found + 1]:
                self._place = at, found + 1
                return keys[found + 1]
        at = max(0, bisect_right(self.contents.fences, key) - 1)
        while at < len(self.contents.fences):
            keys = self._block(at).keys
            if (found := bisect_left(keys, key)) < len(keys):
                self._place = at, found
                return keys[found]
            at += 1
        return None

    def places(self, key: bytes) -> array[int] | None:
        """The places of the topic of that key."""
        at, found = self._place
        if found >= 0 and (block := self._block(at)).keys[found] == key:
            return unpack(block.places[found])
        at = bisect_right(self.contents.fences, key) - 1
        if at < 0:
            return None
        block = self._block(at)
        found = bisect_left(block.keys, key)
        if found == len(block.keys) or block.keys[found] != key:
            return None
        return unpack(block.places[found])

    def entries(self, begin: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """The topics from one key to before another, with their packed places."""
        fences = self.contents.fences
        for at in range(max(0, bisect_right(fences, begin) - 1), len(fences)):
            if end is not None and fences[at] >= end:
                return
            block = self._block(at)
            first = bisect_left(block.keys, begin)
            last = len(block.keys) if end is None else bisect_left(block.keys, end)
            yield from zip(block.keys[first:last], block.places[first:last], strict=True)

    def take_out(self, gone: Mapping[bytes, set[int]], purged: Sequence[int]) -> None:
        """Take places from topics, in the transaction that is open.

        What is rewritten keeps its length, so that SQLite does it in place and moves nothing, which would
        leave copies behind.

        Args:
            gone: by the topic's key, the places that go.
            purged: the offsets that are holes from now on, ascending.
        """
        contents, number = self.contents, self._number
        touched = {bisect_right(contents.fences, key) - 1 for key in gone}
        for at in sorted(touched, reverse=True):
            block, identity = self._block(at), block_id(self.segment, contents.blocks[at])
            kept = [
                (key, places)
                for key, packed in zip(block.keys, block.places, strict=True)
                if (places := _less(packed, gone.get(key)))
            ]
            (length,) = self._connection.execute(
                f"SELECT length(content) FROM block_{number} WHERE id = ?",  # noqa: S608
                (identity,),
            ).fetchone()
            content = encode_part(Block([key for key, _ in kept], [places for _, places in kept]), length)
            self._connection.execute(
                f"UPDATE block_{number} SET content = ? WHERE id = ?",  # noqa: S608
                (content, identity),
            )
            if kept:
                contents.fences[at], contents.seals[at] = kept[0][0], crc32(content)
            else:
                del contents.fences[at], contents.seals[at], contents.blocks[at]
        holes = united([*self.holes, *((each, each, True) for each in purged)])
        contents.holes = _write_holes(self._connection, number, self.segment, holes)
        self._read.clear()
        self._place = 0, -1
        (length,) = self._connection.execute(
            f"SELECT length(content) FROM segment_{number} WHERE segment = ?",  # noqa: S608
            (self.segment,),
        ).fetchone()
        row = segment_row(number, self.segment, contents, length)
        self._connection.execute(
            f"UPDATE segment_{number} SET seal = ?, content = ? WHERE segment = ?",  # noqa: S608
            (row[1], row[2], self.segment),
        )

    def _block(self, at: int) -> Block:
        if (block := self._read.get(at)) is None:
            block = self._read[at] = self._fetch(at)
        return block

    def _fetch(self, at: int) -> Block:
        with _read(self.segment):
            row = self._connection.execute(
                f"SELECT content FROM block_{self._number} WHERE id = ?",  # noqa: S608 - a number
                (block_id(self.segment, self.contents.blocks[at]),),
            ).fetchone()
            if row is None or crc32(row[0]) != self.contents.seals[at]:
                raise DamagedSegment(self.segment)
            return decode_block(row[0])


def read_segment(
    connection: sqlite3.Connection, number: int, segment: int, size: int, known: Known | None = None
) -> StoredSegment:
    """A segment of the log of that number.

    Args:
        connection: to read with.
        number: of the log.
        segment: which one.
        size: how many offsets a segment has.
        known: what is remembered of segments from one read to the next.

    Raises:
        DamagedSegment: it isn't there, or isn't as it was written.
        sqlite3.Error: it can't be read, and that isn't for damage.
    """
    with _read(segment):
        # The seal stands before the content: where that is known it isn't read again.
        row = connection.execute(
            f"SELECT seal FROM segment_{number} WHERE segment = ?",  # noqa: S608 - a number
            (segment,),
        ).fetchone()
        if row is None:
            raise DamagedSegment(segment)
        if known is not None and (before := known.get((number, segment))) and before[0] == row[0]:
            return StoredSegment(connection, number, segment, before[1])
        (content,) = connection.execute(
            f"SELECT content FROM segment_{number} WHERE segment = ?",  # noqa: S608 - a number
            (segment,),
        ).fetchone()
        if _seal(number, segment, content) != row[0]:
            raise DamagedSegment(segment)
        contents = decode_contents(content)
        if contents.size != size:
            raise DamagedSegment(segment)
    if known is not None:
        known[number, segment] = row[0], contents
    return StoredSegment(connection, number, segment, contents)


def segment_row(number: int, segment: int, contents: Contents, length: int = 0) -> tuple[int, int, bytes]:
    """The row of a segment of the log of that number; its content is of that length at least."""
    content = encode_part(contents, length)
    return segment, _seal(number, segment, content), content


@contextmanager
def _read(segment: int) -> Iterator[None]:
    """What says that something is damaged says so of that segment."""
    try:
        yield
    except (sqlite3.Error, BadRecord, ValueError, TypeError) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        raise DamagedSegment(segment) from error


def _write_holes(connection: sqlite3.Connection, number: int, segment: int, holes: list[Range]) -> int:
    if not holes:
        return 0
    content = encode_part(holes)
    connection.execute(f"INSERT OR REPLACE INTO hole_{number} VALUES (?, ?)", (segment, content))  # noqa: S608
    # 0 says that there is nothing.
    return crc32(content) or _write_holes(connection, number, segment, [*holes, holes[-1]])


def newest_segment(connection: sqlite3.Connection, number: int) -> int:
    """The last segment that the file has of a log, or -1; all before it should be there, or are trimmed."""
    (newest,) = connection.execute(f"SELECT max(segment) FROM segment_{number}").fetchone()  # noqa: S608
    return newest if isinstance(newest, int) else -1


def block_id(segment: int, block: int) -> int:
    """The row of a block: those of a segment stand together."""
    return segment * _BLOCKS_OF_A_SEGMENT + block


def united(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order; those of one kind that touch become one."""
    found: list[Range] = []
    for first, last, purged in sorted(ranges):
        if found and (found[-1][1] >= first or (found[-1][1] == first - 1 and found[-1][2] == purged)):
            # What is missing for two reasons is told once.
            found[-1] = found[-1][0], max(found[-1][1], last), found[-1][2]
        else:
            found.append((first, last, purged))
    return found


def within(ranges: Iterable[Range], first: int, last: int) -> list[Range]:
    """The parts of ranges that are in ``first`` to ``last``."""
    return [
        (max(first, begin), min(last, end), purged)
        for begin, end, purged in ranges
        if begin <= last and end >= first
    ]


def pack(places: array[int]) -> bytes:
    """Places as bytes, the lowest first."""
    if sys.byteorder == "big":
        places = places[:]
        places.byteswap()
    return places.tobytes()


def unpack(packed: bytes) -> array[int]:
    """The opposite of ``pack``."""
    places = array("H")
    places.frombytes(packed)
    if sys.byteorder == "big":
        places.byteswap()
    return places


def _less(packed: bytes, gone: set[int] | None) -> bytes:
    if not gone:
        return packed
    return pack(array("H", [each for each in unpack(packed) if each not in gone]))


def _seal(number: int, segment: int, content: bytes) -> int:
    return crc32(content, crc32(_identity(number, segment)))
