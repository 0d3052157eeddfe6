"""Keys and tokens for tests: right ones, and forged ones put together by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.auth.jwt import sign
from gateway.auth.jwt_keys import Algorithm, JwtKey, pem_key, secret_key

NOW = 1_700_000_000.0
SECRET = "a secret of at least 32 bytes, honestly"


@cache
def private_pem(algorithm: Algorithm, number: int = 0) -> str:
    """A private key in PEM; ``number`` tells several apart."""
    key: RSAKey | ECKey | OKPKey
    if algorithm == "RS256":
        key = RSAKey.generate_key(2048)
    elif algorithm == "ES256":
        key = ECKey.generate_key("P-256")
    else:
        key = OKPKey.generate_key("Ed25519")
    return key.as_pem(private=True).decode()


@cache
def key_of(algorithm: Algorithm, kid: str | None = None, number: int = 0) -> JwtKey:
    """A key that can sign and verify."""
    if algorithm == "HS256":
        return secret_key(f"{SECRET} {number}", kid=kid)
    return pem_key(algorithm, private_pem(algorithm, number), kid=kid)


def public_pem(key: JwtKey) -> str:
    assert isinstance(key.material, RSAKey | ECKey | OKPKey)
    return key.material.as_pem(private=False).decode()


def jwk(key: JwtKey, **members: object) -> dict[str, Any]:
    """The public half of a key as an entry of a JWKS."""
    return {**key.material.as_dict(private=False), **members}


def claims(**changes: object) -> dict[str, object]:
    """Claims of a good token; a change to None leaves the claim out."""
    good: dict[str, object] = {"sub": "ann", "exp": NOW + 60, "gateway": {"subscribe": ["a/#"]}}
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: JwtKey, **changes: object) -> str:
    return sign(json.dumps(claims(**changes)).encode(), key)


def part(value: object) -> str:
    """One part of a token, of anything that is bytes or JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: object, payload: object, *, secret: bytes | None = None) -> str:
    """A token put together by hand, "signed" with HMAC of ``secret``, or not at all."""
    text = f"{part(header)}.{part(payload)}"
    mac = b"" if secret is None else hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{part(mac)}"
