"""Senders' public keys: how they are written, and the signatures they verify."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

if TYPE_CHECKING:
    from datetime import datetime

PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_RAW_BYTES: Final = 32
_LEAST_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 8192
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_KINDS: Final = {
    "ed25519": ed25519.Ed25519PublicKey,
    "ecdsa-p256-sha256": ec.EllipticCurvePublicKey,
    "rsa-sha256": rsa.RSAPublicKey,
    "rsa-sha1": rsa.RSAPublicKey,
}


def public_key(text: str, algorithm: str) -> PublicKey:
    """Read a key of ``algorithm``: PEM, base64 of its DER, or, of Ed25519, its 32 bytes in hex or base64.

    Raises:
        ValueError: it is none.
    """
    try:
        return _checked(_loaded(text.strip().removeprefix("whpk_")), algorithm)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise ValueError(
            f"a public key of {algorithm} is a PEM, or base64 of its DER; of Ed25519 also its 32 bytes in hex"
            " or base64"
        ) from None


def certified_key(pem: bytes, algorithm: str, *, now: datetime) -> PublicKey:
    """Return the key of a certificate, which must be valid at ``now``.

    Raises:
        ValueError: it is not valid, or has no key of ``algorithm``.
    """
    try:
        certificate = load_pem_x509_certificate(pem)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise ValueError("the certificate is not valid now")
        return _checked(certificate.public_key(), algorithm)
    except (TypeError, UnsupportedAlgorithm) as exc:
        raise ValueError("the certificate can't be read") from exc


def is_signed_by(key: PublicKey, algorithm: str, signature: bytes, content: bytes) -> bool:
    """Whether ``signature`` is one of ``content`` by ``key``."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, content)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        else:
            digest = hashes.SHA1() if algorithm == "rsa-sha1" else hashes.SHA256()  # noqa: S303 - what old senders sign with
            key.verify(signature, content, padding.PKCS1v15(), digest)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _loaded(text: str) -> object:
    if text.startswith("-----BEGIN"):
        return load_pem_public_key(text.encode())
    if _HEX.fullmatch(text):
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    raw = base64.b64decode(text, validate=True)
    if len(raw) == _RAW_BYTES:
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    return load_der_public_key(raw)


def _checked(key: object, algorithm: str) -> PublicKey:
    if not isinstance(key, _KINDS[algorithm]):
        raise ValueError("a key of another kind")  # noqa: TRY004 - one kind of error
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("a key of another curve")  # noqa: TRY004 - one kind of error
    # What a signature costs grows with the cube of the key's length.
    if isinstance(key, rsa.RSAPublicKey) and not _LEAST_RSA_BITS <= key.key_size <= _MOST_RSA_BITS:
        raise ValueError(f"an RSA key has {_LEAST_RSA_BITS} to {_MOST_RSA_BITS} bits")
    assert isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return key
