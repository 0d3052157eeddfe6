"""Deliveries as tools for work, for building and for shops sign them; see ``senders.py``."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.unit.http_api.webhooks.sender_kit import (
    PUBLIC_URL,
    Request,
    Sender,
    as_json,
    b64,
    body_mac,
    mac,
)


def _hex(prefix: str = ""):
    return lambda digest: prefix + digest.hex()


def _linear(secret: str, at: int) -> Request:
    plain = as_json(
        {"type": "Issue", "action": "create", "webhookTimestamp": at * 1000 + 7}, linear_delivery="d1"
    )
    return Request({**plain.headers, "linear-signature": mac(secret, plain.body).hex()}, plain.body)


def _intercom(secret: str, at: int) -> Request:
    plain = as_json({"id": "notif_1", "app_id": "a86dr8yl", "topic": "conversation.user.created"})
    digest = mac(secret, plain.body, "sha1").hex()
    return Request({**plain.headers, "x-hub-signature": f"sha1={digest}"}, plain.body)


def _square(secret: str, at: int) -> Request:
    plain = as_json({"merchant_id": "M1", "type": "payment.updated", "event_id": "e1"})
    digest = b64(mac(secret, PUBLIC_URL.encode() + plain.body))
    return Request({**plain.headers, "x-square-hmacsha256-signature": digest}, plain.body)


def twitch_signed(secret: str, at: int, value: object, kind: str = "notification") -> Request:
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    plain = as_json(
        value,
        twitch_eventsub_message_id="m-1",
        twitch_eventsub_message_timestamp=moment,
        twitch_eventsub_message_type=kind,
    )
    digest = mac(secret, b"m-1" + moment.encode() + plain.body).hex()
    headers = {**plain.headers, "twitch-eventsub-message-signature": f"sha256={digest}"}
    return Request(headers, plain.body)


def _twitch(secret: str, at: int) -> Request:
    return twitch_signed(secret, at, {"subscription": {"type": "stream.online"}, "event": {}})


def _calendly(secret: str, at: int) -> Request:
    plain = as_json({"event": "invitee.created", "created_at": "2026-11-28T10:00:00.000000Z"})
    digest = mac(secret, b"%d." % at + plain.body).hex()
    return Request({**plain.headers, "calendly-webhook-signature": f"t={at},v1={digest}"}, plain.body)


def zendesk_signed(secret: str, moment: str) -> Request:
    plain = as_json(
        {"account_id": 22, "type": "zen:event-type:ticket.created"}, x_zendesk_webhook_invocation_id="i1"
    )
    headers = {
        "x-zendesk-webhook-signature": b64(mac(secret, moment.encode() + plain.body)),
        "x-zendesk-webhook-signature-timestamp": moment,
    }
    return Request({**plain.headers, **headers}, plain.body)


def _zendesk(secret: str, at: int) -> Request:
    return zendesk_signed(secret, datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _docusign(secret: str, at: int) -> Request:
    value = {
        "event": "envelope-completed",
        "generatedDateTime": "2026-11-28T10:00:00.0Z",
        "data": {"accountId": "A1", "envelopeId": "E1"},
    }
    plain = as_json(value)
    headers = {
        "x-docusign-signature-1": b64(b"1" * 32),
        "x-docusign-signature-2": b64(mac(secret, plain.body)),
    }
    return Request({**plain.headers, **headers}, plain.body)


def _okta(secret: str, at: int) -> Request:
    value = {"eventId": "b5a1", "data": {"events": [{"eventType": "user.session.start"}]}}
    return as_json(value, authorization=secret)


def _datadog(secret: str, at: int) -> Request:
    value = {"id": "7", "event_type": "metric_alert_monitor", "org": {"id": "11"}}
    return as_json(value, authorization=f"Bearer {secret}")


TOOL_SENDERS = {
    "linear": Sender(_linear, "linear/Issue/create", timed=True),
    "jira": Sender(
        body_mac(
            {"webhookEvent": "jira:issue_updated", "issue": {"fields": {"project": {"key": "SHOP"}}}},
            "x-hub-signature",
            _hex("sha256="),
            x_atlassian_webhook_identifier="j1",
        ),
        "jira/SHOP/jira:issue_updated",
    ),
    "intercom": Sender(_intercom, "intercom/a86dr8yl/conversation.user.created"),
    "square": Sender(_square, "square/M1/payment.updated", settings={"public_url": PUBLIC_URL}),
    "twitch": Sender(_twitch, "twitch/stream.online", timed=True),
    "dropbox": Sender(
        body_mac(
            {"list_folder": {"accounts": ["dbid:AAH4"]}, "delta": {"users": [12345]}},
            "x-dropbox-signature",
            _hex(),
        ),
        "dropbox/dbid:AAH4",
    ),
    "typeform": Sender(
        body_mac(
            {"event_id": "01H", "event_type": "form_response", "form_response": {"form_id": "lT4Z3j"}},
            "typeform-signature",
            lambda digest: f"sha256={b64(digest)}",
        ),
        "typeform/lT4Z3j/form_response",
    ),
    "calendly": Sender(_calendly, "calendly/invitee.created", timed=True),
    "zendesk": Sender(_zendesk, "zendesk/22/zen:event-type:ticket.created", timed=True),
    "docusign": Sender(_docusign, "docusign/A1/envelope-completed"),
    "okta": Sender(_okta, "okta/user.session.start"),
    "bitbucket": Sender(
        body_mac(
            {"repository": {"full_name": "acme/shop"}},
            "x-hub-signature",
            _hex("sha256="),
            x_event_key="repo:push",
            x_request_uuid="b1",
        ),
        "bitbucket/acme/shop/repo:push",
    ),
    "gitea": Sender(
        body_mac(
            {"repository": {"full_name": "gitea/webhooks"}},
            "x-gitea-signature",
            _hex(),
            x_gitea_event="push",
            x_gitea_delivery="f6266f16",
        ),
        "gitea/gitea/webhooks/push",
    ),
    "circleci": Sender(
        body_mac(
            {"id": "c1", "type": "workflow-completed", "project": {"slug": "gh/acme/shop"}},
            "circleci-signature",
            lambda digest: f"v1={digest.hex()},v2={'0' * 64}",
        ),
        "circleci/gh/acme/shop/workflow-completed",
    ),
    "sentry": Sender(
        body_mac(
            {"action": "created", "data": {}},
            "sentry-hook-signature",
            _hex(),
            sentry_hook_resource="issue",
            request_id="s1",
        ),
        "sentry/issue/created",
    ),
    "datadog": Sender(_datadog, "datadog/11/metric_alert_monitor"),
    "woocommerce": Sender(
        body_mac(
            {"id": 5},
            "x-wc-webhook-signature",
            b64,
            x_wc_webhook_topic="order.created",
            x_wc_webhook_delivery_id="w1",
        ),
        "woocommerce/order.created",
    ),
    "xero": Sender(
        body_mac(
            {
                "events": [{"tenantId": "T1", "eventCategory": "INVOICE", "eventType": "UPDATE"}],
                "firstEventSequence": 1,
                "lastEventSequence": 1,
                "entropy": "x",
            },
            "x-xero-signature",
            b64,
        ),
        "xero/T1/INVOICE",
    ),
}
