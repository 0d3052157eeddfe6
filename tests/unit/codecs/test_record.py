"""A stored publication comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.record import BadRecord, decode_record, encode_record
from gateway.core.messages.publication import Publication

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
optional_texts = st.none() | texts
bodies = st.tuples(texts, st.none()) | st.tuples(st.none(), st.binary(max_size=100))
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
FIELDS = ("topic", "id", "time", "data", "binary", "content_type", "headers", "key", "stream", "offset")


@given(
    topic=topics,
    label=texts,
    body=bodies,
    content_type=optional_texts,
    headers=st.none() | st.dictionaries(texts, texts, max_size=3),
    key=optional_texts,
)
def test_comes_back(
    topic: str,
    label: str,
    body: tuple[str | None, bytes | None],
    content_type: str | None,
    headers: dict[str, str] | None,
    key: str | None,
) -> None:
    text, binary = body
    data = None if text is None else text.encode()
    record = encode_record(Publication(topic, label, 1, data, binary, content_type, headers, key))
    found = decode_record(record, "orders", 7, 1234)
    expected = (topic, label, 1234, data, binary, content_type, headers, key, "orders", 7)
    assert tuple(getattr(found, name) for name in FIELDS) == expected


@given(st.binary(max_size=60))
def test_anything_else_is_refused(record: bytes) -> None:
    try:
        decode_record(record, "orders", 1, 1)
    except BadRecord:
        return
    assert record[:1] == b"\1"


def test_a_record_cut_short_is_refused() -> None:
    record = encode_record(Publication("a", "1", 0, b"{}"))
    for length in range(len(record)):
        with pytest.raises(BadRecord):
            decode_record(record[:length], "orders", 1, 1)


def test_every_flipped_bit_is_found() -> None:
    publication = Publication("s/t", "m1", 1, b"{}", None, "application/json", {"h": "v"})
    record = encode_record(publication)
    for bit in range(len(record) * 8):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadRecord):
            decode_record(bytes(changed), "orders", 1, 1)


def test_a_record_of_an_earlier_release_is_read() -> None:
    record = encode_record(Publication("s/t", "m1", 1, b"1"))
    assert decode_record(b"\1" + record[5:], "orders", 7, 1).id == "m1"


@pytest.mark.parametrize(
    ("topic", "data", "binary"),
    [
        ("", b"1", None),
        ("a\0", b"1", None),
        ("a", None, None),
        ("a", b"1", b"1"),
        ("a", b'"\xff"', None),
    ],
)
def test_what_is_no_publication_is_refused_whatever_its_checksum(
    topic: str, data: bytes | None, binary: bytes | None
) -> None:
    record = encode_record(Publication(topic, "x", 1, data, binary))
    with pytest.raises(BadRecord):
        decode_record(record, "orders", 1, 1)


def test_the_body_of_a_record_without_checksum_is_looked_at() -> None:
    fields = encode_record(Publication("a", "x", 1, b"{no JSON"))[5:]
    with pytest.raises(BadRecord):
        decode_record(b"\1" + fields, "orders", 1, 1)
