"""Entries of a log in Redis: read as they were written, or not at all."""

from __future__ import annotations

from hashlib import sha1

import pytest

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.streams.redis.entries import decode_entry

RECORD = encode_record(Publication("s/t", "m1", 0, b"1"))
STEM = b"1700000000000 15 0123456789"


def sealed(entry_id: bytes, stem: bytes) -> bytes:
    """As the script writes it, whatever the stem."""
    digest = sha1(entry_id + b" " + stem + b" " + RECORD[:5], usedforsecurity=False).hexdigest()
    return stem + b" ~" + digest[:8].encode()


@pytest.mark.parametrize("header", [STEM, sealed(b"7-0", STEM)])
def test_an_entry_is_read_with_its_offset_and_time(header: bytes) -> None:
    publication = decode_entry(b"7-0", header, RECORD, "s")
    assert publication is not None
    assert (publication.stream, publication.offset, publication.time) == ("s", 7, 1700000000000)
    assert (publication.id, publication.data) == ("m1", b"1")


def test_a_seal_holds_for_no_other_offset_time_or_record() -> None:
    header = sealed(b"7-0", STEM)
    other = encode_record(Publication("s/t", "m2", 0, b"1"))
    assert decode_entry(b"8-0", header, RECORD, "s") is None
    assert decode_entry(b"7-0", b"2" + header[1:], RECORD, "s") is None
    assert decode_entry(b"7-0", header, other, "s") is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"zz",
        b"1 2",
        b"x 2 n",
        b"1 2 n n",
        b"9" * 40 + b" 2 n",
        STEM + b" ~",
        STEM + b" ~00000000",
        sealed(b"7-0", b"x 2 n"),
        sealed(b"7-0", b"9" * 5000 + b" 2 n"),
        sealed(b"7-0", b""),
    ],
)
def test_another_header_is_none(header: bytes) -> None:
    assert decode_entry(b"7-0", header, RECORD, "s") is None


@pytest.mark.parametrize("record", [b"", b"?", RECORD[:-1], b"\2"])
def test_another_record_is_none(record: bytes) -> None:
    assert decode_entry(b"7-0", STEM, record, "s") is None
