"""A token (RFC 7519, in the compact form of RFC 7515) → a principal.

Nothing in a token chooses how it is verified: ``kid`` only picks among the keys there are, by exact
comparison, and ``alg`` must be the algorithm of the picked key. ``jku``, ``jwk``, ``x5u`` and ``x5c`` are not
looked at.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, Protocol

from joserfc import jws
from joserfc.errors import JoseError

from gateway.auth.claims import Expected, parse_object, principal_of
from gateway.auth.jwt_keys import ALGORITHMS, JwtKey
from gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from joserfc._rfc7515.model import JWSAlgModel

    from gateway.auth.principal import Principal

MOST_BYTES: Final = 8192
"""Longest token that is looked at."""

_REMEMBERED_HEADERS: Final = 64
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")

_WRONG_SHAPE: Final = "the token is not a JWT in the compact form"
_WRONG_SIGNATURE: Final = "the token's signature is not right"
_NO_KEY: Final = "no key here has the token's 'kid' and algorithm"


class KeySource(Protocol):
    """Keys that belong together, and what their tokens must say of themselves."""

    expected: Expected

    def known(self, kid: str | None, algorithm: str) -> Sequence[JwtKey] | None:
        """As ``find``, where nothing has to be waited for; else None."""
        ...

    async def find(self, kid: str | None, algorithm: str) -> Sequence[JwtKey]:
        """Return the keys for ``algorithm`` that bear ``kid``; without ``kid`` all for the algorithm."""
        ...


class ConfiguredKeys:
    """The keys of the settings."""

    def __init__(self, keys: Iterable[JwtKey], expected: Expected) -> None:
        self.expected = expected
        self._keys: dict[tuple[str | None, str], tuple[JwtKey, ...]] = {}
        for key in keys:
            for kid in {key.kid, None}:
                asked = (kid, key.algorithm)
                self._keys[asked] = (*self._keys.get(asked, ()), key)

    def known(self, kid: str | None, algorithm: str) -> Sequence[JwtKey]:
        """Return the keys in question."""
        return self._keys.get((kid, algorithm), ())

    async def find(self, kid: str | None, algorithm: str) -> Sequence[JwtKey]:
        """Return the keys in question."""
        return self.known(kid, algorithm)


class TokenVerifier:
    """Verifies tokens with the keys of several sources; the first source that knows a key decides."""

    def __init__(self, sources: Sequence[KeySource]) -> None:
        self._sources = sources

    def verify_now(self, token: str, *, now: float) -> Principal | None:
        """As ``verify``; None where keys have to be waited for."""
        header = read_header(token)
        problem = _NO_KEY
        for source in self._sources:
            keys = source.known(header.kid, header.algorithm)
            if keys is None:
                return None
            payload = verified_payload(token, keys)
            if payload is not None:
                return principal_of(payload, source.expected, now=now)
            problem = _WRONG_SIGNATURE if keys else problem
        raise Unauthenticated(problem)

    async def verify(self, token: str, *, now: float) -> Principal:
        """Return whom ``token`` speaks for, ``now`` in seconds since 1970.

        Raises:
            Unauthenticated, TokenExpired: as an `Authenticator` does.
            Unavailable: the keys can't be had now.
        """
        header = read_header(token)
        problem = _NO_KEY
        for source in self._sources:
            keys = await source.find(header.kid, header.algorithm)
            payload = verified_payload(token, keys)
            if payload is not None:
                return principal_of(payload, source.expected, now=now)
            problem = _WRONG_SIGNATURE if keys else problem
        raise Unauthenticated(problem)


@dataclass(frozen=True, slots=True)
class Header:
    """What is read of a token before its signature is: no word of it is trusted."""

    algorithm: str
    kid: str | None


def read_header(token: str) -> Header:
    """Return the header of ``token``.

    Raises:
        Unauthenticated: it is too long, not of the form, or signed by an algorithm that is never accepted.
    """
    if len(token) > MOST_BYTES:
        raise Unauthenticated(f"the token is longer than {MOST_BYTES} bytes")
    if not token.isascii() or token.count(".") != 2:
        raise Unauthenticated(_WRONG_SHAPE)
    return _header_in(token.partition(".")[0])


@lru_cache(_REMEMBERED_HEADERS)  # an issuer's tokens nearly all have the same
def _header_in(part: str) -> Header:
    try:
        text = _decoded(part.encode())
    except ValueError:
        raise Unauthenticated(_WRONG_SHAPE) from None
    header = parse_object(text, "headers")
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise Unauthenticated(f"the token's algorithm must be one of {', '.join(ALGORITHMS)}")
    if kid is not None and not isinstance(kid, str):
        raise Unauthenticated("the token's 'kid' must be a text")
    # RFC 7515, 4.1.11: what "crit" lists must be understood, "b64" (RFC 7797) included; we know none.
    if "crit" in header or "b64" in header:
        raise Unauthenticated("the token has headers that must be understood and are not")
    return Header(algorithm, kid)


def verified_payload(token: str, keys: Iterable[JwtKey]) -> bytes | None:
    """Return the claims of ``token`` if one of ``keys`` signed it, by that key's algorithm; else None."""
    signed, _, signature = token.encode().rpartition(b".")
    for key in keys:
        try:
            if _is_signature(signature, signed, key):
                return _decoded(signed.partition(b".")[2])
        except (JoseError, ValueError):
            continue
    return None


def _is_signature(signature: bytes, signed: bytes, key: JwtKey) -> bool:
    """Whether ``key`` makes this ``signature``, in base64url, of what is ``signed``.

    Raises:
        JoseError, ValueError: it can be none.
    """
    if key.mac is not None:
        # As the library does in the end: asking the key what it is for takes longer than the digest.
        mac = key.mac.copy()
        mac.update(signed)
        return compare_digest(_encoded(mac.digest()), signature)
    # The library's `deserialize_compact` would read the header once more, and look through the key for what
    # it may be used for. The header's algorithm has found this key, which is for that alone.
    verify = jws.JWSRegistry.algorithms[key.algorithm].verify
    return verify(signed, _decoded(signature), key.material)


def _encoded(raw: bytes) -> bytes:
    """The base64url of ``raw``, without padding (RFC 7515, 2)."""
    return b2a_base64(raw, newline=False).translate(_TO_URL, b"=")


def _decoded(text: bytes) -> bytes:
    """Return what ``text`` is the base64url of.

    Raises:
        ValueError: it is none, or writes what another text stands for (RFC 4648, 3.5).
    """
    raw = a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))
    if _encoded(raw) != text:
        raise ValueError("not base64url")
    return raw


def sign(claims: bytes, key: JwtKey) -> str:
    """Return a token with ``claims``, a JSON object; ``key`` must be a private one.

    Raises:
        ValueError: it is a public one.
    """
    header = {"alg": key.algorithm, "typ": "JWT"} | ({"kid": key.kid} if key.kid else {})
    try:
        return jws.serialize_compact(header, claims, key.material, registry=_REGISTRIES[key.algorithm])
    except JoseError:
        raise ValueError("a public key can't sign") from None


def matching(keys: Iterable[JwtKey], kid: str | None, algorithm: str) -> tuple[JwtKey, ...]:
    """Return those of ``keys`` that are for ``algorithm`` and, if there is a ``kid``, bear it exactly."""
    return tuple(key for key in keys if key.algorithm == algorithm and (kid is None or key.kid == kid))


class _OneAlgorithm(jws.JWSRegistry):
    """Knows one algorithm, and says nothing of EdDSA's newer name (RFC 9864) with each token."""

    def check_header(self, header: dict[str, Any]) -> None:
        """Nothing more is read of a header than `read_header` has read."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if self.allowed is None or name not in self.allowed:
            raise JoseError("another algorithm")
        return self.algorithms[name]


_REGISTRIES: Final = {
    # RFC 7515, 4: header parameters that are not understood "MUST be ignored".
    algorithm: _OneAlgorithm(algorithms=[algorithm], strict_check_header=False)
    for algorithm in ALGORITHMS
}
