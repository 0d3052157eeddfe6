from __future__ import annotations

import json

import pytest

from gateway.http_api.webhooks.delivery import WebhookDelivery
from gateway.http_api.webhooks.hook import Hook
from gateway.http_api.webhooks.sample import NoSample, SampleDelivery, sample_delivery
from tests.unit.http_api.webhooks.sender_kit import NOW, PUBLIC_URL, SECRET
from tests.unit.http_api.webhooks.senders import SENDERS, hook_arguments

URL = "http://127.0.0.1:8080/v1/hooks/hook"
PAIRS = {"discord", "discord_events", "sendgrid", "aws_sns"}


def received(hook: Hook, sample: SampleDelivery) -> WebhookDelivery:
    """As the endpoint reads it."""
    base = hook.declaration.public_url or URL
    return WebhookDelivery(
        sample.headers,
        sample.body,
        url=f"{base}?{sample.query}" if sample.query else base,
        query=sample.query,
        reads_forms=hook.declaration.form == "json",
        form_field=hook.declaration.form_field,
    )


def made(hook: Hook, **more) -> SampleDelivery:
    return sample_delivery(hook, url=URL, now=NOW, name="d-1", **more)


@pytest.mark.parametrize("name", [name for name in SENDERS if name not in PAIRS])
def test_a_hook_takes_its_sample_for_a_delivery(name):
    hook = Hook.build(**hook_arguments(name))
    sample = made(hook)
    delivery = received(hook, sample)
    assert hook.verify(delivery, now=NOW)
    assert hook.challenge(delivery, verified=False) is None
    assert hook.challenge(delivery, verified=True) is None
    assert not hook.ignores(delivery)
    assert sample.topic == hook.topic(delivery)
    assert "-" not in sample.topic.split("/"), "a place of the topic was left empty"
    assert sample.name == hook.delivery_id(delivery)
    other = Hook.build(**(hook_arguments(name) | {"secrets": ["AAAA"]}))
    assert not other.verify(delivery, now=NOW)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_what_a_key_pair_signs_only_its_sender_can_make(name):
    with pytest.raises(NoSample, match="private key"):
        made(Hook.build(**hook_arguments(name)))


def test_a_body_that_was_given_goes_out_to_the_byte():
    body = b'{ "repository": {"full_name": "acme/shop"}, "n": 1.50 }'
    hook = Hook.build(**hook_arguments("github"))
    sample = made(hook, body=body, headers={"X-GitHub-Event": "push", "X-GitHub-Delivery": "7"})
    assert (sample.body, sample.topic, sample.name) == (body, "github/acme/shop/push", "7")
    assert hook.verify(received(hook, sample), now=NOW)


def test_what_vouches_inside_a_body_is_put_into_the_one_that_was_given():
    hook = Hook.build(**hook_arguments("mailgun"))
    sample = made(hook, body=b'{"event-data": {"event": "opened"}, "signature": {"token": "t"}}')
    assert sample.topic == "mailgun/opened"
    assert hook.verify(received(hook, sample), now=NOW)


def test_each_notification_of_a_body_is_given_its_token():
    hook = Hook.build(**hook_arguments("microsoft_graph"))
    sample = made(hook, body=b'{"value": [{"subscriptionId": "S"}, {"subscriptionId": "T"}]}')
    assert [each["clientState"] for each in json.loads(sample.body)["value"]] == [SECRET, SECRET]


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("mailgun", b"no JSON", "has to be JSON"),
        ("mailgun", b"{}", "body.signature.token is signed, and missing"),
        ("twilio", b"[]", "object of texts"),
    ],
)
def test_a_body_of_which_no_delivery_can_be_made_is_refused(name, body, reason):
    with pytest.raises(NoSample, match=reason):
        made(Hook.build(**hook_arguments(name)), body=body)


def test_a_custom_hook_s_conditions_are_met():
    signed = {
        "signature": "header.x-sig",
        "when": {"header.x-version": ["2", "3"], "query.a": "b*"},
        "content": "{url}|{method}|{body}",
    }
    settings = {"signed": signed, "require": [{"body.shop.id": 7}], "public_url": PUBLIC_URL}
    hook = Hook.build("h", "custom", topic="s/{body.kind}", secrets=["s"], settings=settings)
    sample = made(hook)
    assert sample.query == "a=bsample"
    assert hook.verify(received(hook, sample), now=NOW)
    assert json.loads(sample.body) == {"kind": "sample", "shop": {"id": "7"}}


def test_a_sample_does_not_show_a_secret_by_itself():
    assert SECRET not in repr(made(Hook.build(**hook_arguments("gitlab"))))
