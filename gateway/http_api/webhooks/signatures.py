"""Signatures of deliveries, described by settings: what is signed, how, and where the signature is.

Every secret is tried, so that it can be rotated, and every comparison takes constant time. Nothing here
waits: a certificate that is needed is fetched by the endpoint, which asks for its URL first.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.errors import BadFrame
from gateway.http_api.webhooks import verdicts
from gateway.http_api.webhooks.keys import certified_key, is_signed_by, public_key
from gateway.http_api.webhooks.sources import Condition, Source
from gateway.http_api.webhooks.templates import MissingValue, Signing, Template
from gateway.http_api.webhooks.url_patterns import UrlPatterns
from gateway.http_api.webhooks.verdicts import VERIFIED, Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.http_api.webhooks.declaration import Signed
    from gateway.http_api.webhooks.delivery import WebhookDelivery
    from gateway.http_api.webhooks.keys import PublicKey

_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_LONGEST_TIME: Final = 40
_LONGEST_SIGNATURE: Final = 16_384
_SIGNATURES_TRIED: Final = 16
"""A header may name several signatures (two while a secret is rotated); no more of them are compared."""
_IN_SIGNATURE: Final = "signature."


@dataclass(frozen=True, slots=True)
class _Found:
    """What the places of a signature hold: the signatures without prefix, and the signed time."""

    signatures: list[str]
    timestamp: str | None


@dataclass(frozen=True, slots=True, repr=False)
class SignatureScheme:
    """One way to sign; make one with ``build``."""

    declaration: Signed
    when: Condition
    places: tuple[Source, ...]
    content: Template
    timestamp: Source | None
    digest: Source | None
    certificate: Source | None
    certificate_urls: UrlPatterns
    secrets: tuple[bytes, ...]
    public_keys: tuple[PublicKey, ...]
    tolerance_seconds: float

    @classmethod
    def build(
        cls,
        declaration: Signed,
        *,
        secrets: Iterable[str],
        public_keys: Iterable[str],
        tolerance_seconds: float,
    ) -> SignatureScheme:
        """Make a scheme from what is declared and the keys, the current ones first.

        Raises:
            ValueError: a rule is broken, or a key none; the text never holds a secret.
        """
        algorithm, named = declaration.algorithm, declaration.signature
        by_secret = algorithm.startswith("hmac-")
        keys: tuple[PublicKey, ...] = ()
        if not (by_secret or declaration.certificate):
            keys = tuple(public_key(text, algorithm) for text in public_keys)
        if declaration.certificate and (by_secret or not declaration.certificate_urls):
            raise ValueError("signed.certificate needs certificate_urls, and an algorithm of public keys")
        timestamp = declaration.timestamp
        if timestamp.startswith(_IN_SIGNATURE) and not declaration.separator:
            raise ValueError(f"signed.timestamp {timestamp!r} needs a separator")
        return cls(
            declaration,
            Condition.parse(declaration.when),
            tuple(Source.parse(each) for each in ([named] if isinstance(named, str) else named)),
            Template.parse(declaration.content),
            Source.parse(timestamp) if timestamp and not timestamp.startswith(_IN_SIGNATURE) else None,
            _optional_source(declaration.digest),
            _optional_source(declaration.certificate),
            UrlPatterns.parse(declaration.certificate_urls),
            tuple(_secret_key(secret, declaration) for secret in secrets) if by_secret else (),
            keys,
            tolerance_seconds,
        )

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to verify with."""
        return bool(self.secrets or self.public_keys or self.certificate)

    def certificate_url(self, delivery: WebhookDelivery, *, now: float) -> str | Verification | None:
        """Return the URL of the certificate that is needed to verify a delivery, None where none is.

        A delivery that can't be right whatever is behind the URL has its verdict already.
        """
        if self.certificate is None:
            return None
        found = self._look(delivery, now)
        if isinstance(found, Verification):
            return found
        try:
            url = self.certificate.read(delivery)
        except BadFrame as exc:
            return Verification(verdicts.VALUE_MISSING, str(exc))
        if url is None or not self.certificate_urls.allow(url):
            return Verification(verdicts.CERTIFICATE, f"{self.certificate.text} is no URL of the sender's")
        return url

    def verify(
        self, delivery: WebhookDelivery, *, now: float, certificate: bytes | None = None
    ) -> Verification:
        """Whether the delivery is signed with one of the keys, within its time window.

        Args:
            delivery: as it came.
            now: seconds since 1970.
            certificate: what ``certificate_url`` leads to.
        """
        found = self._look(delivery, now)
        if isinstance(found, Verification):
            return found
        try:
            content = self.content.render(delivery, Signing(found.timestamp))
            if (problem := self._wrong_digest(delivery)) is not None:
                return problem
        except MissingValue as exc:
            return Verification(verdicts.VALUE_MISSING, f"{exc} is signed, and missing")
        except BadFrame as exc:
            return Verification(verdicts.VALUE_MISSING, str(exc))
        if self.secrets:
            given = found.signatures
            if self.declaration.encoding == "hex":
                given = [text.lower() for text in given]
            equal = any_equal((self._mac(key, content) for key in self.secrets), given)
        else:
            try:
                keys = self._keys(certificate, now)
            except ValueError as exc:
                return Verification(verdicts.CERTIFICATE, str(exc))
            equal = self._any_verifies(keys, found.signatures, content)
        return VERIFIED if equal else Verification(verdicts.WRONG_SIGNATURE, "the signature is another one")

    def sign(self, delivery: WebhookDelivery, timestamp: str | None) -> str:
        """Return the signature, without prefix, that a sender who has the first secret makes.

        Raises:
            MissingValue: something that is signed is not there.
            BadFrame: something is no text.
        """
        return self._mac(self.secrets[0], self.content.render(delivery, Signing(timestamp)))

    def _look(self, delivery: WebhookDelivery, now: float) -> _Found | Verification:
        """Find signature and time; that much can be said without a key."""
        try:
            items = [
                item for place in self.places if (text := place.read(delivery)) for item in self._split(text)
            ]
            timestamp = None if self.timestamp is None else self.timestamp.read(delivery)
        except BadFrame as exc:
            return Verification(verdicts.VALUE_MISSING, str(exc))
        named = ", ".join(place.text for place in self.places)
        if not items:
            return Verification(verdicts.HEADER_MISSING, f"{named} is missing")
        prefix = self.declaration.prefix
        signatures = [item.removeprefix(prefix) for item in items if item.startswith(prefix)]
        if not signatures:
            return Verification(verdicts.SIGNATURE_FORM, f"nothing in {named} begins with {prefix!r}")
        if self.declaration.timestamp.startswith(_IN_SIGNATURE):
            name = self.declaration.timestamp.removeprefix(_IN_SIGNATURE) + "="
            times = [item.removeprefix(name) for item in items if item.startswith(name)]
            timestamp = times[0] if len(times) == 1 else None
        if (problem := self._wrong_time(timestamp, now)) is not None:
            return problem
        return _Found(signatures[:_SIGNATURES_TRIED], timestamp)

    def _split(self, text: str) -> list[str]:
        if len(text) > _LONGEST_SIGNATURE:
            return []
        separator = self.declaration.separator
        return [item.strip(" \t") for item in text.split(separator)] if separator else [text]

    def _wrong_time(self, timestamp: str | None, now: float) -> Verification | None:
        place = self.declaration.timestamp
        if not place:
            return None
        if not timestamp:
            return Verification(verdicts.TIMESTAMP_FORM, f"{place} is missing, or not one")
        signed_at = seconds_of(timestamp, self.declaration.timestamp_format)
        if signed_at is None:
            return Verification(
                verdicts.TIMESTAMP_FORM, f"{place} is no time in {self.declaration.timestamp_format}"
            )
        age = now - signed_at
        if age > self.tolerance_seconds:
            return Verification(
                verdicts.TOO_OLD, f"signed {age:.0f} s ago, {self.tolerance_seconds:g} s are allowed"
            )
        if -age > self.tolerance_seconds:
            return Verification(
                verdicts.TOO_NEW, f"signed {-age:.0f} s ahead, {self.tolerance_seconds:g} s are allowed"
            )
        return None

    def _wrong_digest(self, delivery: WebhookDelivery) -> Verification | None:
        if self.digest is None:
            return None
        stated = self.digest.read(delivery) or ""
        if hmac.compare_digest(stated.lower().encode(), delivery.digest.hex().encode()):
            return None
        return Verification(verdicts.WRONG_DIGEST, f"{self.digest.text} is not the body's SHA-256")

    def _mac(self, key: bytes, content: bytes) -> str:
        digest = hmac.digest(key, content, self.declaration.algorithm.removeprefix("hmac-"))
        if self.declaration.encoding == "base64":
            return base64.b64encode(digest).decode()
        return digest.hex()

    def _keys(self, certificate: bytes | None, now: float) -> Sequence[PublicKey]:
        if self.certificate is None:
            return self.public_keys
        if certificate is None:
            raise ValueError("the certificate could not be had")
        at = datetime.fromtimestamp(now, tz=UTC)
        return (certified_key(certificate, self.declaration.algorithm, now=at),)

    def _any_verifies(self, keys: Sequence[PublicKey], signatures: Iterable[str], content: bytes) -> bool:
        decode = _DECODERS[self.declaration.encoding]
        for text in signatures:
            try:
                signature = decode(text)
            except (ValueError, binascii.Error):
                continue
            if any(is_signed_by(key, self.declaration.algorithm, signature, content) for key in keys):
                return True
        return False


def seconds_of(text: str, form: str) -> float | None:
    """Return a signed time in seconds since 1970, None if it is none of ``form``."""
    if form == "iso":
        try:
            at = datetime.fromisoformat(text) if len(text) <= _LONGEST_TIME else None
            return None if at is None else (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if not _DIGITS.fullmatch(text):
        return None
    return int(text) / 1000 if form == "milliseconds" else float(int(text))


def _optional_source(text: str) -> Source | None:
    return Source.parse(text) if text else None


def _secret_key(secret: str, declaration: Signed) -> bytes:
    text = secret.removeprefix(declaration.key_prefix)
    if declaration.key_encoding == "text":
        return text.encode()
    try:
        key = _DECODERS[declaration.key_encoding](text)
    except ValueError:  # binascii's error is one, and so is that of letters that are not ASCII
        key = b""
    if not key:
        before = f", with or without {declaration.key_prefix!r}" if declaration.key_prefix else ""
        raise ValueError(f"a secret of this scheme is {declaration.key_encoding}{before}")
    return key


def any_equal(expected: Iterable[str], given: Iterable[str]) -> bool:
    """Whether one of ``given`` is expected. Every pair is compared: time tells their number only."""
    candidates = [value.encode("utf-8", "surrogatepass") for value in given]
    equal = False
    for text in expected:
        for candidate in candidates:
            equal |= hmac.compare_digest(text.encode(), candidate)
    return equal


def _base64(text: str) -> bytes:
    raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    # One text for one value: otherwise a delivery could be sent again as another one.
    if base64.b64encode(raw).rstrip(b"=").decode() != text.rstrip("="):
        raise ValueError("not the one base64 of its value")
    return raw


_DECODERS: Final[dict[str, Callable[[str], bytes]]] = {"base64": _base64, "hex": bytes.fromhex}
