"""The entries in which Redis keeps publications, as they are read.

A header is ``TIME BEFORE NONCE ~SEAL``. The seal binds the entry's id and the header to the checksum of its
record, as a row's does in SQLite: the first eight digits of the SHA-1 of all of them, which is the digest
that a script can take quickly. Entries of earlier releases have none; those releases pass over it. The tilde
is in no nonce, so that no changed bit makes a sealed header look like one without a seal.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import TYPE_CHECKING

from gateway.codecs.record import BadRecord, decode_record
from gateway.core.streams.pages import PURGED, Hole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.redis.wire import Reply

_is_unsealed = re.compile(rb"[0-9]{1,15} [0-9]{1,16} [0-9A-Za-z]+").fullmatch
_SEAL_DIGITS = 8
_RECORD_HEAD = 5  # version and checksum


def decode_entry(entry_id: bytes, header: bytes, record: bytes, stream: str) -> Publication | None:
    """The publication of the entry with the id ``entry_id``, or None where it isn't as it was written."""
    stem, sealed, seal = header.rpartition(b" ~")
    if sealed:
        bound = b"%b %b %b" % (entry_id, stem, record[:_RECORD_HEAD])
        if sha1(bound, usedforsecurity=False).hexdigest()[:_SEAL_DIGITS].encode() != seal:
            return None
    elif not _is_unsealed(header):
        return None
    try:
        return decode_record(record, stream, int(entry_id.partition(b"-")[0]), int(header.partition(b" ")[0]))
    except (BadRecord, ValueError):  # the latter where somebody sealed what no gateway writes
        return None


def decode_entries(reply: Reply, begin: int, stream: str) -> list[Publication]:
    """The publications of the entries in ``reply`` from place ``begin`` on: id, header and record of each."""
    places = range(begin, len(reply), 3)
    entries = (decode_entry(reply[at], reply[at + 1], reply[at + 2], stream) for at in places)
    return [each for each in entries if each is not None]


def ranges(flat: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of first and last offset."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def with_purged(holes: Iterable[Hole], purged: Sequence[tuple[int, int]]) -> list[Hole]:
    """These holes, with what was purged of them told as that; ``purged`` is in order."""
    told: list[Hole] = []
    for hole in holes:
        first = hole.first
        for begin, end in purged:
            begin, end = max(begin, first), min(end, hole.last)  # noqa: PLW2901 - as much as lies in the hole
            if begin > end:
                continue
            if first < begin:
                told.append(Hole(first, begin - 1, hole.reason))
            told.append(Hole(begin, end, PURGED))
            first = end + 1
        if first <= hole.last:
            told.append(Hole(first, hole.last, hole.reason))
    return told
