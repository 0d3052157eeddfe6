"""Every frame a client can get wrong, and what it is told; docs/protocol.md lists the same rules."""

from __future__ import annotations

import base64
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.gateway_v1_client import encode_command
from gateway.core.messages import commands
from gateway.errors import BadCommand, BadFrame, ClientError, TooLarge
from tests.unit.codecs.strategies import any_command, ascii_noise, state

CODEC = GatewayV1()


def refused(frame: bytes | str | dict, codec: GatewayV1 = CODEC) -> ClientError:
    if isinstance(frame, dict):
        frame = orjson.dumps(frame)
    with pytest.raises(ClientError) as caught:
        codec.decode(frame.encode() if isinstance(frame, str) else frame)
    assert type(caught.value) in {BadFrame, BadCommand, TooLarge}
    assert len(str(caught.value)) <= 600
    orjson.dumps(str(caught.value))
    return caught.value


@given(any_command)
def test_every_command_round_trips(command):
    assert state(CODEC.decode(encode_command(command).encode())) == state(command)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        b"hello",
        b'{"op":"ping"',
        b'{"op":"ping"}{"op":"ping"}',
        b"{'op':'ping'}",
        b'{"op":"ping",}',
        b'\xef\xbb\xbf{"op":"ping"}',
        b'{"op":"ping","ref":"\xff"}',
        b'{"op":"ping","ref":"\\ud800"}',
        b'{"op":"ping","\xff":1}',
        b'{"op":"publish","topic":"a","data":"\xff"}',
        b'{"op":"publish","topic":"a","data":"\xed\xa0\x80"}',
        b'{"op":"publish","topic":"a","data":"\\udc00"}',
        b'{"op":"publish","topic":"a","data":1e999}',
        b'{"op":"publish","topic":"a","data":01}',
        b'{"op":"publish","topic":"a","data":"a\nb"}',
        b'{"op":"publish","topic":"a","data":NaN}',
        b'{"op":"subscribe","filter":"\xc0\xaf"}',
        b"[]",
        b'[{"op":"ping"}]',
        b'"ping"',
        b"null",
        b"12",
        b"[" * 10_000 + b"]" * 10_000,
        b"[" * 120_000,
        b'{"op":"publish","topic":"a","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"op":"publish","topic":"a","data":' + b"[" * 128 + b"]" * 128 + b"}",
        b'{"op":"publish","topic":"a","data":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        b'{"op":"ping","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"op":' * 2_000 + b"1" + b"}" * 2_000,
    ],
)
def test_what_is_no_acceptable_json_object_is_a_bad_frame(frame):
    error = refused(frame)
    assert type(error) is BadFrame
    assert error.ref is None


def test_exactly_as_deep_as_allowed_passes():
    data = b"[" * 127 + b"]" * 127
    assert CODEC.decode(b'{"op":"publish","topic":"a","data":' + data + b"}").data == data


PUBLISH = {"op": "publish", "topic": "a", "data": 1}
SUBSCRIBE = {"op": "subscribe", "filter": "a"}
WITHOUT_DATA = {"op": "publish", "topic": "a"}
WRONG = [
    ({}, "missing field 'op'"),
    ({"op": 1}, "field 'op': expected 'str'"),
    ({"op": None}, "field 'op'"),
    ({"op": "dance"}, "unknown op 'dance'"),
    ({"op": "x" * 5_000}, "unknown op 'xxx"),
    ({"op": "message", "topic": "a"}, "unknown op 'message'"),
    ({"op": "ping", "nonce": 1}, "unknown field 'nonce'"),
    ({"op": "ping", "ref": 1.5}, "field 'ref'"),
    ({"op": "ping", "ref": True}, "field 'ref'"),
    ({"op": "ping", "ref": []}, "field 'ref'"),
    ({"op": "ping", "ref": "r" * 129}, "field 'ref': expected 'str' of length <= 128"),
    ({"op": "ping", "ref": 2**53}, "field 'ref'"),
    ({"op": "auth"}, "missing field 'token'"),
    ({"op": "auth", "token": 5}, "field 'token'"),
    ({"op": "subscribe"}, "missing field 'filter'"),
    ({"op": "subscribe", "filter": None}, "field 'filter'"),
    (SUBSCRIBE | {"overflow": "explode"}, "field 'overflow'"),
    (SUBSCRIBE | {"from": "yesterday"}, "field 'from'"),
    (SUBSCRIBE | {"from": 5}, "field 'from'"),
    (SUBSCRIBE | {"from": {}}, "field 'from': exactly one of"),
    (SUBSCRIBE | {"from": {"offset": 1, "last": 1}}, "field 'from': exactly one of"),
    (SUBSCRIBE | {"from": {"page": 1}}, "field 'from': unknown field 'page'"),
    (SUBSCRIBE | {"from": {"offset": 0}}, "field 'from.offset': expected 'int' >= 1"),
    (SUBSCRIBE | {"from": {"time": -1}}, "field 'from.time'"),
    (SUBSCRIBE | {"from": {"last": 0}}, "field 'from.last'"),
    (SUBSCRIBE | {"from": {"last_per_topic": 0}}, "field 'from.last_per_topic'"),
    (SUBSCRIBE | {"from": {"last_per_topic": 1001}}, "field 'from.last_per_topic'"),
    (SUBSCRIBE | {"from": {"last": "5"}}, "field 'from.last'"),
    (SUBSCRIBE | {"resume": []}, "field 'resume'"),
    (SUBSCRIBE | {"resume": {"s": 5}}, "field 'resume"),
    (SUBSCRIBE | {"resume": {"s": {"epoch": "e"}}}, "missing field 'offset'"),
    (SUBSCRIBE | {"resume": {"s": {"epoch": "e", "offset": -1}}}, "field 'resume"),
    (SUBSCRIBE | {"resume": {"s": {"epoch": 1, "offset": 1}}}, "field 'resume"),
    (SUBSCRIBE | {"resume": {"s": {"epoch": "e", "offset": 1, "x": 1}}}, "unknown field 'x'"),
    (SUBSCRIBE | {"resume": {"": {"epoch": "e", "offset": 1}}}, "field 'resume"),
    ({"op": "unsubscribe"}, "missing field 'filter'"),
    ({"op": "publish", "data": 1}, "missing field 'topic'"),
    (PUBLISH | {"topic": 1}, "field 'topic'"),
    (WITHOUT_DATA, "one of 'data', 'data_base64' and 'deleted' is required"),
    (WITHOUT_DATA | {"data_base64": None}, "one of 'data', 'data_base64' and 'deleted' is required"),
    (PUBLISH | {"data_base64": "YQ=="}, "only one of 'data', 'data_base64' and 'deleted'"),
    (WITHOUT_DATA | {"data_base64": "YQ"}, "field 'data_base64'"),
    (WITHOUT_DATA | {"data_base64": "Y Q="}, "field 'data_base64'"),
    (WITHOUT_DATA | {"data_base64": "YQ==YQ=="}, "field 'data_base64'"),
    (WITHOUT_DATA | {"data_base64": "ü"}, "field 'data_base64'"),
    (WITHOUT_DATA | {"data_base64": 1}, "field 'data_base64'"),
    (WITHOUT_DATA | {"data_base64": "YQ==", "content_type": "text/plain; charset=ebcdic"}, "unknown charset"),
    (PUBLISH | {"content_type": ""}, "field 'content_type'"),
    (PUBLISH | {"content_type": "a\nb"}, "field 'content_type'"),
    (PUBLISH | {"content_type": "é"}, "field 'content_type'"),
    (PUBLISH | {"content_type": "x" * 257}, "field 'content_type'"),
    (PUBLISH | {"content_type": "image/png"}, "takes 'data_base64'"),
    (PUBLISH | {"content_type": "text/plain"}, "takes a JSON string"),
    (PUBLISH | {"id": ""}, "field 'id'"),
    (PUBLISH | {"id": "i" * 257}, "field 'id'"),
    (PUBLISH | {"key": ""}, "field 'key'"),
    (PUBLISH | {"key": "k" * 257}, "field 'key'"),
    (PUBLISH | {"idempotency_key": ""}, "field 'idempotency_key'"),
    (PUBLISH | {"idempotency_key": "k" * 257}, "field 'idempotency_key'"),
    (PUBLISH | {"headers": []}, "field 'headers'"),
    (PUBLISH | {"headers": {"a": 1}}, "field 'headers"),
    (PUBLISH | {"headers": {"": "a"}}, "field 'headers': a name is empty"),
    (PUBLISH | {"headers": {"a": "b\nc"}}, "field 'headers': control characters"),
    (PUBLISH | {"headers": {"a\x85": "b"}}, "field 'headers': control characters"),
    (PUBLISH | {"headers": {str(n): "" for n in range(33)}}, "field 'headers': 33 entries"),
    (PUBLISH | {"headers": {"a": "é" * 4096}}, "field 'headers': more than 8192 bytes"),
    ({"op": "consume", "stream": "s"}, "missing field 'group'"),
    ({"op": "consume", "stream": "", "group": "g"}, "field 'stream'"),
    ({"op": "consume", "stream": "s", "group": "g", "credit": -1}, "field 'credit'"),
    ({"op": "consume", "stream": "s", "group": "g", "credit": 10_001}, "field 'credit'"),
    ({"op": "consume", "stream": "s", "group": "g", "credit": 1.5}, "field 'credit'"),
    ({"op": "release", "group": "g"}, "missing field 'stream'"),
    ({"op": "ack"}, "missing field 'deliveries'"),
    ({"op": "ack", "deliveries": []}, "field 'deliveries'"),
    ({"op": "ack", "deliveries": "d"}, "field 'deliveries'"),
    ({"op": "ack", "deliveries": [1]}, "field 'deliveries"),
    ({"op": "ack", "deliveries": [""]}, "field 'deliveries"),
    ({"op": "ack", "deliveries": ["d"], "dead": True}, "unknown field 'dead'"),
    ({"op": "nack", "deliveries": ["d"], "delay": -1}, "field 'delay'"),
    ({"op": "nack", "deliveries": ["d"], "dead": 1}, "field 'dead'"),
    ({"op": "extend", "deliveries": ["d"]}, "missing field 'by'"),
    ({"op": "extend", "deliveries": ["d"], "by": 0}, "field 'by'"),
]


@pytest.mark.parametrize(("frame", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_a_wrong_shape_is_a_bad_command_that_names_field_and_rule(frame, reason):
    error = refused(frame)
    assert type(error) is BadCommand
    assert reason in str(error)


@pytest.mark.parametrize("frame", [frame for frame, _ in WRONG if "ref" not in frame])
@pytest.mark.parametrize("ref", ["r", 7, "", 0])
def test_a_refusal_bears_the_reference(frame, ref):
    assert refused(frame | {"ref": ref}).ref == ref


@pytest.mark.parametrize("ref", [None, True, 1.5, [], {}, "r" * 129, 2**53])
def test_a_reference_that_is_none_is_not_borne(ref):
    assert refused({"op": "dance", "ref": ref}).ref is None


@pytest.mark.parametrize("depth", [500, 1_000, 5_000, 50_000])
def test_deeper_than_a_parser_can_read_is_a_bad_frame_whatever_the_setting(depth):
    frame = b'{"op":"publish","topic":"a","data":' + b"[" * depth + b"]" * depth + b"}"
    try:
        command = GatewayV1(json_depth=100_000).decode(frame)
    except BadFrame:
        assert depth > 900
    else:
        assert command.data == b"[" * depth + b"]" * depth


def test_a_token_is_never_told():
    assert "hunter2" not in str(refused({"op": "auth", "token": ["hunter2"]}))
    assert "hunter2" not in repr(CODEC.decode(b'{"op":"auth","token":"hunter2"}'))


@pytest.mark.parametrize("field", ["data", "data_base64"])
def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_is_too_large(field):
    codec = GatewayV1(message_bytes=100)
    for size in range(90, 110):
        body = base64.b64encode(b"x" * size).decode() if field == "data_base64" else "x" * (size - 2)
        frame = orjson.dumps(WITHOUT_DATA | {field: body, "ref": 1})
        if size <= 100:
            assert codec.decode(frame).topic == "a"
        else:
            error = refused(frame, codec)
            assert (type(error), error.ref) == (TooLarge, 1)


def test_limits_are_the_callers():
    codec = GatewayV1(json_depth=3, header_entries=1, header_bytes=4)
    codec.decode(b'{"op":"publish","topic":"a","data":[[]],"headers":{"a":"bcd"}}')
    assert type(refused(b'{"op":"publish","topic":"a","data":[[[]]]}', codec)) is BadFrame
    assert type(refused(PUBLISH | {"headers": {"a": "", "b": ""}}, codec)) is BadCommand
    assert type(refused(PUBLISH | {"headers": {"a": "bcde"}}, codec)) is BadCommand


@pytest.mark.parametrize("field", ["id", "key", "headers", "content_type", "idempotency_key", "ref"])
def test_null_is_the_same_as_leaving_out(field):
    assert state(CODEC.decode(orjson.dumps(PUBLISH | {field: None}))) == state(
        CODEC.decode(orjson.dumps(PUBLISH))
    )


def test_null_data_is_a_message():
    assert CODEC.decode(b'{"op":"publish","topic":"a","data": null }').data == b"null"


def test_defaults():
    assert CODEC.decode(b'{"op":"subscribe","filter":"a"}') == commands.Subscribe("a")
    assert CODEC.decode(b'{"op":"consume","stream":"s","group":"g"}') == commands.Consume("s", "g", None, 32)


def test_data_is_embedded_byte_for_byte():
    frame = b'{ "data" : {"a" : 1.0e0,\n "a":"\\u00e9"} , "topic":"a", "op":"publish" }'
    assert CODEC.decode(frame).data == b'{"a" : 1.0e0,\n "a":"\\u00e9"}'


@pytest.mark.parametrize(
    ("content_type", "raw", "data", "binary"),
    [
        (None, b'{"a":1}', None, b'{"a":1}'),
        ("image/png", b"\x89P", None, b"\x89P"),
        ("application/json", b'{"a": 1}\n', b'{"a": 1}', None),
        ("text/plain", b"caf\xc3\xa9", '"café"'.encode(), None),
        ("image/png", b"", None, b""),
        ("text/plain", b"", b'""', None),
    ],
)
def test_base64_goes_by_the_same_rule_as_an_http_body(content_type, raw, data, binary):
    frame = WITHOUT_DATA | {"data_base64": base64.b64encode(raw).decode(), "content_type": content_type}
    command = CODEC.decode(orjson.dumps(frame))
    assert (command.data, command.binary) == (data, binary)


def decodes_or_refuses(frame: bytes) -> None:
    """Nothing but the three errors; what passes is JSON to an independent reader, and so is its data."""
    try:
        command = CODEC.decode(frame)
    except (BadFrame, BadCommand, TooLarge) as error:
        orjson.dumps(str(error))
        return
    assert isinstance(json.loads(frame.decode()), dict)
    if isinstance(command, commands.Publish):
        assert [command.data is None, command.binary is None, not command.deleted].count(False) == 1
        if command.data is not None:
            json.loads(command.data.decode())


@given(st.binary(max_size=60))
def test_any_bytes_at_all(noise):
    decodes_or_refuses(noise)


@given(any_command, st.data())
def test_any_damage_to_a_valid_frame(command, data):
    frame = encode_command(command).encode()
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, min(len(frame), start + 6)))
    inserted = data.draw(
        st.binary(max_size=4)
        | ascii_noise.map(str.encode)
        | st.sampled_from(
            [b"null", b"1e999", b'"\\ud800"', b"-1", b"9" * 400, b"[" * 2_000, b"\x00", b"{}", b'""']
        )
    )
    decodes_or_refuses(frame[:start] + inserted + frame[end:])


@given(any_command, st.data())
def test_any_value_in_any_field(command, data):
    fields = json.loads(encode_command(command))
    name = data.draw(st.sampled_from([*fields, "ref", "data", "from", "resume", "unheard"]))
    fields[name] = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=5)
        | st.lists(st.text(max_size=2), max_size=2)
        | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
    )
    decodes_or_refuses(json.dumps(fields).encode())
