"""Webhook deliveries: verified, published once, answered as before."""

import hashlib
import hmac

import anyio
import orjson
import pytest

from gateway.errors import BusUnavailable
from gateway.http_api.webhooks.endpoint import Hook

SECRET = "s3cret"
NOW = 1_700_000_000
GITHUB = {
    "name": "github",
    "scheme": "github",
    "secrets": [SECRET],
    "topic": "github/{body.repository.full_name}/{header.x-github-event}",
}
BODY = b'{"repository": {"full_name": "acme/shop"}, "n": 1.0}'


def github_headers(body: bytes, *, delivery="d1", secret=SECRET, event="push"):
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


async def deliver(doors, body=BODY, **how):
    return await doors.client.post("/v1/hooks/github", content=body, headers=github_headers(body, **how))


async def test_a_signed_delivery_is_published_as_sent(open_doors):
    doors = await open_doors(hooks=[GITHUB])
    response = await deliver(doors)
    [publication] = doors.published
    assert response.status_code == 202
    assert response.json() == {"id": publication.id}
    assert publication.topic == "github/acme/shop/push"
    assert publication.data == BODY
    assert publication.content_type == "application/json"


async def test_wrong_and_missing_signatures_get_the_same_answer(open_doors):
    doors = await open_doors(hooks=[GITHUB])
    wrong = await deliver(doors, secret="wrong")
    missing = await doors.client.post("/v1/hooks/github", content=BODY)
    assert wrong.status_code == missing.status_code == 401
    assert wrong.json() == missing.json()
    assert wrong.json()["code"] == "unauthenticated"
    assert doors.published == []
    assert doors.hooks.statistics().unverified == {"github": 2}


@pytest.mark.parametrize("name", ["ann@example.org" * 40, "ann@example.org" + "/" * 40])
async def test_a_topic_that_can_not_be_is_told_to_the_operator_without_what_the_body_says(
    open_doors, caplog, name
):
    doors = await open_doors(hooks=[GITHUB])
    response = await deliver(doors, orjson.dumps({"repository": {"full_name": name}}))
    assert response.status_code == 400
    [record] = doors.hooks.journal.records("github")
    assert record.reason == "bad_topic"
    assert record.detail.startswith("its topic must not ")
    assert "bad_topic" in caplog.text
    assert "ann" not in record.detail + caplog.text


async def test_an_unknown_hook_is_not_found(open_doors):
    doors = await open_doors(hooks=[GITHUB])
    response = await doors.client.post("/v1/hooks/gitlab", content=BODY)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_repeat_is_answered_as_before_and_not_published(open_doors):
    doors = await open_doors(hooks=[GITHUB])
    first = await deliver(doors)
    again = await deliver(doors)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(doors.published) == 1
    assert doors.hooks.statistics().repeated == {"github": 1}


async def test_the_same_id_with_another_body_and_another_id_are_other_deliveries(open_doors):
    doors = await open_doors(hooks=[GITHUB])
    await deliver(doors)
    await deliver(doors, b"{}")
    await deliver(doors, delivery="d2")
    assert [p.topic for p in doors.published] == [
        "github/acme/shop/push",
        "github/-/push",
        "github/acme/shop/push",
    ]


async def test_without_an_id_equal_bodies_are_two_deliveries(open_doors):
    doors = await open_doors(
        hooks=[{**GITHUB, "scheme": "hmac", "header": "x-hub-signature-256", "prefix": "sha256="}]
    )
    await deliver(doors)
    await deliver(doors)
    assert len(doors.published) == 2


async def test_the_same_delivery_to_two_hooks_is_two_on_every_node(open_doors):
    remembered = {}

    class Shared:
        async def reserve(self, key, seconds):
            return remembered.get(key)

        async def remember(self, key, text, seconds):
            remembered[key] = text

    hooks = [
        {"name": name, "scheme": "none", "topic": f"{name}/got", "id_header": "x-delivery"} for name in "ab"
    ]
    doors = await open_doors(hooks=hooks, shared=Shared())
    for name in "aabb":
        await doors.client.post(f"/v1/hooks/{name}", content=b"{}", headers={"x-delivery": "d1"})
    assert [publication.topic for publication in doors.published] == ["a/got", "b/got"]


async def test_the_memory_of_repeats_is_bounded_per_hook(open_doors):
    doors = await open_doors(hooks=[GITHUB], repeat_entries=2)
    for name in ("d1", "d2", "d3", "d3", "d1"):
        await deliver(doors, delivery=name)
    assert len(doors.published) == 4  # d1 had been forgotten


async def test_two_deliveries_at_once_publish_once(open_doors, remote_bus):
    bus = remote_bus()
    doors = await open_doors(hooks=[GITHUB], bus=bus)
    answers = []
    async with anyio.create_task_group() as tasks:

        async def one():
            response = await deliver(doors)
            answers.append((response.status_code, response.json()))

        tasks.start_soon(one)
        tasks.start_soon(one)
        while not (bus.waiting and doors.hooks.statistics().repeated):
            await anyio.lowlevel.checkpoint()
        bus.settle()
    assert len(bus.published) == 1
    assert answers == [(202, {"id": bus.published[0].id})] * 2


async def test_a_failed_delivery_may_be_repeated(open_doors, remote_bus):
    bus = remote_bus()
    doors = await open_doors(hooks=[GITHUB], bus=bus)
    for error, status in ((BusUnavailable("away"), 503), (None, 202)):
        async with anyio.create_task_group() as tasks:

            async def one(status=status):
                assert (await deliver(doors)).status_code == status

            tasks.start_soon(one)
            while not bus.waiting:
                await anyio.lowlevel.checkpoint()
            bus.settle(error)
    assert len(bus.published) == 2


@pytest.mark.parametrize(
    ("body", "content_type", "template", "status", "code"),
    [
        (b'{"a": "$SYS"}', "application/json", "{body.a}", 400, "bad_topic"),
        (b'{"a": "%s"}' % (b"x" * 600), "application/json", "t/{body.a}", 400, "bad_topic"),
        (b'{"a": "' + b"x/" * 40 + b'"}', "application/json", "t/{body.a}", 400, "bad_topic"),
        (b'{"a": "\\ud800"}', "text/plain", "t/{body.a}", 400, "bad_topic"),
        (b"{", "application/json", "t", 400, "bad_frame"),
        (b"x" * 70_000, "application/octet-stream", "t", 413, "too_large"),
        (b"x" * 1_100_000, "application/octet-stream", "t", 413, "too_large"),
    ],
)
async def test_what_cannot_be_published_is_refused(open_doors, body, content_type, template, status, code):
    doors = await open_doors(hooks=[{**GITHUB, "topic": template}])
    headers = github_headers(body) | {"content-type": content_type}
    response = await doors.client.post("/v1/hooks/github", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


async def test_a_form_is_published_as_bytes(open_doors):
    doors = await open_doors(hooks=[GITHUB])
    body = b"payload=%7B%7D"
    headers = github_headers(body) | {"content-type": "application/x-www-form-urlencoded"}
    assert (await doors.client.post("/v1/hooks/github", content=body, headers=headers)).status_code == 202
    assert (doors.published[0].binary, doors.published[0].topic) == (body, "github/-/push")


def slack_headers(body: bytes, *, at=NOW, secret=SECRET):
    signed = b"v0:%d:" % at + body
    signature = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-slack-request-timestamp": str(at),
        "x-slack-signature": signature,
    }


async def test_slack_s_challenge_is_answered_only_if_signed(open_doors):
    hook = {"name": "slack", "scheme": "slack", "secrets": [SECRET], "topic": "slack/{body.event.type}"}
    doors = await open_doors(hooks=[hook])
    body = orjson.dumps({"type": "url_verification", "challenge": "c7"})
    right = await doors.client.post("/v1/hooks/slack", content=body, headers=slack_headers(body))
    assert (right.status_code, right.json()) == (200, {"challenge": "c7"})
    wrong = await doors.client.post("/v1/hooks/slack", content=body, headers=slack_headers(body, secret="x"))
    assert wrong.status_code == 401
    assert doors.published == []


async def test_a_lone_surrogate_is_the_sender_s_fault(open_doors):
    """Half a pair is no text: it can't be a delivery's name, nor be echoed."""
    stripe = {"name": "stripe", "scheme": "stripe", "secrets": [SECRET], "topic": "stripe/{body.type}"}
    slack = {"name": "slack", "scheme": "slack", "secrets": [SECRET], "topic": "slack/{body.type}"}
    doors = await open_doors(hooks=[stripe, slack])

    def stripe_headers(body: bytes) -> dict[str, str]:
        signature = hmac.new(SECRET.encode(), b"%d." % NOW + body, hashlib.sha256).hexdigest()
        return {"stripe-signature": f"t={NOW},v1={signature}"}

    bodies = [
        ("stripe", b'{"id": "evt_\\ud800", "type": "a"}', stripe_headers),
        ("stripe", b'{"id": "evt", "type": "\\udfff"}', stripe_headers),
        ("slack", b'{"type": "url_verification", "challenge": "\\uDC00"}', slack_headers),
        ("slack", b'{"type": "\\ud83d", "event_id": "1"}', slack_headers),
        ("slack", b'{"type": "a", "event_id": "\\ud83d"}', slack_headers),
    ]
    for name, body, headers in bodies:
        for media_type in ("application/json", "text/plain", "application/octet-stream"):
            fields = headers(body) | {"content-type": media_type}
            answer = await doors.client.post(f"/v1/hooks/{name}", content=body, headers=fields)
            assert answer.status_code == 400, (body, media_type, answer.text)
    assert doors.published == []
    whole = b'{"id": "evt_\\ud83d\\ude00", "type": "a"}'
    assert (
        await doors.client.post("/v1/hooks/stripe", content=whole, headers=stripe_headers(whole))
    ).is_success


async def test_an_old_replay_is_refused_and_a_retry_with_a_new_time_is_a_repeat(open_doors):
    hook = {"name": "slack", "scheme": "slack", "secrets": [SECRET], "topic": "slack/{body.event.type}"}
    clock = [NOW]
    doors = await open_doors(hooks=[hook], now=lambda: clock[0])
    body = orjson.dumps({"event_id": "Ev1", "event": {"type": "message"}})
    sent = slack_headers(body)
    first = await doors.client.post("/v1/hooks/slack", content=body, headers=sent)
    clock[0] = NOW + 400
    replay = await doors.client.post("/v1/hooks/slack", content=body, headers=sent)
    retry = await doors.client.post(
        "/v1/hooks/slack", content=body, headers=slack_headers(body, at=NOW + 400)
    )
    assert replay.status_code == 401
    assert retry.json() == first.json()
    assert [p.topic for p in doors.published] == ["slack/message"]


async def test_none_takes_any_delivery(open_doors):
    hook = {"name": "open", "scheme": "none", "topic": "open/{header.x-kind|level}", "id_header": "X-Id"}
    doors = await open_doors(hooks=[hook])
    for _ in range(2):
        response = await doors.client.post(
            "/v1/hooks/open", content=b"x", headers={"x-kind": "a/b", "x-id": "1"}
        )
        assert response.status_code == 202
    assert [p.topic for p in doors.published] == ["open/a%2Fb"]


@pytest.mark.parametrize("broken", [{"name": "a/b"}, {"name": ""}, {"topic": "a/+"}, {"secrets": []}])
def test_a_broken_hook_is_named(broken):
    with pytest.raises(ValueError, match=r"^hook '"):
        Hook.build(**{**GITHUB, **broken})
