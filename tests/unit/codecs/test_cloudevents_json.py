"""Messages as whole events: the official SDK reads them all, whatever was published."""

from __future__ import annotations

import base64
import json

import orjson
import pytest
from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given

from gateway.codecs.cloudevents import attribute_problem
from gateway.codecs.cloudevents_json import CloudEventsJson
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.gateway_v1_client import decode_event
from gateway.codecs.gateway_v1_commands import command_fields
from gateway.codecs.websocket_frames import iter_payloads, server_frame
from gateway.core.messages.commands import Ping
from gateway.core.messages.events import Welcome
from gateway.core.messages.publication import FramedPublication, Publication
from gateway.errors import BadCommand, BadFrame
from tests.unit.codecs.strategies import any_command, any_event, publications, texts
from tests.unit.codecs.test_cloudevents import MINIMAL, READER, events

BASE = GatewayV1()
CODEC = CloudEventsJson(BASE, READER)
OWN = {"gatewaytopic", "gatewaytime"}


def payload(frame):
    (text,) = iter_payloads(frame)
    assert frame == server_frame(text)
    return text


def told(**fields):
    publication = Publication("a/b", "i", time=1_700_000_000_005, **fields)
    return json.loads(payload(CODEC.encode_message(publication)))


def published(raw):
    publish = CODEC.decode(raw)
    return Publication(
        publish.topic,
        publish.id,
        time=1_700_000_000_005,
        data=publish.data,
        binary=publish.binary,
        content_type=publish.content_type,
        headers=publish.headers,
        key=publish.key,
    )


@given(events)
def test_what_the_sdk_publishes_is_what_it_gets(event):
    frame = CODEC.encode_message(published(to_structured_event(event).body))
    back = JSONFormat().read(None, payload(frame))
    attributes = {name: value for name, value in back.get_attributes().items() if name not in OWN}
    assert (attributes, back.get_data()) == (event.get_attributes(), event.get_data())


@given(publications)
def test_every_publication_is_an_event(publication):
    text = payload(CODEC.encode_message(publication))
    members = json.loads(text)
    assert members["gatewaytopic"] == publication.topic
    if publication.data is None:
        assert base64.b64decode(members.get("data_base64", "")) == (publication.binary or b"")
    else:
        assert members["data"] == json.loads(publication.data)
    assert all(
        name == "data_base64" or name == "data" or attribute_problem(name, "1.0") is None or name in members
        for name in members
    )
    if publication.topic and publication.id:  # as the gateway has them
        assert JSONFormat().read(None, text).get_id() == members["id"]


@given(publications, texts)
def test_history_and_last_values_name_their_subscription(publication, topic_filter):
    live = json.loads(payload(CODEC.encode_message(publication)))
    history = json.loads(payload(CODEC.encode_history(publication, topic_filter)))
    snapshot = json.loads(payload(CODEC.encode_snapshot(publication, topic_filter)))
    assert history == live | {"gatewayfilter": topic_filter}
    assert snapshot == live | {"gatewayfilter": topic_filter, "gatewaysnapshot": True}


@given(publications)
def test_what_came_from_another_node_is_the_same_event(publication):
    framed = FramedPublication(
        publication.topic,
        BASE.encode_message(publication),
        BASE,
        lambda frame: decode_event(payload(frame)).publication,
        data=publication.data,
    )
    assert framed.frame(CODEC) == publication.frame(CODEC)


@given(any_event)
def test_everything_else_is_told_as_in_gateway_v1(event):
    fields = json.loads(payload(CODEC.encode(event)))
    expected = json.loads(payload(BASE.encode(event)))
    if isinstance(event, Welcome):
        expected["protocol"] = "cloudevents.json"
    assert fields == expected
    assert "specversion" not in fields


@given(any_command)
def test_commands_are_those_of_gateway_v1(command):
    assert type(CODEC.decode(orjson.dumps(command_fields(command)))) is type(command)


def test_what_is_no_event_gets_attributes():
    members = told(data=b"1", headers={"traceparent": "00-a", "x-other": "y", "id": "no", "ce-subject": "s"})
    assert members == {
        "specversion": "1.0",
        "id": "i",
        "source": "/topics/a/b",
        "type": "a/b",
        "time": "2023-11-14T22:13:20.005Z",
        "subject": "s",
        "traceparent": "00-a",
        "gatewaytopic": "a/b",
        "gatewaytime": "2023-11-14T22:13:20.005Z",
        "data": 1,
    }


def test_what_a_stream_keeps_says_where():
    members = told(data=b"1", stream="orders", offset=2**40, key="k")
    assert {name: members[name] for name in ("source", "gatewaystream", "gatewayoffset", "partitionkey")} == {
        "source": "/streams/orders",
        "gatewaystream": "orders",
        "gatewayoffset": "1099511627776",
        "partitionkey": "k",
    }


def test_a_deletion_is_told():
    members = told(deleted=True)
    assert members["gatewaydeleted"] is True
    assert not {"data", "data_base64"} & set(members)


def test_nobody_can_pretend_to_be_the_gateway():
    headers = {f"ce-{name}": value for name, value in MINIMAL.items()} | {
        "ce-gatewaystream": "forged",
        "gatewayoffset": "7",
        "ce-gatewaytopic": "forged",
    }
    members = told(data=b"1", headers=headers)
    assert members["gatewaytopic"] == "a/b"
    assert not {"gatewaystream", "gatewayoffset"} & set(members)


@pytest.mark.parametrize("broken", [{"ce-id": ""}, {"ce-source": "a b"}, {"ce-specversion": "0.3"}])
def test_a_message_that_only_looks_like_an_event_is_made_one(broken):
    headers = {f"ce-{name}": value for name, value in MINIMAL.items()} | broken | {"ce-time": "yesterday"}
    members = told(data=b"1", headers=headers)
    assert {name: members[name] for name in ("specversion", "id", "source", "type")} == {
        "specversion": "1.0",
        "id": "i",
        "source": "/topics/a/b",
        "type": "a/b",
    }
    assert members["time"] == members["gatewaytime"]


def test_a_frame_is_an_event_by_its_specversion():
    event = json.dumps(MINIMAL | {"op": "ping"}).encode()
    assert CODEC.decode(event).headers["ce-op"] == "ping"
    assert isinstance(CODEC.decode(b'{"op":"ping"}'), Ping)
    assert CODEC.decode(b'{"op":"publish","topic":"t","data":{"specversion":"1.0"}}').topic == "t"


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b'{"specversion":"1.0"}', BadCommand),
        (b'{"specversion":', BadFrame),
        (b'["specversion"]', BadFrame),
        (b'{"specversion":"1.0","x":' + b"[" * 200 + b"]" * 200 + b"}", BadFrame),
        (b"{}", BadCommand),
    ],
)
def test_a_frame_that_is_neither_is_refused(frame, error):
    with pytest.raises(error):
        CODEC.decode(frame)
