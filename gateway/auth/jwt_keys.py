"""Keys that tokens are verified with: each fixes its one algorithm, so a token can't choose another.

That is what stops the classic forgeries: ``alg=none``, and HS256 "signed" with the RSA key everybody knows.
"""

from __future__ import annotations

import hmac
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Algorithm: TypeAlias = Literal["HS256", "RS256", "ES256", "EdDSA"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)

# RFC 7518, 3.2: "A key of the same size as the hash output … or larger MUST be used with this algorithm."
_SHORTEST_SECRET: Final = 32
# RFC 7518, 3.3: "A key of size 2048 bits or larger MUST be used with these algorithms."
_SHORTEST_RSA: Final = 2048
_LONGEST_RSA: Final = 8192
LONGEST_KID: Final = 256
"""A key with a longer name is none of ours."""

_KINDS: Final[Mapping[Algorithm, type[RSAKey | ECKey | OKPKey]]] = {
    "RS256": RSAKey,
    "ES256": ECKey,
    "EdDSA": OKPKey,
}
_CURVES: Final = {"ES256": "P-256", "EdDSA": "Ed25519"}
_BY_TYPE: Final[Mapping[str, Algorithm]] = {"RSA ": "RS256", "EC P-256": "ES256", "OKP Ed25519": "EdDSA"}


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A key with the one algorithm it is for.

    Attributes:
        algorithm: what a token verified with it must be signed by.
        kid: the name tokens must bear to mean this key; a key without one is only tried on tokens without.
        material: the key itself; private where it can sign.
        mac: of HS256 alone: begun with the key, to be copied for each token.
    """

    algorithm: Algorithm
    kid: str | None
    material: Key = field(repr=False)
    mac: hmac.HMAC | None = field(default=None, repr=False, compare=False)


def secret_key(secret: str, *, kid: str | None = None) -> JwtKey:
    """Make an HS256 key of ``secret``.

    Raises:
        ValueError: it is under 32 bytes, or a public key, which is no secret.
    """
    raw = secret.encode()
    if len(raw) < _SHORTEST_SECRET:
        raise ValueError(
            f"a secret for HS256 must have at least {_SHORTEST_SECRET} bytes, this has {len(raw)}"
        )
    with _strictly("a secret for HS256 must not be a key of another kind"):
        material = OctKey.import_key(raw)
    return JwtKey("HS256", _checked_kid(kid), material, hmac.new(raw, digestmod="sha256"))


def pem_key(algorithm: Algorithm, pem: str, *, kid: str | None = None) -> JwtKey:
    """Make a key for RS256, ES256 or EdDSA of ``pem``, a public key or an unencrypted private one.

    Raises:
        ValueError: it is no such key, or an RSA key under 2048 bits.
    """
    kind = _KINDS.get(algorithm)
    if kind is None:
        raise ValueError(f"{algorithm} has a secret, not a PEM")
    with _strictly(f"not a PEM of a key for {algorithm}, unencrypted"):
        key = kind.import_key(pem)
    return JwtKey(algorithm, _checked_kid(kid), _suited(algorithm, key))


def jwk_key(jwk: Mapping[str, object]) -> JwtKey | None:
    """Make a key of one entry of a JWKS, or return None: it is not for us.

    Passed over are keys for encryption, of another algorithm or curve, symmetric ones (a published secret is
    none), and broken ones: one bad entry must not take the others away. RFC 7517, 5: "Implementations SHOULD
    ignore JWKs within a JWK Set that use "kty" values that are not understood".
    """
    algorithm = _BY_TYPE.get(f"{jwk.get('kty')} {jwk.get('crv', '')}")
    operations = jwk.get("key_ops", ["verify"])
    kid = jwk.get("kid")
    if (
        algorithm is None
        or jwk.get("alg", algorithm) != algorithm
        or jwk.get("use", "sig") != "sig"
        or not (isinstance(operations, list) and "verify" in operations)
        or not (kid is None or isinstance(kid, str))
    ):
        return None
    public = {name: value for name, value in jwk.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        with _strictly("not a key"):
            key = _KINDS[algorithm].import_key(cast("dict[str, str | list[str]]", public))
        return JwtKey(algorithm, _checked_kid(kid), _suited(algorithm, key))
    except ValueError:
        return None


def _suited(algorithm: Algorithm, key: RSAKey | ECKey | OKPKey) -> Key:
    if isinstance(key, RSAKey):
        size = key.public_key.key_size
        if not _SHORTEST_RSA <= size <= _LONGEST_RSA:
            raise ValueError(f"an RSA key must have {_SHORTEST_RSA} to {_LONGEST_RSA} bits, this has {size}")
    elif key.curve_name != _CURVES[algorithm]:
        raise ValueError(f"{algorithm} needs a key on {_CURVES[algorithm]}, this is on {key.curve_name}")
    return key


def _checked_kid(kid: str | None) -> str | None:
    if kid is not None and not 0 < len(kid) <= LONGEST_KID:
        raise ValueError(f"a kid must have 1 to {LONGEST_KID} characters")
    return kid


@contextmanager
def _strictly(rule: str) -> Iterator[None]:
    """Turn all that the JOSE library raises about a key into a ValueError that says ``rule``, not the key."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)
            # RSA keys that are too short are refused by their size, afterwards.
            warnings.filterwarnings("ignore", "Key size", SecurityWarning)
            yield
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError, OverflowError):
        raise ValueError(rule) from None
