"""Shared secrets that come along with a delivery, in a header, the query or the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import BadFrame
from gateway.http_api.webhooks import verdicts
from gateway.http_api.webhooks.signatures import any_equal
from gateway.http_api.webhooks.verdicts import VERIFIED, Verification

if TYPE_CHECKING:
    from gateway.http_api.webhooks.delivery import WebhookDelivery
    from gateway.http_api.webhooks.sources import Source


@dataclass(frozen=True, slots=True, repr=False)
class SharedToken:
    """A place whose value, or each of whose values, must be ``prefix`` and then one of the secrets."""

    place: Source
    secrets: tuple[str, ...]
    prefix: str = ""

    def verify(self, delivery: WebhookDelivery) -> Verification:
        """Compare what is there, in constant time."""
        try:
            values = self.place.read_all(delivery)
        except BadFrame as exc:
            return Verification(verdicts.VALUE_MISSING, str(exc))
        if any(value is None for value in values):
            reason = verdicts.HEADER_MISSING if self.place.kind == "header" else verdicts.VALUE_MISSING
            return Verification(reason, f"{self.place.text} is missing")
        expected = [self.prefix + secret for secret in self.secrets]
        equal = [any_equal(expected, [value or ""]) for value in values]
        if all(equal):
            return VERIFIED
        return Verification(verdicts.WRONG_TOKEN, f"{self.place.text} holds another token")
