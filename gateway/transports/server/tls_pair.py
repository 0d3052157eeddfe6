"""What the two files of a TLS certificate say: when it is valid, and what is wrong with a pair."""

from __future__ import annotations

import datetime as dt
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAST_PART: Final = 0.1
"""Of a certificate's life: it should have been renewed before. Of 90 days, nine."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in seconds since 1970."""

    not_before: float
    not_after: float

    @classmethod
    def of(cls, chain: bytes) -> Validity | None:
        """Read it from the first certificate of ``chain``, PEM; None where that can't be read."""
        from cryptography import x509  # noqa: PLC0415 - many gateways listen without TLS

        # OpenSSL takes certificates that this library finds odd: they serve, without a date.
        with _quietly(), suppress(ValueError):
            certificate = x509.load_pem_x509_certificates(chain)[0]
            return cls(
                certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
            )
        return None

    def problem(self, now: float) -> str | None:
        """Say what is wrong with it at ``now``; None if all is well."""
        if now < self.not_before:
            return f"is not valid before {_date(self.not_before)}"
        if now >= self.not_after:
            return f"has expired: it was valid until {_date(self.not_after)}"
        if now >= self.not_after - (self.not_after - self.not_before) * _LAST_PART:
            return f"expires soon, and has not been renewed: it is valid until {_date(self.not_after)}"
        return None


def what_is_wrong(chain: bytes, key: bytes) -> str | None:
    """Say for people why a server can't use this pair; None if that can't be seen."""
    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    for name, content in (("certificate", chain), ("key", key)):
        if content.count(b"-----BEGIN ") > content.count(b"-----END "):
            return f"the {name}'s file ends in the middle"
    with _quietly():
        try:
            certificate = x509.load_pem_x509_certificates(chain)[0]
        except ValueError:
            return "the certificate's file does not hold a certificate in PEM"
        try:
            private = load_pem_private_key(key, None)
        except TypeError:
            return "the key is encrypted"
        except (ValueError, UnsupportedAlgorithm):
            return "the key's file does not hold a private key in PEM"
        if private.public_key() != certificate.public_key():
            return "the key is not that of the certificate"
    return None


def _date(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
