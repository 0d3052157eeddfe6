"""Payloads round-trip, and broken ones raise ``BadPayload`` and nothing else."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.redis.payload import (
    BadPayload,
    PayloadHead,
    decode_head,
    decode_publications,
    encode_payload,
    encode_record,
)
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.websocket_frames import server_frame
from gateway.core.messages.publication import Publication

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
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="+#\0"), min_size=1, max_size=20),
    TEXT,
    st.integers(0, 2**53),
    BODIES,
    st.none() | TEXT,
    st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
    st.none() | TEXT,
)


def payload_of(publications: list[Publication], *, first: int = 0) -> bytes:
    head = PayloadHead("node", 64, first, len(publications))
    return encode_payload(head, [encode_record(each, CODEC) for each in publications])


@given(st.lists(PUBLICATIONS, max_size=4), st.integers(0, 2**64 - 1))
def test_a_payload_round_trips(publications: list[Publication], first: int) -> None:
    payload = payload_of(publications, first=first)
    assert decode_head(payload) == PayloadHead("node", 64, first, len(publications))
    for one, other in zip(decode_publications(payload, CODEC, pytest.fail), publications, strict=True):
        assert one.frame(CODEC) == other.frame(CODEC)
        assert one.frame(OTHER) == other.frame(OTHER)
        assert [getattr(one, name) for name in FIELDS] == [getattr(other, name) for name in FIELDS]


@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_payload_cut_short_or_changed_raises_nothing_else(length: int, tail: bytes) -> None:
    publications = [Publication("a/b", "1", 1, b'{"x": 1}'), Publication("a", "2", 2, None, b"\x00")]
    payload = payload_of(publications)[:length] + tail
    with contextlib.suppress(BadPayload):
        head, unreadable = decode_head(payload), list[object]()
        read = list(decode_publications(payload, CODEC, unreadable.append))
        assert len(read) + len(unreadable) == head.count


@pytest.mark.parametrize("payload", [b"", b"\2" + bytes(40), b"\1", b"\1\xff" + bytes(14)])
def test_another_version_or_no_head_is_refused(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        decode_head(payload)


def test_a_received_publication_is_not_decoded_for_its_own_format() -> None:
    sent = Publication("a", "1", 1, b"[1]")
    received = next(decode_publications(payload_of([sent]), CODEC, pytest.fail))
    received._read = None  # type: ignore[attr-defined]  # would fail if it were called
    assert (received.topic, received.data, received.binary) == ("a", b"[1]", None)
    assert received.frame(CODEC) == sent.frame(CODEC)


def raw_record(topic: bytes, frame: bytes, body: int = 0) -> bytes:
    return (
        len(topic).to_bytes(2, "big")
        + len(frame).to_bytes(4, "big")
        + body.to_bytes(4, "big")
        + topic
        + frame
    )


RIGHT = Publication("a/b", "m1", 1, b'{"x": 1}').frame(CODEC)


def changed(old: bytes, new: bytes) -> bytes:
    """The right frame with another text, its length put right."""
    assert old in RIGHT
    return server_frame(RIGHT[2:].replace(old, new))


NO_FRAMES = {
    "nothing": b"",
    "garbage": b"\xff\x00garbage",
    "no length": b"\x81",
    "cut short": RIGHT[:-1],
    "something behind": RIGHT + b"x",
    "two frames": RIGHT + RIGHT,
    "a binary frame": b"\x82" + RIGHT[1:],
    "a close frame": server_frame(b"\x03\xe8", 0x8),
    "compressed": b"\xc1" + RIGHT[1:],
    "not the last one": b"\x01" + RIGHT[1:],
    "masked": RIGHT[:1] + bytes((RIGHT[1] | 0x80,)) + RIGHT[2:],
    "too long a length": b"\x81\x7e\x00" + RIGHT[1:],
    "a longer length still": b"\x81\x7f" + bytes(7) + RIGHT[1:],
    "no JSON": server_frame(b"hello"),
    "no object": server_frame(b"[]"),
    "another op": server_frame(b'{"op":"goaway","reason":"go","retry_after":0}'),
    "no text": changed(b"x", b"\xff"),
    "no end": server_frame(RIGHT[2:-1] + b"]"),
}


@pytest.mark.parametrize("frame", [pytest.param(frame, id=name) for name, frame in NO_FRAMES.items()])
def test_what_is_no_message_is_refused_and_those_around_it_come(frame: bytes) -> None:
    records = [raw_record(b"a/b", RIGHT), raw_record(b"a/b", frame), raw_record(b"a/b", RIGHT)]
    reasons: list[str] = []
    found = list(
        decode_publications(encode_payload(PayloadHead("n", 64, 0, 3), records), CODEC, reasons.append)
    )
    assert [each.frame(CODEC) for each in found] == [RIGHT, RIGHT]
    assert len(reasons) == 1


BEGIN_WELL = {
    "no body": changed(b',"data":{"x": 1}', b""),
    "a broken body": changed(b'{"x": 1}', b'{"x": '),
    "a body that is no base64": changed(b'"data":{"x": 1}', b'"data_base64":"?"'),
    "a time that is none": changed(b'"time":1', b'"time":"1"'),
}


@pytest.mark.parametrize("frame", [pytest.param(frame, id=name) for name, frame in BEGIN_WELL.items()])
def test_a_message_whose_middle_is_broken_raises_bad_payload_when_it_is_read(frame: bytes) -> None:
    payload = encode_payload(PayloadHead("n", 64, 0, 1), [raw_record(b"a/b", frame)])
    (found,) = decode_publications(payload, CODEC, pytest.fail)
    with pytest.raises(BadPayload):
        _ = found.id


@pytest.mark.parametrize("size", [100, 127, 128, 500, 2000, 65_000, 66_000, 70_000])
def test_frames_of_every_size_come_through(size: int) -> None:
    for length in range(size, size + 40):
        sent = Publication("t", "é", 1, b'"%b"' % (b"x" * length))
        found = list(decode_publications(payload_of([sent]), CODEC, pytest.fail))
        assert [each.frame(CODEC) for each in found] == [sent.frame(CODEC)]


@pytest.mark.parametrize("topic", [b"", b"a/+", b"#", b"a\0b", b"\xff", b"/" * 2000])
def test_what_is_on_no_topic_is_refused(topic: bytes) -> None:
    frame = server_frame(RIGHT[2:].replace(b"a/b", topic))
    reasons: list[str] = []
    payload = encode_payload(PayloadHead("n", 64, 0, 1), [raw_record(topic, frame)])
    assert list(decode_publications(payload, CODEC, reasons.append)) == []
    assert len(reasons) == 1


@pytest.mark.parametrize("said", [0, 1, 3, 2**32 - 1])
def test_another_number_of_publications_than_was_said_is_noticed(said: int) -> None:
    payload = encode_payload(PayloadHead("n", 64, 0, said), [raw_record(b"a/b", RIGHT)] * 2)
    with pytest.raises(BadPayload):
        _ = decode_head(payload), list(decode_publications(payload, CODEC, pytest.fail))
