"""The ways in which senders of webhooks sign what they send.

Each scheme answers two questions about a ``WebhookDelivery``: was it signed with one of the secrets, and
what does the sender call it (so that a repeat is known). Every secret is tried, so that it can be rotated,
and every comparison takes constant time. Nobody is told which part of a refused delivery was wrong.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.http_api.webhooks.delivery import WebhookDelivery

SCHEMES: Final = ("github", "stripe", "slack", "standard", "hmac", "none")
ALGORITHMS: Final = ("sha256", "sha1", "sha512")
ENCODINGS: Final = ("hex", "base64")

_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURES_TRIED: Final = 16
"""A header may name several signatures (two while a secret is rotated); no more of them are compared."""


class SignatureScheme(Protocol):
    """One way to sign."""

    def verify(self, delivery: WebhookDelivery, *, now: float) -> bool:
        """Whether the delivery is signed with one of the secrets, within its time window.

        ``now`` is in seconds since 1970.
        """
        ...

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """What the sender calls this delivery, None where it has no name; ask only after ``verify``."""
        ...


@dataclass(frozen=True, slots=True)
class NoSignature:
    """``none``: nothing is verified; the request must be allowed to publish like any other."""

    id_header: str | None = None

    def verify(self, delivery: WebhookDelivery, *, now: float) -> bool:  # noqa: ARG002
        """Let everything pass."""
        return True

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """Return the configured header's value."""
        return delivery.headers.get(self.id_header) if self.id_header else None


@dataclass(frozen=True, slots=True, repr=False)
class HmacSignature:
    """``hmac`` and ``github``: an HMAC of the body in one header, without a time."""

    secrets: Sequence[bytes]
    header: str
    algorithm: str = "sha256"
    encoding: str = "hex"
    prefix: str = ""
    id_header: str | None = None

    def verify(self, delivery: WebhookDelivery, *, now: float) -> bool:  # noqa: ARG002 - signed without a time
        """Compare the header with the body's HMAC under each secret."""
        stated = delivery.headers.get(self.header, "")
        if not stated.startswith(self.prefix):
            return False
        stated = stated.removeprefix(self.prefix)
        given = stated.lower() if self.encoding == "hex" else stated
        return _any_equal((self._sign(secret, delivery.body) for secret in self.secrets), [given])

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """Return the configured header's value; it is not covered by the signature."""
        return delivery.headers.get(self.id_header) if self.id_header else None

    def _sign(self, secret: bytes, body: bytes) -> str:
        digest = hmac.digest(secret, body, self.algorithm)
        return digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True, repr=False)
class StripeSignature:
    """``stripe``: ``Stripe-Signature: t=…,v1=…``, several ``v1`` while a secret is rotated."""

    secrets: Sequence[bytes]
    tolerance_seconds: float

    def verify(self, delivery: WebhookDelivery, *, now: float) -> bool:
        """Compare with the HMAC of time, ``.`` and body."""
        header = delivery.headers.get("stripe-signature", "")
        pairs = [pair.strip().partition("=") for pair in header.split(",")]
        times = [value for name, _, value in pairs if name == "t"]
        if len(times) != 1 or not _is_recent(times[0], now, self.tolerance_seconds):
            return False
        signed = times[0].encode() + b"." + delivery.body
        expected = (_sha256_hex(secret, signed) for secret in self.secrets)
        return _any_equal(expected, [value for name, _, value in pairs if name == "v1"])

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """Return the event's ``id``."""
        return delivery.field("id")


@dataclass(frozen=True, slots=True, repr=False)
class SlackSignature:
    """``slack``: ``X-Slack-Signature: v0=…`` over version, time and body."""

    secrets: Sequence[bytes]
    tolerance_seconds: float

    def verify(self, delivery: WebhookDelivery, *, now: float) -> bool:
        """Compare with the HMAC of ``v0:time:body``."""
        time = delivery.headers.get("x-slack-request-timestamp", "")
        if not _is_recent(time, now, self.tolerance_seconds):
            return False
        signed = b"v0:" + time.encode() + b":" + delivery.body
        expected = ("v0=" + _sha256_hex(secret, signed) for secret in self.secrets)
        return _any_equal(expected, [delivery.headers.get("x-slack-signature", "")])

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """Return the ``event_id``; slash commands have none, but each is signed with its own time."""
        return delivery.field("event_id") or delivery.headers.get("x-slack-signature")


@dataclass(frozen=True, slots=True, repr=False)
class StandardSignature:
    """``standard``: Standard Webhooks, ``webhook-id``, ``-timestamp`` and ``-signature``.

    The package makes the expected signature. Its own ``verify`` is not used: it knows no time window but
    five minutes and raises undeclared errors for a malformed header.
    """

    webhooks: Sequence[Webhook]
    tolerance_seconds: float

    def verify(self, delivery: WebhookDelivery, *, now: float) -> bool:
        """Compare with the signature of id, time and body under each secret."""
        name = delivery.headers.get("webhook-id", "")
        time = delivery.headers.get("webhook-timestamp", "")
        if not name or not _is_recent(time, now, self.tolerance_seconds):
            return False
        try:
            body = delivery.body.decode()
        except UnicodeDecodeError:  # the scheme signs text
            return False
        at = datetime.fromtimestamp(int(time), tz=UTC)
        expected = (webhook.sign(name, at, body) for webhook in self.webhooks)
        return _any_equal(expected, delivery.headers.get("webhook-signature", "").split(" "))

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """Return the ``webhook-id``, which repeats keep."""
        return delivery.headers.get("webhook-id")


def signature_scheme(
    scheme: str,
    secrets: Iterable[str],
    *,
    tolerance_seconds: float = 300,
    header: str | None = None,
    algorithm: str = "sha256",
    encoding: str = "hex",
    prefix: str = "",
    id_header: str | None = None,
) -> SignatureScheme:
    """Return a scheme by its name.

    Args:
        scheme: one of ``SCHEMES``.
        secrets: the current one first; none only with ``none``.
        tolerance_seconds: how old, or how far ahead, a signed time may be.
        header: of ``hmac``: where the signature is.
        algorithm: of ``hmac``: one of ``ALGORITHMS``.
        encoding: of ``hmac``: one of ``ENCODINGS``.
        prefix: of ``hmac``: what stands before the signature, as ``sha256=``.
        id_header: of ``hmac`` and ``none``: the header that names a delivery.

    Raises:
        ValueError: an unknown name, or no usable secret; the text names the rule and never a secret.
    """
    keys = _keys(scheme, list(secrets))
    name_header = id_header.lower() if id_header else None
    if scheme == "none":
        return NoSignature(name_header)
    if scheme == "github":
        return HmacSignature(keys, "x-hub-signature-256", prefix="sha256=", id_header="x-github-delivery")
    if scheme == "stripe":
        return StripeSignature(keys, tolerance_seconds)
    if scheme == "slack":
        return SlackSignature(keys, tolerance_seconds)
    if scheme == "standard":
        return StandardSignature([_standard_webhook(key) for key in keys], tolerance_seconds)
    if not header or algorithm not in ALGORITHMS or encoding not in ENCODINGS:
        raise ValueError(
            f"scheme 'hmac' needs a header, an algorithm of {', '.join(ALGORITHMS)}"
            f" and an encoding of {', '.join(ENCODINGS)}"
        )
    return HmacSignature(keys, header.lower(), algorithm, encoding, prefix, name_header)


def _keys(scheme: str, secrets: list[str]) -> list[bytes]:
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}: it is one of {', '.join(SCHEMES)}")
    if scheme == "none" and secrets:
        raise ValueError("scheme 'none' verifies nothing and takes no secret")
    if scheme != "none" and not (secrets and all(secrets)):
        raise ValueError(f"scheme {scheme!r} needs a secret, and none may be empty")
    return [secret.encode() for secret in secrets]


def _standard_webhook(key: bytes) -> Webhook:
    try:
        return Webhook(key.decode())
    except Exception:  # noqa: BLE001 - the package raises what base64 raises, and errors of its own
        raise ValueError("a secret of scheme 'standard' is base64, with or without 'whsec_'") from None


def _sha256_hex(secret: bytes, signed: bytes) -> str:
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


def _is_recent(time: str, now: float, tolerance_seconds: float) -> bool:
    """Whether a signed time, in seconds since 1970, is neither too old nor too far ahead."""
    return bool(_UNIX_SECONDS.fullmatch(time)) and abs(now - int(time)) <= tolerance_seconds


def _any_equal(expected: Iterable[str], given: Sequence[str]) -> bool:
    """Whether one of ``given`` is expected. Every pair is compared: time tells their number only."""
    candidates = [value.encode() for value in given[:_SIGNATURES_TRIED]]
    equal = False
    for signature in expected:
        for candidate in candidates:
            equal |= hmac.compare_digest(signature.encode(), candidate)
    return equal
