"""Events in over HTTP, in all three modes, against a real publisher."""

import json

import pytest

from gateway.codecs.body import MessageLimits
from gateway.core.streams.configuration import StreamConfiguration
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.streams.memory import MemoryStore

SMALL = PublishingLimits(
    message=MessageLimits(message_bytes=100, json_depth=8, header_entries=6, header_bytes=200),
    batch_items=3,
    batch_bytes=1_000,
)
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created", "subject": "eu/7"}
HEADERS = {f"ce-{name}": value for name, value in EVENT.items()}
TOPIC = "order.created/eu/7"
STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


def assert_problem(response, status, code):
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"


def post(doors, body, headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return doors.client.post("/v1/cloudevents", content=content, headers=headers)


@pytest.mark.parametrize("mode", ["binary", "structured", "batch"])
async def test_an_event_is_the_same_message_in_every_mode(open_doors, mode):
    doors = await open_doors()
    whole = EVENT | {"datacontenttype": "application/json", "data": {"total": 1}}
    if mode == "binary":
        response = await post(doors, whole["data"], HEADERS | {"content-type": "application/json"})
    elif mode == "structured":
        response = await post(doors, whole, STRUCTURED)
    else:
        response = await post(doors, [whole], BATCH)
    [publication] = doors.published
    if mode == "batch":
        assert (response.status_code, response.json()) == (200, {"results": [{"id": "1"}]})
    else:
        assert (response.status_code, response.json()) == (202, {"id": "1"})
    assert (publication.topic, publication.id, publication.headers) == (TOPIC, "1", HEADERS)
    assert publication.content_type == "application/json"
    assert json.loads(publication.data) == {"total": 1}


async def test_an_event_that_a_stream_keeps_is_a_201(open_doors):
    store = MemoryStore([StreamConfiguration("s", "captured/#")])
    await store.start()
    doors = await open_doors(store=store)
    for _ in range(2):
        response = await post(doors, EVENT | {"type": "captured"}, STRUCTURED)
        assert (response.status_code, response.json()) == (201, {"id": "1", "stream": "s", "offset": 1})
    await store.stop()


async def test_source_and_id_tell_a_repeat(open_doors):
    doors = await open_doors()
    for event in (EVENT, EVENT, EVENT | {"id": "2"}, EVENT | {"source": "/other"}):
        assert (await post(doors, event | {"data": 1}, STRUCTURED)).status_code == 202
    assert len(doors.published) == 3
    assert_problem(await post(doors, EVENT | {"data": 2}, STRUCTURED), 409, "conflict")


async def test_items_of_a_batch_fail_alone(open_doors):
    doors = await open_doors()
    broken = [{}, EVENT | {"time": "now"}, 7, EVENT | {"type": "$SYS"}]
    response = await post(doors, [EVENT, *broken, EVENT | {"id": "2"}], BATCH)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [item.get("code", "ok") for item in results] == [
        "ok", "bad_command", "bad_command", "bad_frame", "bad_topic", "ok",
    ]  # fmt: skip
    assert "'specversion' is missing" in results[1]["reason"]
    assert [publication.id for publication in doors.published] == ["1", "2"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"x", {}, 400, "bad_command"),
        (b"x", {"content-type": "text/plain"}, 400, "bad_command"),
        (b"x", HEADERS | {"ce-specversion": "2.0"}, 400, "bad_command"),
        (b"x", HEADERS | {"ce-type": "$gateway"}, 400, "bad_topic"),
        (b"{", HEADERS | {"content-type": "application/json"}, 400, "bad_frame"),
        (b"x" * 101, HEADERS, 413, "too_large"),
        (EVENT | {"data": "x" * 101}, STRUCTURED, 413, "too_large"),
        (b"x" * 20_000, STRUCTURED, 413, "too_large"),
        (EVENT | {f"x{number}": "1" for number in range(7)}, STRUCTURED, 400, "bad_command"),
        ([EVENT], STRUCTURED, 400, "bad_frame"),
        (EVENT, BATCH, 400, "bad_frame"),
        (b"[", BATCH, 400, "bad_frame"),
        ([EVENT] * 4, BATCH, 413, "too_large"),
        (b"[" + b" " * 1_000 + b"]", BATCH, 413, "too_large"),
        (b"<xml/>", {"content-type": "application/cloudevents+avro"}, 400, "bad_command"),
        (b"x", HEADERS | {"content-encoding": "gzip"}, 400, "bad_command"),
    ],
)
async def test_what_is_refused_is_a_problem_and_published_by_nobody(open_doors, body, headers, status, code):
    doors = await open_doors(limits=SMALL)
    assert_problem(await post(doors, body, headers), status, code)
    assert doors.published == []


async def test_an_empty_batch_has_no_results(open_doors):
    doors = await open_doors()
    response = await post(doors, [], BATCH)
    assert (response.status_code, response.json()) == (200, {"results": []})


@pytest.mark.parametrize(("limit", "rate"), [(0, "*"), (600, "600")])
async def test_a_sender_that_asks_is_told_that_it_may_send(open_doors, limit, rate):
    doors = await open_doors(requests_per_minute=limit)
    asked = {"WebHook-Request-Origin": "events.example", "WebHook-Request-Rate": "120"}
    response = await doors.client.options("/v1/cloudevents", headers=asked)
    assert response.status_code == 200
    assert response.headers["webhook-allowed-origin"] == "events.example"
    assert response.headers["webhook-allowed-rate"] == rate
    assert response.headers["allow"] == "OPTIONS, POST"


async def test_whoever_asks_otherwise_is_told_the_methods_alone(open_doors):
    doors = await open_doors()
    response = await doors.client.options("/v1/cloudevents")
    assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")
    assert "webhook-allowed-origin" not in response.headers
    for odd in ("", "a b", "a, b", "x" * 256):
        response = await doors.client.options("/v1/cloudevents", headers={"WebHook-Request-Origin": odd})
        assert_problem(response, 400, "bad_command")
