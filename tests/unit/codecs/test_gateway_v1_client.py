from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.gateway_v1_client import decode_event, encode_command
from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.messages import commands, events
from gateway.errors import BadCommand, BadFrame
from tests.unit.codecs.strategies import any_event, texts


@given(any_event, st.dictionaries(texts.map("x_{}".format), texts, max_size=3))
def test_unknown_fields_are_passed_over(event, extra):
    (payload,) = iter_payloads(GatewayV1().encode(event))
    assert decode_event(orjson.dumps(orjson.loads(payload) | extra)) == event


@pytest.mark.parametrize("op", ["presence", "", "Message"])
def test_an_unknown_op_is_nothing(op):
    assert decode_event(orjson.dumps({"op": op, "anything": [1]})) is None


def test_a_welcome_of_a_later_gateway_is_read():
    frame = {
        "op": "welcome",
        "session": "s",
        "node": "n",
        "authenticated": False,
        "limits": {"a": 1, "b": "2"},
    }
    assert decode_event(orjson.dumps(frame)) == events.Welcome("s", "n", False, {"a": 1})


@pytest.mark.parametrize("frame", ["", "{", "[]", "1", b"\xff", "\ud800", '{"op":"pong"'])
def test_what_is_no_json_object_is_a_bad_frame(frame):
    with pytest.raises(BadFrame):
        decode_event(frame)


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"op": 1},
        {"op": "subscribed"},
        {"op": "error", "code": 5},
        {"op": "message", "topic": "a", "id": "i", "time": 1},
        {"op": "message", "topic": "a", "id": "i", "time": "1", "data": 1},
        {"op": "message", "topic": "a", "id": "i", "time": 1, "data_base64": "?"},
    ],
)
def test_a_known_op_of_the_wrong_shape_is_a_bad_command(frame):
    with pytest.raises(BadCommand):
        decode_event(orjson.dumps(frame))


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (commands.Ping(), '{"op":"ping"}'),
        (commands.Subscribe("a/#", ref=1), '{"op":"subscribe","filter":"a/#","ref":1}'),
        (commands.Publish("a", data=b'{"b" : 1}'), '{"op":"publish","topic":"a","data":{"b" : 1}}'),
        (commands.Publish("a", binary=b""), '{"op":"publish","topic":"a","data_base64":""}'),
        (commands.Reject(("d",)), '{"op":"nack","deliveries":["d"]}'),
    ],
)
def test_defaults_are_left_out(command, text):
    assert encode_command(command) == text


def test_what_json_cannot_carry_is_a_bad_command():
    with pytest.raises(BadCommand):
        encode_command(commands.Unsubscribe("\ud800"))
