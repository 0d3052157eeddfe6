"""What the senders of ``tool_senders.py`` ask and do besides what ``test_presets.py`` tries."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from gateway.http_api.webhooks.delivery import WebhookDelivery
from gateway.http_api.webhooks.hook import Hook
from tests.unit.http_api.webhooks.sender_kit import NOW, SECRET, Request, as_json, b64, mac
from tests.unit.http_api.webhooks.senders import OTHER_SECRET, SENDERS, hook_arguments
from tests.unit.http_api.webhooks.tool_senders import twitch_signed, zendesk_signed


@pytest.fixture
def post(open_doors):
    opened = {}

    async def send(name: str, request: Request):
        if name not in opened:
            opened[name] = await open_doors(hooks=[hook_arguments(name)], now=lambda: float(NOW))
        doors = opened[name]
        url = "/v1/hooks/hook" + (f"?{request.query}" if request.query else "")
        response = await doors.client.request(
            request.method, url, content=request.body, headers=dict(request.headers)
        )
        return response, doors

    return send


async def test_twitch_s_challenge_is_answered_only_if_signed(post):
    question = {"challenge": "pogchamp-kappa-360noscope-vohiyo", "subscription": {"type": "channel.follow"}}
    kind = "webhook_callback_verification"
    response, doors = await post("twitch", twitch_signed(SECRET, NOW, question, kind))
    assert (response.status_code, response.text) == (200, question["challenge"])
    assert response.headers["content-type"].startswith("text/plain")
    forged, _ = await post("twitch", twitch_signed(OTHER_SECRET, NOW, question, kind))
    assert forged.status_code == 401
    assert doors.published == []


async def test_dropbox_s_challenge_gets_its_own_text(post):
    response, doors = await post("dropbox", Request({}, b"", urlencode({"challenge": "<b>abc123"}), "GET"))
    assert (response.status_code, response.text) == (200, "<b>abc123")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["x-content-type-options"] == "nosniff"
    empty, _ = await post("dropbox", Request({}, b"", "", "GET"))
    assert empty.status_code == 401
    assert doors.published == []


async def test_dropbox_tells_the_same_twice_and_means_it(post):
    request = SENDERS["dropbox"].sign(SECRET, NOW)
    await post("dropbox", request)
    _, doors = await post("dropbox", request)
    assert len(doors.published) == 2


async def test_okta_s_challenge_is_echoed(post):
    challenge = Request({"x-okta-verification-challenge": "8T3z"}, b"", "", "GET")
    response, doors = await post("okta", challenge)
    assert (response.status_code, response.json()) == (200, {"verification": "8T3z"})
    assert (await post("okta", Request({}, b"", "", "GET")))[0].status_code == 401
    assert doors.published == []


async def test_intercom_may_ask_whether_the_hook_is_there(post):
    response, doors = await post("intercom", Request({}, b"", "", "HEAD"))
    assert (response.status_code, response.content, doors.published) == (200, b"", [])


async def test_woocommerce_s_ping_is_answered_and_not_published(post):
    form = {"content-type": "application/x-www-form-urlencoded"}
    response, doors = await post("woocommerce", Request(form, b"webhook_id=3"))
    assert (response.status_code, doors.published) == (200, [])
    pretended = Request({**form, "x-wc-webhook-signature": b64(b"1" * 32)}, b"webhook_id=3")
    assert (await post("woocommerce", pretended))[0].status_code == 401


async def test_xero_s_intent_to_receive(post):
    question = {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "S0m3r4Nd0mt3xt"}
    for secret, status in ((SECRET, 200), (OTHER_SECRET, 401)):
        plain = as_json(question)
        headers = {**plain.headers, "x-xero-signature": b64(mac(secret, plain.body))}
        response, doors = await post("xero", Request(headers, plain.body))
        assert response.status_code == status
    assert doors.published == []


async def test_xero_s_first_event_is_no_question(post):
    value = {"events": [{"tenantId": "T", "eventType": "UPDATE"}], "firstEventSequence": 0}
    plain = as_json(value | {"lastEventSequence": 0})
    headers = {**plain.headers, "x-xero-signature": b64(mac(SECRET, plain.body))}
    _, doors = await post("xero", Request(headers, plain.body))
    assert len(doors.published) == 1


@pytest.mark.parametrize("moment", [str(NOW), "2023-11-14T22:13:20Z"])
async def test_zendesk_s_time_is_written_either_way(post, moment):
    assert (await post("zendesk", zendesk_signed(SECRET, moment)))[0].is_success
    assert (await post("zendesk", zendesk_signed(OTHER_SECRET, moment)))[0].status_code == 401


async def test_a_docusign_delivery_that_is_tried_again_is_a_repeat(post):
    first = SENDERS["docusign"].sign(SECRET, NOW)
    await post("docusign", first)
    body = json.dumps(json.loads(first.body) | {"retryCount": 1}).encode()
    again = Request({**first.headers, "x-docusign-signature-1": b64(mac(SECRET, body))}, body)
    response, doors = await post("docusign", again)
    assert response.status_code == 200
    assert len(doors.published) == 1


async def test_datadog_s_token_is_a_bearer(post):
    request = SENDERS["datadog"].sign(SECRET, NOW)
    bare = Request({**request.headers, "authorization": SECRET}, request.body)
    response, doors = await post("datadog", bare)
    assert (response.status_code, doors.published) == (401, [])


@pytest.mark.parametrize(
    ("body", "secret", "signature"),
    [
        (b"hello world", "secret", "734cc62f32841568f45715aeb9f4d7891324e6d948e4c6c60c0621cdac48623a"),
        (b"lalala", "another-secret", "daa220016c8f29a8b214fbfc3671aeec2145cfb1e6790184ffb38b6d0425fa00"),
    ],
)
def test_circleci_s_own_samples(body, secret, signature):
    """Those of its documentation."""
    hook = Hook.build("h", "circleci", secrets=[secret])
    assert hook.verify(WebhookDelivery({"circleci-signature": f"v1={signature},v2=0"}, body), now=NOW)
    assert not hook.verify(WebhookDelivery({"circleci-signature": f"v2={signature}"}, body), now=NOW)


def test_github_s_own_sample():
    """That of its documentation."""
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    hook = Hook.build("h", "github", secrets=["It's a Secret to Everybody"])
    headers = {"x-hub-signature-256": f"sha256={digest}"}
    assert hook.verify(WebhookDelivery(headers, b"Hello, World!"), now=NOW)


@pytest.mark.parametrize("scheme", ["bitbucket", "jira"])
def test_atlassian_s_own_sample(scheme):
    """That of Bitbucket's documentation and Jira's."""
    digest = "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    hook = Hook.build("h", scheme, secrets=["It's a Secret to Everybody"])
    assert hook.verify(WebhookDelivery({"x-hub-signature": f"sha256={digest}"}, b"Hello World!"), now=NOW)


@pytest.mark.parametrize("place", ["first", "second"])
def test_pagerduty_signs_with_both_secrets_while_one_is_rotated(place):
    body = b'{"event": {}}'
    signatures = [mac(secret, body).hex() for secret in ("old", "new")]
    header = ",".join(f"v1={digest}" for digest in signatures)
    secret = {"first": "old", "second": "new"}[place]
    delivery = WebhookDelivery({"x-pagerduty-signature": header}, body)
    assert Hook.build("h", "pagerduty", secrets=[secret]).verify(delivery, now=NOW)
    assert not Hook.build("h", "pagerduty", secrets=["other"]).verify(delivery, now=NOW)
