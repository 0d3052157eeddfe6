from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.gateway_v1 import GatewayV1, encode_delivery, encode_fields, encode_object
from gateway.codecs.gateway_v1_client import Received, decode_event
from gateway.codecs.websocket_frames import iter_payloads, server_frame
from gateway.core.messages import events
from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from tests.unit.codecs.strategies import any_event, labels, publications, state, texts

CODEC = GatewayV1()


def payload(frame: bytes) -> bytes:
    (text,) = iter_payloads(frame)
    assert frame == server_frame(text)
    return text


@given(any_event)
def test_every_event_round_trips(event):
    assert decode_event(payload(CODEC.encode(event))) == event


@given(publications)
def test_every_publication_round_trips(publication):
    received = decode_event(payload(CODEC.encode_message(publication)))
    assert isinstance(received, Received)
    assert (state(received.publication), received.filter) == (state(publication), None)


@given(publications, labels, st.integers(1, 2**53), st.integers(1, 2**53))
def test_every_delivery_round_trips(publication, token, attempt, fence):
    event = events.Delivery(publication, token, "g", attempt, 5, fence)
    received = decode_event(payload(CODEC.encode(event)))
    assert state(received.publication) == state(publication)
    assert (received.token, received.attempt, received.fence) == (token, attempt, fence)
    assert json.loads(encode_delivery(event)) == {
        name: value for name, value in json.loads(payload(CODEC.encode(event))).items() if name != "op"
    }


@given(publications)
def test_fields_with_an_id_of_their_own_call_the_messages_by_another_name(publication):
    whole = json.loads(encode_object(publication))
    found = json.loads(encode_fields({"id": "7", "attempts": 2}, publication))
    assert found.pop("message_id") == whole.pop("id")
    assert found == whole | {"id": "7", "attempts": 2}


@given(publications, texts)
def test_history_names_its_subscription(publication, topic_filter):
    received = decode_event(payload(CODEC.encode_history(publication, topic_filter)).decode())
    assert (state(received.publication), received.filter) == (state(publication), topic_filter)


@given(publications)
def test_messages_are_json_to_an_independent_reader(publication):
    assert json.loads(payload(CODEC.encode_message(publication)).decode())["op"] == "message"


def test_the_order_of_a_message_puts_the_body_last():
    publication = Publication(
        "a/b",
        "i",
        time=5,
        data=b"[1, 2]",
        content_type="application/json",
        headers={"h": "v"},
        key="k",
        stream="s",
        offset=9,
    )
    assert payload(CODEC.encode_message(publication)) == (
        b'{"op":"message","topic":"a/b","id":"i","time":5,"content_type":"application/json",'
        b'"headers":{"h":"v"},"key":"k","stream":"s","offset":9,"data":[1, 2]}'
    )
    assert payload(CODEC.encode_history(publication, "a/#")).startswith(
        b'{"op":"message","filter":"a/#","topic":"a/b"'
    )


def test_a_binary_body_travels_as_base64():
    publication = Publication("a", "i", time=5, binary=b"\xff\x00\x01")
    assert payload(CODEC.encode_message(publication)) == (
        b'{"op":"message","topic":"a","id":"i","time":5,"data_base64":"/wAB"}'
    )


def test_a_publication_is_encoded_once_per_codec():
    publication = Publication("a", "i", time=5, data=b"1")
    assert publication.frame(CODEC) is publication.frame(CODEC)
    assert GatewayV1() != CODEC


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (
            events.Welcome("s", "n", True, {"frame_bytes": 131072}),
            {
                "op": "welcome",
                "session": "s",
                "node": "n",
                "protocol": "gateway.v1",
                "authenticated": True,
                "limits": {"frame_bytes": 131072},
            },
        ),
        (
            events.Authenticated("me", None, 1),
            {"op": "authenticated", "subject": "me", "expires": None, "ref": 1},
        ),
        (events.Subscribed("a"), {"op": "subscribed", "filter": "a", "positions": {}, "recovered": None}),
        (
            events.Subscribed("a", {"s": Position("e", 4)}, True, ""),
            {
                "op": "subscribed",
                "filter": "a",
                "positions": {"s": {"epoch": "e", "offset": 4}},
                "recovered": True,
                "ref": "",
            },
        ),
        (events.CaughtUp("a"), {"op": "caught_up", "filter": "a"}),
        (events.Unsubscribed("a", 0), {"op": "unsubscribed", "filter": "a", "ref": 0}),
        (events.Published("i"), {"op": "published", "id": "i"}),
        (
            events.Published("i", "s", 3, 2),
            {"op": "published", "id": "i", "stream": "s", "offset": 3, "ref": 2},
        ),
        (events.Acked(("a",), ()), {"op": "acked", "deliveries": ["a"], "stale": []}),
        (events.Pong(), {"op": "pong"}),
        (events.Gap("bus"), {"op": "gap", "reason": "bus", "dropped": None}),
        (events.Gap("overflow", "a", 0), {"op": "gap", "reason": "overflow", "filter": "a", "dropped": 0}),
        (
            events.Gap("epoch", "a", stream="s", epoch="e2", offset=0),
            {
                "op": "gap",
                "reason": "epoch",
                "filter": "a",
                "stream": "s",
                "epoch": "e2",
                "offset": 0,
                "dropped": None,
            },
        ),
        (
            events.Gap("trimmed", "a", None, "s", 1, 7),
            {
                "op": "gap",
                "reason": "trimmed",
                "filter": "a",
                "dropped": None,
                "stream": "s",
                "from": 1,
                "to": 7,
            },
        ),
        (events.GoAway("drain", 500), {"op": "goaway", "reason": "drain", "retry_after": 500}),
        (
            events.Failure("bad_frame", "not JSON"),
            {"op": "error", "code": "bad_frame", "reason": "not JSON", "fatal": False},
        ),
        (
            events.Failure("bad_frame", "x", True, "r"),
            {"op": "error", "code": "bad_frame", "reason": "x", "fatal": True, "ref": "r"},
        ),
    ],
)
def test_an_event_has_exactly_the_fields_of_the_protocol(event, fields):
    assert orjson.loads(payload(CODEC.encode(event))) == fields
