"""What of a delivery becomes the message, and what is left out."""

from __future__ import annotations

import gzip
import json

import pytest

from gateway.codecs.body import MessageLimits
from gateway.http_api.publishing.limits import PublishingLimits

HOOK = {"name": "hook", "scheme": "none", "topic": "in/{body.kind}"}


@pytest.fixture
def send(open_doors):
    opened = {}

    async def deliver(settings, body: bytes, content_type="application/json", **headers):
        key = json.dumps(settings)
        if key not in opened:
            opened[key] = await open_doors(hooks=[{**HOOK, "settings": settings}])
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await opened[key].client.post(
            "/v1/hooks/hook", content=body, headers={"content-type": content_type, **named}
        )
        return response, opened[key]

    return deliver


async def test_chosen_headers_travel_along_and_no_others(send):
    _, doors = await send({"headers": ["X-Event", "x-gone"]}, b"{}", x_event="a", x_other="b")
    assert doors.published[0].headers == {"x-event": "a"}


async def test_too_many_bytes_of_headers_are_refused(send):
    response, doors = await send({"headers": ["x-event"]}, b"{}", x_event="a" * 9_000)
    assert (response.status_code, doors.published) == (400, [])


async def test_the_key_is_made_of_a_template(send):
    settings = {"key": "{body.account}/{header.x-user}"}
    _, doors = await send(settings, b'{"account": 7}', x_user="ann")
    await send(settings, b'{"account": 7}')
    await send(settings, b'{"account": "%s"}' % (b"x" * 400), x_user="ann")
    keys = [publication.key for publication in doors.published]
    assert keys[:2] == ["7/ann", None]
    assert len(keys[2]) == 64


async def test_the_delivery_s_name_is_the_message_s_id_where_that_is_said(send):
    named = {"id": ["{body.id}", "{header.x-id}"], "keep_id": True}
    _, doors = await send(named, b'{"id": "one"}', x_id="two")
    await send(named, b"{}", x_id="two")
    await send(named, b"{}")
    await send(named, b"{}", x_id="x" * 300)
    ids = [publication.id for publication in doors.published]
    assert ids[:2] == ["one", "two"]
    assert all(len(each) < 40 for each in ids[2:])


@pytest.mark.parametrize(
    ("data", "body", "message"),
    [
        ("{body.object}", b'{"object": {"n": 1.0,  "b": 9007199254740993}}',
         b'{"n": 1.0,  "b": 9007199254740993}'),
        ("{body.list.1.a}", b'{"list": [0, {"a": [true]}]}', b"[true]"),
        ("{body.text}", b'{"text": "{\\"a\\": 1}"}', b'"{\\"a\\": 1}"'),
        ("{body.text|json}", b'{"text": "{\\"a\\": 1}"}', b'{"a": 1}'),
        ("{body.text|json}", b'{"text": "no JSON"}', b'"no JSON"'),
        ("{body.text|json}", b'{"text": {"a": 1}}', b'{"a": 1}'),
        ("{body.gone}", b'{"gone": null}', b"null"),
    ],
)  # fmt: skip
async def test_a_part_of_the_body_is_the_message_as_it_came(send, data, body, message):
    response, doors = await send({"data": data}, body, content_type="text/plain")
    assert response.status_code == 202
    assert doors.published[0].data == message
    assert doors.published[0].content_type == "application/json"


@pytest.mark.parametrize("body", [b"{}", b'{"object": ', b"[]", b'"object"', b"\xff", b'{"object": [1, }'])
async def test_a_body_without_that_part_is_refused_and_told(send, body):
    response, doors = await send({"data": "{body.object}"}, body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_frame")
    assert doors.published == []
    assert doors.hooks.journal.records("hook")[0].reason == "bad_frame"


async def test_a_fixed_content_type_counts_whatever_the_sender_says(send):
    _, doors = await send({"content_type": "application/json"}, b'{"kind": "a"}', content_type="text/plain")
    assert (doors.published[0].data, doors.published[0].topic) == (b'{"kind": "a"}', "in/a")


async def test_what_is_ignored_is_answered_and_counted(send):
    settings = {"ignore": [{"header.x-event": "ping"}, {"body.kind": "test", "body.live": False}]}
    response, doors = await send(settings, b"{}", x_event="ping")
    assert (response.status_code, response.content) == (204, b"")
    await send(settings, b'{"kind": "test", "live": false}')
    await send(settings, b'{"kind": "test", "live": true}', x_event="push")
    assert [publication.topic for publication in doors.published] == ["in/test"]
    assert doors.hooks.statistics().ignored == {"hook": 2}
    assert [each.verdict for each in doors.hooks.journal.records("hook")] == [
        "published",
        "ignored",
        "ignored",
    ]


async def test_a_form_becomes_json_where_that_is_said(send):
    _, doors = await send({"form": "json"}, b"kind=a&n=1&n=2", "application/x-www-form-urlencoded")
    assert json.loads(doors.published[0].data) == {"kind": "a", "n": ["1", "2"]}
    assert (doors.published[0].topic, doors.published[0].content_type) == ("in/a", "application/json")


async def test_a_form_s_field_is_the_message_where_that_is_said(send):
    settings = {"form": "json", "form_field": "payload"}
    form = "application/x-www-form-urlencoded"
    _, doors = await send(settings, b"payload=%7B%22kind%22%3A+%22b%22%7D", form)
    assert (doors.published[0].data, doors.published[0].topic) == (b'{"kind": "b"}', "in/b")
    response, doors = await send(settings, b"payload=%7B", form)
    assert response.status_code == 400
    assert doors.hooks.journal.records("hook")[0].reason == "form_body"


async def test_a_configured_answer_takes_the_place_of_the_receipt(send):
    settings = {
        "answer": [{"when": {"body.kind": "a"}, "json": {"ok": True, "kind": "{body.kind}"}}, {"status": 204}]
    }
    response, _ = await send(settings, b'{"kind": "a"}')
    assert (response.status_code, response.json()) == (200, {"ok": True, "kind": "a"})
    response, doors = await send(settings, b'{"kind": "b"}')
    assert (response.status_code, response.content) == (204, b"")
    assert len(doors.published) == 2


async def test_a_gzip_body_is_unpacked_before_it_is_read(send):
    packed = gzip.compress(b'{"kind": "zipped"}')
    _, doors = await send({}, packed, content_encoding="gzip")
    assert (doors.published[0].topic, doors.published[0].data) == ("in/zipped", b'{"kind": "zipped"}')
    for body, coding, status in (
        (packed[:-3], "gzip", 400),
        (packed, "br", 400),
        (packed, "gzip, gzip", 400),
    ):
        response, _ = await send({}, body, content_encoding=coding)
        assert response.status_code == status
    assert len(doors.published) == 1


async def test_a_bomb_is_not_unpacked(open_doors):
    limits = PublishingLimits(MessageLimits(), hook_bytes=10_000)
    doors = await open_doors(hooks=[HOOK], limits=limits)
    packed = gzip.compress(b"0" * 1_000_000)
    response = await doors.client.post("/v1/hooks/hook", content=packed, headers={"content-encoding": "gzip"})
    assert response.status_code == 413
    assert doors.hooks.journal.records("hook")[0].reason == "too_large"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_hook_that_is_asked_nothing_takes_post_alone(open_doors, method):
    doors = await open_doors(hooks=[HOOK])
    response = await doors.client.request(method, "/v1/hooks/hook")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
