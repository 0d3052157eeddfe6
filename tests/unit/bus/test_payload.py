"""Payloads round-trip, and broken ones raise ``BadPayload`` and nothing else."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.payload import (
    BadPayload,
    Head,
    decode_head,
    decode_publications,
    encode_payload,
    encode_record,
)
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.publication import Publication

CODEC, OTHER = GatewayV1(), GatewayV1()
FIELDS = ("topic", "id", "time", "data", "binary", "content_type", "headers", "key", "stream", "offset")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BODIES = st.one_of(
    st.tuples((st.none() | st.integers() | TEXT).map(lambda value: json.dumps(value).encode()), st.none()),
    st.tuples(st.none(), st.binary(max_size=200)),
)
PUBLICATIONS = st.builds(
    lambda topic, label, time, body, kind, headers, key: Publication(
        topic, label, time, *body, kind, headers, key
    ),
    TEXT.filter(bool),
    TEXT,
    st.integers(0, 2**53),
    BODIES,
    st.none() | TEXT,
    st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
    st.none() | TEXT,
)


def payload_of(publications: list[Publication], *, first: int = 0) -> bytes:
    head = Head("node", 64, first, len(publications))
    return encode_payload(head, [encode_record(each, CODEC) for each in publications])


@given(st.lists(PUBLICATIONS, max_size=4), st.integers(0, 2**64 - 1))
def test_a_payload_round_trips(publications: list[Publication], first: int) -> None:
    payload = payload_of(publications, first=first)
    assert decode_head(payload) == Head("node", 64, first, len(publications))
    for one, other in zip(decode_publications(payload, CODEC), publications, strict=True):
        assert one.frame(CODEC) == other.frame(CODEC)
        assert one.frame(OTHER) == other.frame(OTHER)
        assert [getattr(one, name) for name in FIELDS] == [getattr(other, name) for name in FIELDS]


@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_payload_cut_short_or_changed_raises_nothing_else(length: int, tail: bytes) -> None:
    publications = [Publication("a/b", "1", 1, b'{"x": 1}'), Publication("a", "2", 2, None, b"\x00")]
    payload = payload_of(publications)[:length] + tail
    with contextlib.suppress(BadPayload):
        decode_head(payload)
        for _ in decode_publications(payload, CODEC):
            pass


@pytest.mark.parametrize("payload", [b"", b"\2" + bytes(40), b"\1", b"\1\xff" + bytes(14)])
def test_another_version_or_no_head_is_refused(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        decode_head(payload)


def test_a_received_publication_is_not_decoded_for_its_own_format() -> None:
    sent = Publication("a", "1", 1, b"[1]")
    received = next(decode_publications(payload_of([sent]), CODEC))
    received._read = None  # type: ignore[attr-defined]  # would fail if it were called
    assert (received.topic, received.data, received.binary) == ("a", b"[1]", None)
    assert received.frame(CODEC) == sent.frame(CODEC)
