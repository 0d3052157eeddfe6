from __future__ import annotations

import json
from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.body import MessageLimits
from gateway.codecs.gateway_v1_client import encode_command
from gateway.codecs.gateway_v1_shapes import decode_publish_item
from gateway.errors import BadCommand, BadFrame, TooLarge
from tests.unit.codecs.strategies import publishes, state


def item_of(command: object) -> bytes:
    fields = orjson.loads(encode_command(command))
    return orjson.dumps({name: value for name, value in fields.items() if name not in {"op", "ref"}})


@given(publishes)
def test_an_item_is_a_publish_frame_without_op_and_ref(command):
    command.ref = None
    decoded, sent = state(decode_publish_item(item_of(command))), state(command)
    for one in (decoded, sent):
        one["data"] = one["data"] and orjson.loads(one["data"])
    assert decoded == sent


@pytest.mark.parametrize("field", ["op", "ref", "filter"])
def test_fields_of_frames_are_unknown_here(field):
    with pytest.raises(BadCommand, match=f"unknown field '{field}'"):
        decode_publish_item(orjson.dumps({"topic": "a", "data": 1, field: "publish"}))


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", BadFrame),
        (b"[]", BadFrame),
        (b"{", BadFrame),
        (b'{"topic":"\xff","data":1}', BadFrame),
        (b'{"topic":"a","data":1e999}', BadFrame),
        (b'{"topic":"a","data":[[[]]]}', BadFrame),
        (b"{}", BadCommand),
        (b'{"topic":"a"}', BadCommand),
        (b'{"topic":1,"data":1}', BadCommand),
        (b'{"topic":"a","data":"xxxxxxxxxxxxxxx"}', TooLarge),
        (b'{"topic":"a","deleted":1}', BadCommand),
        (b'{"topic":"a","deleted":false}', BadCommand),
        (b'{"topic":"a","deleted":true,"data":null}', BadCommand),
        (b'{"topic":"a","deleted":true,"data_base64":""}', BadCommand),
        (b'{"topic":"a","deleted":true,"content_type":"text/plain"}', BadCommand),
    ],
)
def test_wrong_items(raw, error):
    with pytest.raises(error):
        decode_publish_item(raw, MessageLimits(message_bytes=16, json_depth=3))


@given(st.binary(max_size=60))
def test_no_input_raises_anything_else(noise):
    with suppress(BadFrame, BadCommand, TooLarge):
        decode_publish_item(noise)
        assert isinstance(json.loads(noise), dict)
