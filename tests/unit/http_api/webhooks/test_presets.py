"""Every preset: a sample that is signed right, one that is not, one too old, and the sender's questions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, date, datetime
from urllib.parse import parse_qsl, urlencode

import pytest
from standardwebhooks import Webhook

from gateway.http_api.webhooks.delivery import WebhookDelivery
from gateway.http_api.webhooks.hook import Hook
from gateway.http_api.webhooks.presets import preset_names, read_preset
from tests.unit.http_api.webhooks.senders import (
    CERTIFICATE_URL,
    ED25519,
    NOW,
    OTHER_SECRET,
    PUBLIC_URL,
    SECRET,
    SENDERS,
    TOPIC_ARN,
    VERIFY_TOKEN,
    Request,
    as_json,
    b64,
    discord_signed,
    hook_arguments,
    mac,
    public_keys,
    sns_certificate,
    sns_signed,
    zoom_signed,
)


class Certificates:
    """Stands in for the sender's servers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.certificate_: bytes | None = sns_certificate()
        self.confirms = True

    async def certificate(self, url: str) -> bytes | None:
        self.asked.append(url)
        return self.certificate_

    async def confirm(self, url: str) -> bool:
        self.asked.append(url)
        return self.confirms


@pytest.fixture
def certificates():
    return Certificates()


@pytest.fixture
def post(open_doors, certificates):
    opened = {}

    async def send(name: str, request: Request):
        if name not in opened:
            opened[name] = await open_doors(
                hooks=[hook_arguments(name)], now=lambda: float(NOW), fetcher=certificates
            )
        doors = opened[name]
        url = "/v1/hooks/hook" + (f"?{request.query}" if request.query else "")
        headers = dict(request.headers)
        response = await doors.client.request(request.method, url, content=request.body, headers=headers)
        return response, doors

    return send


def test_every_preset_is_tried_here():
    assert set(SENDERS) == set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_names_its_page_and_when_it_was_read(name):
    preset = read_preset(name)
    assert preset.page.startswith("https://")
    # What could not be read there is from somewhere that is named.
    assert isinstance(preset.read, date) or preset.instead
    assert not preset.instead or preset.instead.startswith("https://")
    assert preset.title
    assert set(preset.needs) <= {"secret", "public_key", "verify_token", "require", "public_url"}
    assert preset.settings["topic"]


@pytest.mark.parametrize("name", SENDERS)
async def test_what_is_signed_right_is_published(post, name):
    response, doors = await post(name, SENDERS[name].sign(SECRET, NOW))
    assert response.is_success, response.text
    assert [publication.topic for publication in doors.published] == [SENDERS[name].topic]
    [record] = doors.hooks.journal.records("hook")
    assert (record.verdict, record.topic) == ("published", SENDERS[name].topic)


@pytest.mark.parametrize("name", SENDERS)
async def test_what_another_key_signed_is_refused(post, name):
    response, doors = await post(name, SENDERS[name].sign(OTHER_SECRET, NOW))
    assert response.status_code == 401
    assert doors.published == []
    [record] = doors.hooks.journal.records("hook")
    assert record.reason in {"wrong_signature", "wrong_token"}, record
    assert doors.hooks.statistics().refused == {("hook", record.reason): 1}


@pytest.mark.parametrize("name", SENDERS)
async def test_what_is_not_signed_is_refused(post, name):
    signed = SENDERS[name].sign(SECRET, NOW)
    body = b"{}" if name in {"mailgun", "microsoft_graph", "aws_sns"} else signed.body
    response, doors = await post(name, Request({"content-type": signed.headers["content-type"]}, body))
    assert response.status_code == 401
    assert doors.published == []
    [record] = doors.hooks.journal.records("hook")
    assert record.reason in {"header_missing", "value_missing", "signature_form"}, record


@pytest.mark.parametrize("name", [name for name, sender in SENDERS.items() if sender.timed])
@pytest.mark.parametrize(("seconds", "reason"), [(-86_400, "too_old"), (86_400, "too_new")])
async def test_what_is_too_old_or_too_new_is_refused(post, name, seconds, reason):
    response, doors = await post(name, SENDERS[name].sign(SECRET, NOW + seconds))
    assert response.status_code == 401
    [record] = doors.hooks.journal.records("hook")
    assert record.reason == reason
    assert "86400 s" in record.detail


# Microsoft's notifications have no name, and neither have Dropbox'.
@pytest.mark.parametrize("name", [name for name in SENDERS if name not in {"microsoft_graph", "dropbox"}])
async def test_a_repeat_is_published_once(post, name):
    request = SENDERS[name].sign(SECRET, NOW)
    if name == "github":
        request = Request({**request.headers, "x-github-delivery": "1"}, request.body)
    if name == "shopify":
        request = Request({**request.headers, "x-shopify-webhook-id": "1"}, request.body)
    first, _ = await post(name, request)
    again, doors = await post(name, request)
    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert len(doors.published) == 1


async def test_a_signature_that_is_the_name_is_one_name_however_it_is_written(post):
    request = SENDERS["meta"].sign(SECRET, NOW)
    digest = request.headers["x-hub-signature-256"].removeprefix("sha256=")
    for written in (digest, digest.upper(), digest[:32] + digest[32:].upper()):
        headers = {**request.headers, "x-hub-signature-256": f"sha256={written}"}
        response, doors = await post("meta", Request(headers, request.body))
        assert response.is_success
    assert len(doors.published) == 1


async def test_slack_s_commands_become_json_and_get_an_empty_200(post):
    fields = {"command": "/deploy", "text": "now", "user_id": "U1"}
    body = urlencode(fields).encode()
    digest = mac(SECRET, b"v0:%d:" % NOW + body).hex()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": str(NOW),
        "x-slack-signature": f"v0={digest}",
    }
    response, doors = await post("slack", Request(headers, body))
    assert (response.status_code, response.content) == (200, b"")
    [publication] = doors.published
    assert json.loads(publication.data) == fields
    assert publication.content_type == "application/json"


async def test_slack_s_interactions_are_the_json_in_their_form(post):
    inner = {"type": "block_actions", "event": {"type": "button"}}
    body = urlencode({"payload": json.dumps(inner)}).encode()
    digest = mac(SECRET, b"v0:%d:" % NOW + body).hex()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": str(NOW),
        "x-slack-signature": f"v0={digest}",
    }
    _, doors = await post("slack", Request(headers, body))
    assert [json.loads(each.data) for each in doors.published] == [inner]
    assert doors.published[0].topic == "slack/button"


async def test_zoom_s_validation_is_answered_only_if_signed(post):
    question = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    response, doors = await post("zoom", zoom_signed(SECRET, NOW, question))
    digest = hmac.new(SECRET.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert response.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": digest}
    forged, _ = await post("zoom", zoom_signed(OTHER_SECRET, NOW, question))
    assert forged.status_code == 401
    assert doors.published == []


async def test_discord_s_ping_is_answered_with_a_pong(post):
    response, doors = await post("discord", discord_signed(SECRET, NOW, {"type": 1}))
    assert (response.status_code, response.json()) == (200, {"type": 1})
    assert response.headers["content-type"] == "application/json"
    forged, _ = await post("discord", discord_signed(OTHER_SECRET, NOW, {"type": 1}))
    assert forged.status_code == 401
    assert doors.published == []


@pytest.mark.parametrize(("kind", "answer"), [(2, 5), (3, 6), (5, 6)])
async def test_discord_s_interactions_are_answered_later(post, kind, answer):
    response, _ = await post("discord", discord_signed(SECRET, NOW, {"type": kind, "id": "1"}))
    assert response.json() == {"type": answer}


async def test_discord_s_events_are_answered_without_a_body(post):
    ping, doors = await post("discord_events", discord_signed(SECRET, NOW, {"type": 0}))
    assert (ping.status_code, ping.content) == (204, b"")
    assert doors.published == []
    event, doors = await post("discord_events", discord_signed(SECRET, NOW, {"type": 1}))
    assert (event.status_code, len(doors.published)) == (204, 1)


@pytest.mark.parametrize("token", [VERIFY_TOKEN, "another", ""])
async def test_meta_s_subscription_is_answered_to_who_knows_the_token(post, token):
    query = urlencode({"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "1158201444"})
    response, _ = await post("meta", Request({}, b"", query, "GET"))
    if token == VERIFY_TOKEN:
        assert (response.status_code, response.text) == (200, "1158201444")
        assert response.headers["content-type"].startswith("text/plain")
    else:
        assert response.status_code == 401


async def test_microsoft_s_validation_gets_its_own_token_as_text(post):
    query = urlencode({"validationToken": "Validation: <b>Testing</b> client application"})
    response, doors = await post("microsoft_graph", Request({"content-type": "text/plain"}, b"", query))
    assert (response.status_code, response.text) == (200, "Validation: <b>Testing</b> client application")
    assert response.headers["content-type"].startswith("text/plain")
    assert doors.published == []


async def test_each_of_microsoft_s_notifications_has_to_know_the_state(post):
    value = [{"clientState": SECRET}, {"clientState": OTHER_SECRET}]
    response, doors = await post("microsoft_graph", as_json({"value": value}))
    assert response.status_code == 401
    response, _ = await post("microsoft_graph", as_json({"value": [{"clientState": SECRET}, {}]}))
    assert response.status_code == 401
    response, _ = await post("microsoft_graph", as_json({"value": []}))
    assert response.status_code == 401
    assert doors.published == []


async def test_twilio_s_json_is_verified_by_its_digest(post):
    body = b'{"a": 1}'
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = b64(mac(SECRET, f"{PUBLIC_URL}?{query}".encode(), "sha1"))
    headers = {"content-type": "application/json", "x-twilio-signature": signature}
    response, doors = await post("twilio", Request(headers, body, query))
    assert (response.status_code, response.text) == (200, "<Response/>")
    changed, _ = await post("twilio", Request(headers, b'{"a": 2}', query))
    assert changed.status_code == 401
    assert doors.hooks.journal.records("hook")[0].reason == "wrong_digest"
    assert len(doors.published) == 1


@pytest.mark.parametrize("version", ["1", "2"])
async def test_an_sns_subscription_is_confirmed_once_it_is_verified(post, certificates, version):
    url = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC_ARN}&Token=2336"
    question = {
        "Type": "SubscriptionConfirmation",
        "Message": "You have chosen to subscribe",
        "MessageId": "m",
        "SubscribeURL": url,
        "Token": "2336",
    }
    forged, doors = await post("aws_sns", sns_signed(OTHER_SECRET, NOW, question, version))
    assert forged.status_code == 401
    assert certificates.asked == [CERTIFICATE_URL]
    response, _ = await post("aws_sns", sns_signed(SECRET, NOW, question, version))
    assert (response.status_code, doors.published) == (200, [])
    assert certificates.asked[1:] == [CERTIFICATE_URL, url]
    certificates.confirms = False
    failed, _ = await post("aws_sns", sns_signed(SECRET, NOW, question, version))
    assert failed.status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.test/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://evil.test/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://a@sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:444/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://s3.eu-west-1.amazonaws.com/bucket/x.pem"},
        # Old names of a bucket "sns", whoever has it.
        {"SigningCertURL": "https://sns.s3.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-1.pem"},
        {"Timestamp": "2001-01-01T00:00:00Z"},
        {"Signature": None},
    ],
)
async def test_nothing_is_fetched_for_what_can_t_be_aws(post, certificates, change):
    signed = json.loads(SENDERS["aws_sns"].sign(SECRET, NOW).body) | change
    response, _ = await post("aws_sns", as_json(signed))
    assert (response.status_code, certificates.asked) == (401, [])


async def test_another_s_sns_topic_is_refused_though_aws_signed_it(open_doors, certificates):
    arguments = hook_arguments("aws_sns") | {
        "settings": {"require": [{"body.TopicArn": "arn:aws:sns:x:1:y"}]}
    }
    doors = await open_doors(hooks=[arguments], now=lambda: float(NOW), fetcher=certificates)
    signed = SENDERS["aws_sns"].sign(SECRET, NOW)
    response = await doors.client.post("/v1/hooks/hook", content=signed.body, headers=dict(signed.headers))
    assert response.status_code == 401
    assert doors.hooks.journal.records("hook")[0].reason == "requirement"


async def test_event_grid_s_validation_needs_the_code_of_the_url(post):
    value = [{"id": "1", "eventType": "V", "data": {"validationCode": "512d38b6"}}]
    plain = as_json(value, aeg_event_type="SubscriptionValidation")
    query = urlencode({"code": SECRET})
    response, doors = await post("azure_event_grid", Request(plain.headers, plain.body, query))
    assert response.json() == {"validationResponse": "512d38b6"}
    refused, _ = await post("azure_event_grid", Request(plain.headers, plain.body))
    assert refused.status_code == 401
    assert doors.published == []


async def test_event_grid_s_handshake_of_cloudevents(post):
    query = urlencode({"code": SECRET})
    headers = {"webhook-request-origin": "eventgrid.azure.net"}
    response, _ = await post("azure_event_grid", Request(headers, b"", query, "OPTIONS"))
    assert response.status_code == 200
    assert response.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    other = {"webhook-request-origin": "evil.test"}
    refused, _ = await post("azure_event_grid", Request(other, b"", query, "OPTIONS"))
    assert refused.status_code == 401
    assert "webhook-allowed-origin" not in refused.headers


async def test_a_token_of_mailgun_counts_once_whatever_comes_with_it(post):
    request = SENDERS["mailgun"].sign(SECRET, NOW)
    await post("mailgun", request)
    other = json.loads(request.body) | {"event-data": {"event": "forged"}}
    response, doors = await post("mailgun", as_json(other))
    assert response.is_success
    assert [each.topic for each in doors.published] == ["mailgun/opened"]


async def test_standard_webhooks_may_be_signed_by_a_key_pair(open_doors):
    raw = bytes.fromhex(public_keys("standard")[0])
    hook = {"name": "hook", "scheme": "standard", "public_keys": ["whpk_" + base64.b64encode(raw).decode()]}
    doors = await open_doors(hooks=[hook], now=lambda: float(NOW))
    body = b'{"type": "a"}'
    signature = b64(ED25519.sign(b"m1.%d." % NOW + body))
    headers = {
        "webhook-id": "m1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": f"v1a,{signature}",
        "content-type": "application/json",
    }
    assert (await doors.client.post("/v1/hooks/hook", content=body, headers=headers)).status_code == 202
    headers["webhook-signature"] = f"v1,{signature}"
    assert (await doors.client.post("/v1/hooks/hook", content=body, headers=headers)).status_code == 401


def test_sendgrid_s_own_sample():
    """That of its library for Node.js."""
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMM"
        "sTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFceEu/1FwCM/QmGUhA=="
    )
    body = b'{"category":"example_payload","event":"test_event","message_id":"message_id"}'
    signature = (
        "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH2j/0="
    )
    headers = {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": "1588788367",
    }
    hook = Hook.build("h", "sendgrid", public_keys=[key])
    assert hook.verify(WebhookDelivery(headers, body), now=1588788367)
    assert not hook.verify(WebhookDelivery(headers, body + b" "), now=1588788367)


def test_twilio_s_own_sample():
    """That of its libraries."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    sent = WebhookDelivery(
        {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="},
        urlencode(fields).encode(),
        url="https://mycompany.com/myapp.php?foo=1&bar=2",
        query="foo=1&bar=2",
    )
    assert Hook.build("h", "twilio", secrets=["12345"]).verify(sent, now=NOW)
    assert not Hook.build("h", "twilio", secrets=["12346"]).verify(sent, now=NOW)


async def test_twilio_s_shared_keys_sign_by_sha256(post):
    request = SENDERS["twilio"].sign(SECRET, NOW)
    fields = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    signed = PUBLIC_URL + "".join(name + fields[name] for name in sorted(fields))
    headers = {
        **request.headers,
        "x-twilio-webhooks-signature-settings": "key=SK1,algorithm=HMAC_SHA256",
        "x-twilio-signature": b64(mac(SECRET, signed.encode())),
    }
    response, _ = await post("twilio", Request(headers, request.body))
    assert response.status_code == 200
    response, _ = await post("twilio", Request({**headers, **request.headers}, request.body))
    assert response.status_code == 401


async def test_mailgun_s_subaccounts_are_signed_for_by_the_account(post):
    value = json.loads(SENDERS["mailgun"].sign(SECRET, NOW).body)
    value["signature"] |= {"parent-signature": value["signature"]["signature"], "signature": "0" * 64}
    response, _ = await post("mailgun", as_json(value))
    assert response.status_code == 200


@pytest.mark.parametrize("encoding", ["standard", "svix"])
def test_standard_webhooks_own_package_signs_what_is_verified(encoding):
    at = datetime.fromtimestamp(NOW, UTC)
    names = {"standard": "webhook", "svix": "svix"}
    headers = {
        f"{names[encoding]}-id": "msg_1",
        f"{names[encoding]}-timestamp": str(NOW),
        f"{names[encoding]}-signature": Webhook(SECRET).sign("msg_1", at, "{}"),
    }
    hook = Hook.build("h", encoding, secrets=[SECRET])
    assert hook.verify(WebhookDelivery(headers, b"{}"), now=NOW)


@pytest.mark.parametrize(
    ("scheme", "arguments", "reason"),
    [
        ("nobody", {}, "unknown scheme 'nobody'"),
        ("shopify", {}, "scheme 'shopify' needs a secret"),
        ("discord", {}, "scheme 'discord' needs public_key"),
        ("discord", {"public_keys": ["zz"]}, "a public key of ed25519 is"),
        ("meta", {"secrets": ["s"]}, "scheme 'meta' needs verify_token"),
        ("aws_sns", {}, "scheme 'aws_sns' needs require"),
        ("custom", {}, "scheme 'custom' needs a secret"),
        ("none", {"settings": {"token": {"value": "header.a"}}}, "scheme 'none'"),
        ("custom", {"secrets": ["s"], "settings": {"tokn": {}}}, "unknown field `tokn`"),
        (
            "custom",
            {"secrets": ["s"], "settings": {"signed": {"signature": "head.x"}}},
            "'head.x' is none of",
        ),
        ("github", {"secrets": ["s"], "settings": {"signed": {"algorithm": "md5"}}}, "signed.algorithm"),
        ("github", {"secrets": ["s"], "settings": {"signed": {"content": "{bdy}"}}}, "'bdy' is none of"),
        ("github", {"secrets": ["s"], "settings": {"data": "x{body.a}"}}, "is one placeholder"),
        ("github", {"secrets": ["s"], "settings": {"answer": {"status": 302}}}, "answer.status 302"),
        (
            "github",
            {"secrets": ["s"], "settings": {"answer": {"text": "{body.a}", "content_type": "text/html"}}},
            "is text/plain",
        ),
    ],
)
def test_a_hook_that_can_t_work_is_refused_with_the_reason(scheme, arguments, reason):
    with pytest.raises(ValueError, match=r"^hook 'h': ") as caught:
        Hook.build("h", scheme, topic="t", **arguments)
    assert reason in str(caught.value)


def test_what_a_hook_says_counts_more_than_its_preset():
    hook = Hook.build("h", "github", topic="t", secrets=["s"], settings={"signed": {"prefix": "sha512="}})
    assert hook.declaration.signed.prefix == "sha512="
    assert hook.declaration.signed.signature == "header.x-hub-signature-256"
