"""The claims of a verified token → a principal, or the reason why not.

Every claim is typed strictly: a token that says something we can't read as meant is refused, since guessing
would grant what nobody granted. Spec: RFC 7519, 4.1; docs/security.md, "Tokens".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.auth.grants import NOTHING, SUBJECT, Grants, parse_consume_grant, parse_grant
from gateway.auth.principal import Principal
from gateway.core.cluster.block_list import LONGEST_SUBJECT
from gateway.errors import BadFilter, TokenExpired, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEEWAY_SECONDS: Final = 5
"""How far the issuer's clock may be from ours."""

_MOST_FILTERS: Final = 100
_SUBJECT: Final = SUBJECT.encode()
_REMEMBERED_CLAIMS: Final = 256
_LONGEST_REMEMBERED: Final = 1024
"""Bytes of a claim with grants that is remembered: all together less than 1 MB."""
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999
_KINDS: Final[Mapping[str, Callable[[str], str]]] = {
    "subscribe": parse_grant,
    "publish": parse_grant,
    "consume": parse_consume_grant,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the tokens of one set of keys must say of themselves; None is not checked."""

    issuer: str | None = None
    audience: str | None = None


def principal_of(payload: bytes, expected: Expected, *, now: float) -> Principal:
    """Return whom a token with this ``payload`` speaks for, ``now`` in seconds since 1970.

    Raises:
        TokenExpired: it was right once.
        Unauthenticated: a claim is missing, of a wrong type, or not what is expected.
    """
    claims = parse_object(payload, "claims")
    expires = _check_times(claims, now)
    _check_addressee(claims, expected)
    subject = claims.get("sub")
    if subject is not None and not isinstance(subject, str):
        raise Unauthenticated("the token's 'sub' must be a text")
    if subject is not None and len(subject) > LONGEST_SUBJECT:
        # Who can't be named can't be disconnected or blocked either.
        raise Unauthenticated(f"the token's 'sub' must have no more than {LONGEST_SUBJECT:,} characters")
    return Principal(subject, int(expires * 1000), _grants_of(claims.get("gateway"), subject))


def parse_object(text: bytes, part: str) -> dict[str, Any]:
    """Return the JSON object in ``text``, the ``part`` of a token.

    Raises:
        Unauthenticated: it is not one.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise Unauthenticated(f"the token's {part} are not a JSON object")
    return value


def _check_times(claims: Mapping[str, Any], now: float) -> float:
    expires: float | None = claims.get("exp")
    if expires is None:
        raise Unauthenticated("the token has no 'exp': one that never ends is not accepted")
    _check_time(expires, "exp")
    for name in ("nbf", "iat"):
        begins = claims.get(name)
        if begins is not None:
            _check_time(begins, name)
            if begins > now + LEEWAY_SECONDS:
                raise Unauthenticated(f"the token's {name!r} is in the future: it is not valid yet")
    if now >= expires + LEEWAY_SECONDS:
        raise TokenExpired("the token has expired")
    return expires


def _check_time(value: object, name: str) -> None:
    kind = type(value)  # of a subclass, bool, there is none
    if not ((kind is int or kind is float) and 0 <= value <= _LAST_SECOND):  # type: ignore[operator]  # see above
        raise Unauthenticated(f"the token's {name!r} must be a number of seconds since 1970")


def _check_addressee(claims: Mapping[str, Any], expected: Expected) -> None:
    if expected.issuer is not None and claims.get("iss") != expected.issuer:
        raise Unauthenticated("the token is from another issuer")
    if expected.audience is None:
        return
    audience = claims.get("aud")
    # RFC 7519, 4.1.3: "In the special case when the JWT has one audience … MAY be a single … string".
    if expected.audience not in (audience if isinstance(audience, list) else [audience]):
        raise Unauthenticated("the token is for another audience")


def _grants_of(claim: object, subject: str | None) -> Grants:
    if claim is None:
        return NOTHING
    text = orjson.dumps(claim)
    templates, personal = _read(text) if len(text) > _LONGEST_REMEMBERED else _remembered(text)
    return Grants.for_subject(templates, subject) if personal else templates


def _read(text: bytes) -> tuple[Grants, bool]:
    """The grants that a claim gives, and whether any names its subject."""
    return _templates(orjson.loads(text)), _SUBJECT in text


# An issuer's tokens nearly all have the same, or one of a few.
_remembered = lru_cache(_REMEMBERED_CLAIMS)(_read)


def _templates(claim: object) -> Grants:
    if not isinstance(claim, dict):
        raise Unauthenticated("the token's 'gateway' must be an object")
    if unknown := sorted(set(claim) - {*_KINDS, "admin"}):
        raise Unauthenticated(f"the token's 'gateway' has {len(unknown)} unknown members")
    admin = claim.get("admin", False)
    if not isinstance(admin, bool):
        raise Unauthenticated("the token's 'gateway.admin' must be true or false")
    subscribe, publish, consume = (_filters(claim, kind) for kind in _KINDS)
    return Grants(subscribe, publish, consume, admin)


def _filters(claim: Mapping[str, object], kind: str) -> tuple[str, ...]:
    filters = claim.get(kind, [])
    if not isinstance(filters, list) or any(type(text) is not str for text in filters):
        raise Unauthenticated(f"the token's 'gateway.{kind}' must be a list of texts")
    if len(filters) > _MOST_FILTERS:
        raise Unauthenticated(f"the token's 'gateway.{kind}' must have at most {_MOST_FILTERS} filters")
    parse = _KINDS[kind]
    try:
        return tuple([parse(text) for text in filters])
    except BadFilter:
        # Its message would repeat the filter, and nothing of a token is repeated.
        raise Unauthenticated(f"the token's 'gateway.{kind}' holds what is not a filter") from None
