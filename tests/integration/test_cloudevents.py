"""Events of CloudEvents through a real gateway: the official SDK sends them, and reads what comes out."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.patience import HANG_SECONDS

SETTINGS = """
[cloudevents]
topic = "events/{ce.type}/{ce.subject}"

[store]
url = "memory:"

[[streams]]
name = "kept"
filter = "events/kept/#"
last_values = true
"""
OWN = {"gatewaytopic", "gatewaytime", "gatewaystream", "gatewayoffset", "gatewayfilter", "gatewaysnapshot"}


@pytest.fixture(scope="module")
def gateway(module_gateway_process):
    return module_gateway_process(SETTINGS)


def made(name, kind, **attributes):
    attributes |= {"id": name, "source": "/shop", "type": kind, "subject": "größe 7", "specversion": "1.0"}
    attributes |= {"datacontenttype": "application/json", "traceparent": "00-a-b-01"}
    return CloudEvent(attributes=attributes, data={"total": 42})


def post(gateway, message):
    request = urllib.request.Request(gateway.url + "/v1/cloudevents", message.body, message.headers)
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
        return response.status, json.load(response)


@contextmanager
def listen(gateway, subprotocol, **options):
    with connect(address(gateway), subprotocols=[subprotocol], open_timeout=HANG_SECONDS) as socket:
        assert socket.subprotocol == subprotocol
        assert told(socket)["protocol"] == subprotocol
        socket.send(json.dumps({"op": "subscribe", "filter": "events/#", "ref": 1, **options}))
        assert told(socket)["op"] == "subscribed"
        yield socket


def address(gateway):
    return f"ws://127.0.0.1:{gateway.port}/v1/ws"


def told(socket):
    return json.loads(socket.recv(timeout=HANG_SECONDS))


def whole_event(socket):
    event = JSONFormat().read(None, socket.recv(timeout=HANG_SECONDS))
    return {
        name: value for name, value in event.get_attributes().items() if name not in OWN
    }, event.get_data()


def test_events_arrive_whole_and_as_messages(gateway):
    with listen(gateway, "cloudevents.json") as events, listen(gateway, "gateway.v1") as messages:
        for number, write in enumerate((to_binary_event, to_structured_event)):
            event = made(f"live-{number}", "live")
            assert post(gateway, write(event)) == (202, {"id": f"live-{number}"})
            assert post(gateway, write(event)) == (202, {"id": f"live-{number}"})
            assert whole_event(events) == (event.get_attributes(), event.get_data())
            message = told(messages)
            assert (message["op"], message["topic"]) == ("message", "events/live/größe 7")
            assert (message["id"], message["data"]) == (f"live-{number}", {"total": 42})
            assert message["content_type"] == "application/json"
            assert message["headers"]["ce-subject"] == "größe 7"


def test_a_kept_event_is_read_again(gateway):
    event = made("kept-1", "kept")
    status, receipt = post(gateway, to_binary_event(event))
    assert (status, receipt) == (201, {"id": "kept-1", "stream": "kept", "offset": 1})
    assert post(gateway, to_structured_event(event)) == (201, receipt)
    for start, mark in (("earliest", "gatewayfilter"), ("snapshot", "gatewaysnapshot")):
        with listen(gateway, "cloudevents.json", **{"from": start}) as events:
            members = told(events)
            assert mark in members
            assert (members["gatewaystream"], members["gatewayoffset"]) == ("kept", "1")
            assert (members["id"], members["source"], members["data"]) == ("kept-1", "/shop", {"total": 42})
            assert told(events)["op"] == "caught_up"


def test_a_client_may_send_events_over_its_socket(gateway):
    with listen(gateway, "cloudevents.json") as socket:
        event = made("sent", "live")
        socket.send(to_structured_event(event).body.decode())
        assert whole_event(socket) == (event.get_attributes(), event.get_data())
        socket.send('{"specversion": "1.0", "id": "x"}')
        error = told(socket)
        assert (error["op"], error["code"]) == ("error", "bad_command")
        assert "'source' is missing" in error["reason"]
        socket.send('{"op": "ping"}')
        assert told(socket)["op"] == "pong"


def test_a_plain_message_is_an_event_too(gateway):
    with listen(gateway, "cloudevents.json") as socket:
        request = urllib.request.Request(gateway.url + "/v1/topics/events/a%20b", b"\x00\xff")
        urllib.request.urlopen(request, timeout=HANG_SECONDS).close()
        event = JSONFormat().read(None, socket.recv(timeout=HANG_SECONDS))
        assert (event.get_source(), event.get_type()) == ("/topics/events/a%20b", "events/a b")
        assert event.get_data() == b"\x00\xff"


def test_a_batch_is_answered_per_event(gateway):
    good = json.loads(to_structured_event(made("batch", "live")).body)
    headers = {"content-type": "application/cloudevents-batch+json"}
    request = urllib.request.Request(
        gateway.url + "/v1/cloudevents", json.dumps([good, good | {"time": "now"}]).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as response:
        results = json.load(response)["results"]
    assert results[0] == {"id": "batch"}
    assert results[1]["code"] == "bad_command"
    assert "'time'" in results[1]["reason"]


def test_what_is_no_event_is_told_why(gateway):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(gateway.url + "/v1/cloudevents", b"x", timeout=HANG_SECONDS)
    problem = json.load(caught.value)
    assert (caught.value.code, problem["code"]) == (400, "bad_command")
    assert "attribute 'specversion' is missing" in problem["detail"]


def test_an_unknown_subprotocol_is_told_the_known_ones(gateway):
    with pytest.raises(InvalidStatus) as caught:
        connect(address(gateway), subprotocols=["cloudevents.avro"])
    assert b"gateway.v1 or cloudevents.json" in caught.value.response.body
