"""API keys for services: ``gw_<id>_<secret>``, kept as ``<id>:<SHA-256 of the whole key>``.

The secret is 256 random bits, so a plain hash is as good as a slow one: there is nothing to guess. The id is
no secret; it finds the key, and the comparison that follows takes the same time whatever is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.auth.grants import Grants, parse_consume_grant, parse_grant
from gateway.auth.principal import Principal
from gateway.errors import BadFilter, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX: Final = "gw_"

_LONGEST: Final = 256
_HASH: Final = re.compile(r"([a-z2-7]{8,64}):([0-9a-f]{64})", re.ASCII)
_NO_DIGEST: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is accepted.

    Attributes:
        id: what it is found by.
        digest: SHA-256 of the whole key.
        principal: whom it speaks for; the subject is the key's name.
    """

    id: str
    digest: bytes
    principal: Principal

    @classmethod
    def of(cls, name: str, hashed: str, grants: Grants) -> ApiKey:
        """Make the key called ``name`` of ``hashed``, as `new_key` returns it.

        Raises:
            ValueError: ``hashed`` is not of that form, or a grant is not a filter.
        """
        match = _HASH.fullmatch(hashed)
        if match is None:
            raise ValueError(f"API key {name!r}: hash must be what `gateway key create` prints: id:sha256")
        return cls(
            match[1],
            bytes.fromhex(match[2]),
            Principal(name, None, checked_grants(grants, f"API key {name!r}", name)),
        )


class ApiKeys:
    """All accepted keys."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        """Make it.

        Raises:
            ValueError: two keys share an id or a name.
        """
        self._keys: dict[str, ApiKey] = {}
        names = set()
        for key in keys:
            if key.id in self._keys:
                raise ValueError(f"API key {key.principal.subject!r}: another has the same hash")
            if key.principal.subject in names:
                raise ValueError(f"two API keys are called {key.principal.subject!r}")
            names.add(key.principal.subject)
            self._keys[key.id] = key

    def __len__(self) -> int:
        return len(self._keys)

    def verify(self, token: str) -> Principal:
        """Return whom ``token``, which begins with ``gw_``, speaks for.

        Raises:
            Unauthenticated: it is not one of the keys.
        """
        if len(token) > _LONGEST:
            raise Unauthenticated("this is not an API key")
        key = self._keys.get(token.removeprefix(PREFIX).partition("_")[0])
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        # An unknown id is compared as well, with what no key hashes to.
        if not hmac.compare_digest(key.digest if key else _NO_DIGEST, digest) or key is None:
            raise Unauthenticated("the API key is not known")
        return key.principal


def new_key() -> tuple[str, str]:
    """Return a new key, and what the settings keep of it."""
    name = base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower()
    key = f"{PREFIX}{name}_{secrets.token_urlsafe(32)}"
    return key, f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def checked_grants(templates: Grants, owner: str, subject: str | None) -> Grants:
    """Return the grants that ``templates`` of the settings are for ``subject``.

    Raises:
        ValueError: one is not a filter; the text names the ``owner``.
    """
    try:
        for text in (*templates.subscribe, *templates.publish):
            parse_grant(text)
        for text in templates.consume:
            parse_consume_grant(text)
    except BadFilter as exc:
        raise ValueError(f"{owner}: {exc}") from None
    return Grants.for_subject(templates, subject)
