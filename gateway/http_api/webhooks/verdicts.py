"""Why a delivery is refused: a reason of a fixed set, to be counted, and a text for the operator alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HEADER_MISSING: Final = "header_missing"
SIGNATURE_FORM: Final = "signature_form"
VALUE_MISSING: Final = "value_missing"
TIMESTAMP_FORM: Final = "timestamp_form"
TOO_OLD: Final = "too_old"
TOO_NEW: Final = "too_new"
WRONG_SIGNATURE: Final = "wrong_signature"
WRONG_TOKEN: Final = "wrong_token"  # noqa: S105 - no secret
WRONG_DIGEST: Final = "wrong_digest"
CERTIFICATE: Final = "certificate"
NOT_REQUIRED: Final = "requirement"
FORM_BODY: Final = "form_body"
CHALLENGE: Final = "challenge"

REASONS: Final = (
    HEADER_MISSING,
    SIGNATURE_FORM,
    VALUE_MISSING,
    TIMESTAMP_FORM,
    TOO_OLD,
    TOO_NEW,
    WRONG_SIGNATURE,
    WRONG_TOKEN,
    WRONG_DIGEST,
    CERTIFICATE,
    NOT_REQUIRED,
    FORM_BODY,
    CHALLENGE,
)
"""All of them, in the order in which they are found out."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a delivery is its sender's; true if it is.

    Attributes:
        reason: "" where it is, else one of ``REASONS``.
        detail: what is wrong, without anything of the body or a secret.
    """

    reason: str = ""
    detail: str = ""

    def __bool__(self) -> bool:
        return not self.reason

    @property
    def progress(self) -> int:
        """How far the verification came: of several refusals the farthest one says most."""
        return len(REASONS) if not self.reason else REASONS.index(self.reason)


VERIFIED: Final = Verification()
