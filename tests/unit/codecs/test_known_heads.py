"""What is read in the short way is what the long way reads, and nothing else is read so."""

from __future__ import annotations

from inspect import signature

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs import known_heads
from gateway.codecs.body import MessageLimits
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.gateway_v1_shapes import decode_publish_item
from gateway.codecs.known_heads import KnownHeads
from gateway.core.messages.publication import Publish
from gateway.errors import ClientError

LIMITS = MessageLimits(message_bytes=64, json_depth=4)
START = b'{"topic":'


def fields(publish: Publish) -> list[object]:
    return [getattr(publish, name) for name in signature(Publish).parameters]


def knowing(*topics: str) -> KnownHeads:
    heads = KnownHeads(START, LIMITS)
    for topic in topics:
        text = START + orjson.dumps(topic) + b',"data":1}'
        heads.note(text, decode_publish_item(text, LIMITS))
    return heads


def test_a_text_that_begins_as_one_before_is_read() -> None:
    publish = knowing("a").read(b'{"topic":"a","data": {"b": [1]} }')
    assert publish is not None
    assert (publish.topic, publish.data) == ("a", b'{"b": [1]}')


ends = st.one_of(
    st.binary(max_size=12),
    st.text(alphabet='{}[]",:1 data\\\n', max_size=40).map(str.encode),
    st.sampled_from(
        [
            b'1,"key":"k"}',
            b'1,"data":2}',
            b'{"a":1},"id":"x"}',
            b"1}}",
            b"}",
            b"",
            b"1",
            b'"' + b"x" * 80 + b'"}',
            b"[[[[[1]]]]]}",
            b"[[[1]]]}",
            b'"\\ud800"}',
            b"1e999}",
            b'"\xff"}',
            b"null}",
        ]
    ),
)


@given(topic=st.text(min_size=1, max_size=6), ends=ends)
def test_the_short_way_reads_what_the_long_way_reads(topic: str, ends: bytes) -> None:
    text = START + orjson.dumps(topic) + b',"data":' + ends
    short = knowing(topic).read(text)
    try:
        long = decode_publish_item(text, LIMITS)
    except ClientError:
        assert short is None
    else:
        assert short is None or fields(short) == fields(long)


@pytest.mark.parametrize(
    "text",
    [
        b'{"topic":"a","data":1,"key":"k"}',
        b'{"topic": "a","data":1}',
        b'{"data":1,"topic":"a"}',
        b'{"topic":"a","id":"x","data":1}',
        b'{"topic":"\\u0061","data":1}',
        b'{"topic":"a","data_base64":"AA=="}',
        START + orjson.dumps("a" * 300) + b',"data":1}',
    ],
)
def test_only_what_gives_a_topic_and_data_in_the_shortest_form_is_remembered(text: bytes) -> None:
    heads = KnownHeads(START, LIMITS)
    heads.note(text, decode_publish_item(text, LIMITS))
    assert heads.read(text) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "_HEADS", 2)
    heads = knowing("a", "b", "c")
    found = [heads.read(START + orjson.dumps(topic) + b',"data":1}') is not None for topic in "abc"]
    assert found == [False, False, True]


def test_a_codec_takes_a_publish_for_plain_only_if_it_says_nothing_else() -> None:
    codec = GatewayV1()
    assert codec.read_plain_publish(b'{"op":"publish","topic":"a","data":2}') is None
    plain = codec.decode(b'{"op":"publish","topic":"a","data":1}')
    referred = codec.decode(b'{"op":"publish","topic":"a","data":2,"ref":7}')
    assert isinstance(plain, Publish)
    assert isinstance(referred, Publish)
    assert (plain.data, plain.ref, referred.data, referred.ref) == (b"1", None, b"2", 7)
    assert codec.read_plain_publish(b'{"op":"publish","topic":"a","data":2}') == ("a", b"2")
    assert codec.read_plain_publish(b'{"op":"publish","topic":"a","data":2,"ref":7}') is None
    assert codec.read_plain_publish(b'{"op":"ping"}') is None
