"""Deliveries as the senders of the presets sign them, by code that shares nothing with what verifies them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.unit.http_api.webhooks.sender_kit import (
    NOW,
    PUBLIC_URL,
    SECRET,
    Request,
    Sender,
    as_json,
    b64,
    body_mac,
    mac,
)
from tests.unit.http_api.webhooks.tool_senders import TOOL_SENDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OTHER_SECRET = "whsec_" + base64.b64encode(b"another key, which is no one's").decode()
VERIFY_TOKEN = "verify me"
PATH = "/v1/hooks/hook"
TOPIC_ARN = "arn:aws:sns:eu-west-1:123456789012:orders"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1a2b3c.pem"

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
P256 = ec.derive_private_key(7, ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def _stripe(secret: str, at: int) -> Request:
    plain = as_json({"id": "evt_1", "type": "charge.succeeded"})
    digest = mac(secret, b"%d." % at + plain.body).hex()
    return Request({**plain.headers, "stripe-signature": f"t={at},v1={'0' * 64},v1={digest}"}, plain.body)


def _slack(secret: str, at: int) -> Request:
    plain = as_json({"event_id": "Ev1", "event": {"type": "message"}})
    digest = mac(secret, b"v0:%d:" % at + plain.body).hex()
    headers = {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={digest}"}
    return Request({**plain.headers, **headers}, plain.body)


def _standard(prefix: str) -> Callable[[str, int], Request]:
    def sign(secret: str, at: int) -> Request:
        plain = as_json({"type": "user.created"})
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = b64(mac(key, b"msg_1.%d." % at + plain.body))
        headers = {
            f"{prefix}-id": "msg_1",
            f"{prefix}-timestamp": str(at),
            f"{prefix}-signature": f"v1,{b64(b'0' * 32)} v1,{digest}",
        }
        return Request({**plain.headers, **headers}, plain.body)

    return sign


def _gitlab(secret: str, at: int) -> Request:
    value = {"object_kind": "push", "project": {"path_with_namespace": "acme/shop"}}
    return as_json(value, x_gitlab_token=secret, x_gitlab_event="Push Hook", idempotency_key="k1")


def _telegram(secret: str, at: int) -> Request:
    value = {"update_id": 7, "message": {"chat": {"id": -42}, "text": "hi"}}
    return as_json(value, x_telegram_bot_api_secret_token=secret)


def _twilio(secret: str, at: int) -> Request:
    fields = {"To": "+1555", "From": "+49 30", "Body": "häppy & so=on", "AccountSid": "AC1", "Empty": ""}
    signed = PUBLIC_URL + "".join(name + fields[name] for name in sorted(fields))
    return Request(
        {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": b64(mac(secret, signed.encode(), "sha1")),
            "i-twilio-idempotency-token": "t1",
        },
        urlencode(fields).encode(),
    )


def _hubspot(secret: str, at: int) -> Request:
    plain = as_json([{"portalId": 62515, "subscriptionType": "contact.creation", "eventId": 1}])
    milliseconds = str(at * 1000 + 250)
    signed = b"POST" + f"{PUBLIC_URL}?a=b/c&d=%20".encode() + plain.body + milliseconds.encode()
    headers = {
        "x-hubspot-signature-v3": b64(mac(secret, signed)),
        "x-hubspot-request-timestamp": milliseconds,
    }
    return Request({**plain.headers, **headers}, plain.body, query="a=b%2Fc&d=%20")


def _zoom(secret: str, at: int) -> Request:
    return zoom_signed(
        secret, at, {"event": "meeting.started", "event_ts": 5, "payload": {"account_id": "A1"}}
    )


def zoom_signed(secret: str, at: int, value: object) -> Request:
    plain = as_json(value)
    digest = mac(secret, b"v0:%d:" % at + plain.body).hex()
    headers = {"x-zm-request-timestamp": str(at), "x-zm-signature": f"v0={digest}"}
    return Request({**plain.headers, **headers}, plain.body)


def _paddle(secret: str, at: int) -> Request:
    plain = as_json({"event_type": "transaction.paid", "notification_id": "ntf_1"})
    digest = mac(secret, b"%d:" % at + plain.body).hex()
    return Request({**plain.headers, "paddle-signature": f"ts={at};h1={'1' * 64};h1={digest}"}, plain.body)


def _mailgun(secret: str, at: int) -> Request:
    signature = {"timestamp": str(at), "token": "a8ce0edb2dd8301dee6c2405235584e4"}
    signed = (signature["timestamp"] + signature["token"]).encode()
    return as_json(
        {"signature": signature | {"signature": mac(secret, signed).hex()}, "event-data": {"event": "opened"}}
    )


def _sendgrid(secret: str, at: int) -> Request:
    plain = as_json([{"event": "delivered", "sg_event_id": "e1"}])
    key = P256 if secret == SECRET else ec.derive_private_key(8, ec.SECP256R1())
    signature = key.sign(str(at).encode() + plain.body, ec.ECDSA(hashes.SHA256()))
    headers = {
        "x-twilio-email-event-webhook-signature": b64(signature),
        "x-twilio-email-event-webhook-timestamp": str(at),
    }
    return Request({**plain.headers, **headers}, plain.body)


def _discord(value: object) -> Callable[[str, int], Request]:
    return lambda secret, at: discord_signed(secret, at, value)


def discord_signed(secret: str, at: int, value: object) -> Request:
    plain = as_json(value)
    key = ED25519 if secret == SECRET else ed25519.Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    signature = key.sign(str(at).encode() + plain.body).hex()
    headers = {"x-signature-ed25519": signature, "x-signature-timestamp": str(at)}
    return Request({**plain.headers, **headers}, plain.body)


def _graph(secret: str, at: int) -> Request:
    one = {"subscriptionId": "S1", "changeType": "created", "clientState": secret}
    return as_json({"value": [one, dict(one)]})


def _sns(secret: str, at: int) -> Request:
    return sns_signed(
        secret, at, {"Type": "Notification", "Subject": "new", "Message": '{"order":\n1}', "MessageId": "m-1"}
    )


def sns_signed(secret: str, at: int, value: Mapping[str, str], version: str = "2") -> Request:
    """The order of the fields is AWS': by name, each with its value on the line below."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    whole = {**value, "Timestamp": moment, "TopicArn": TOPIC_ARN}
    signed = "".join(f"{name}\n{whole[name]}\n" for name in sorted(whole)).encode()
    key = RSA if secret == SECRET else rsa.generate_private_key(65537, 2048)
    digest = hashes.SHA256() if version == "2" else hashes.SHA1()
    signature = b64(key.sign(signed, padding.PKCS1v15(), digest))
    whole |= {"SignatureVersion": version, "Signature": signature, "SigningCertURL": CERTIFICATE_URL}
    return Request({"content-type": "text/plain; charset=UTF-8"}, json.dumps(whole).encode())


def sns_certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    begun = datetime.fromtimestamp(NOW, UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA.public_key())
    builder = builder.serial_number(1).not_valid_before(begun).not_valid_after(begun + timedelta(days=30))
    return builder.sign(RSA, hashes.SHA256()).public_bytes(Encoding.PEM)


def _azure(secret: str, at: int) -> Request:
    plain = as_json([{"id": "e-1", "eventType": "Blob.Created"}], aeg_event_type="Notification")
    return Request(plain.headers, plain.body, query=urlencode({"code": secret}))


SENDERS = {
    "github": Sender(
        body_mac(
            {"repository": {"full_name": "acme/shop"}},
            "x-hub-signature-256",
            lambda digest: f"sha256={digest.hex()}",
            x_github_event="push",
        ),
        "github/acme/shop/push",
    ),
    "stripe": Sender(_stripe, "stripe/charge.succeeded", timed=True),
    "slack": Sender(_slack, "slack/message", timed=True),
    "standard": Sender(_standard("webhook"), "webhooks/user.created", timed=True),
    "svix": Sender(_standard("svix"), "svix/user.created", timed=True),
    "gitlab": Sender(_gitlab, "gitlab/acme/shop/push"),
    "telegram": Sender(_telegram, "telegram/-42"),
    "twilio": Sender(_twilio, "twilio/AC1/%2B1555", settings={"public_url": PUBLIC_URL}),
    "shopify": Sender(
        body_mac(
            {}, "x-shopify-hmac-sha256", b64, x_shopify_topic="orders/create", x_shopify_shop_domain="a.b"
        ),
        "shopify/a.b/orders/create",
    ),
    "hubspot": Sender(
        _hubspot, "hubspot/62515/contact.creation", timed=True, settings={"public_url": PUBLIC_URL}
    ),
    "zoom": Sender(_zoom, "zoom/A1/meeting.started", timed=True),
    "paddle": Sender(_paddle, "paddle/transaction.paid", timed=True),
    "mailgun": Sender(_mailgun, "mailgun/opened", timed=True),
    "sendgrid": Sender(_sendgrid, "sendgrid/delivered", timed=True, asymmetric=True),
    "discord": Sender(
        _discord({"type": 2, "id": "1", "application_id": "9", "data": {"name": "roll"}}),
        "discord/9/roll",
        timed=True,
        asymmetric=True,
    ),
    "discord_events": Sender(
        _discord({"type": 1, "application_id": "9", "event": {"type": "ENTITLEMENT_CREATE"}}),
        "discord/9/ENTITLEMENT_CREATE",
        timed=True,
        asymmetric=True,
    ),
    "meta": Sender(
        body_mac(
            {"object": "page", "entry": [{"id": "1"}]},
            "x-hub-signature-256",
            lambda digest: f"sha256={digest.hex()}",
        ),
        "meta/page/1",
    ),
    "microsoft_graph": Sender(_graph, "graph/S1/created"),
    "aws_sns": Sender(
        _sns,
        f"sns/{TOPIC_ARN}",
        timed=True,
        asymmetric=True,
        settings={"require": [{"body.TopicArn": TOPIC_ARN}]},
    ),
    "azure_event_grid": Sender(_azure, "azure/Blob.Created"),
    "pagerduty": Sender(
        body_mac(
            {"event": {"id": "01", "event_type": "incident.triggered"}},
            "x-pagerduty-signature",
            lambda digest: f"v1={'0' * 64},v1={digest.hex()}",
        ),
        "pagerduty/incident.triggered",
    ),
    **TOOL_SENDERS,
}


def public_keys(name: str) -> list[str]:
    if name == "sendgrid":
        der = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return [b64(der)]
    return [ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()]


def hook_arguments(name: str) -> dict[str, Any]:
    """What ``Hook.build`` takes for a preset."""
    sender = SENDERS[name]
    keys: dict[str, Any] = {} if name == "aws_sns" else {"secrets": [SECRET]}
    if sender.asymmetric and name != "aws_sns":
        keys = {"public_keys": public_keys(name)}
    if name == "meta":
        keys["verify_tokens"] = [VERIFY_TOKEN]
    return {"name": "hook", "scheme": name, "settings": dict(sender.settings), **keys}
