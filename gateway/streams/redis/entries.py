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

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publication

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
