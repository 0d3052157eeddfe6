"""The part of the wiring that turns ``[auth]`` of the settings into keys and an authenticator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from gateway.auth.api_keys import ApiKey
from gateway.auth.authenticators import build
from gateway.auth.claims import Expected
from gateway.auth.grants import Grants
from gateway.auth.jwt_keys import JwtKey, pem_key, secret_key
from gateway.auth.principal import RefuseTokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.authenticators import CredentialAuthenticator
    from gateway.auth.credentials import Credentials
    from gateway.auth.jwks import Jwks
    from gateway.auth.principal import AcceptEveryone
    from gateway.auth.requests import RequestPrincipals
    from gateway.engine.administration import GuardedAuthenticator
    from gateway.settings import Auth


FindPrincipals: TypeAlias = "Callable[[GuardedAuthenticator, Credentials | None], RequestPrincipals]"
"""Makes what says for whom requests speak, of what knows credentials and where these may be."""


def build_authenticator(
    auth: Auth, *, known_otherwise: bool = False, wall_clock: Callable[[], float] = time.time
) -> AcceptEveryone | RefuseTokens | CredentialAuthenticator:
    """Build what decides whom a credential speaks for; start its ``run`` with the node.

    ``known_otherwise``: somebody else says who clients are, so without keys nobody is let in by a token.
    ``wall_clock``: seconds since 1970, by which tokens end.

    Raises:
        ValueError: a key is too short or not of its algorithm, a grant is no filter, or two API keys clash.
    """
    if known_otherwise and auth.mode == "none":
        return RefuseTokens()
    return build(
        auth.mode,
        keys=jwt_keys(auth),
        expected=Expected(auth.issuer, auth.audience),
        jwks=_jwks(auth),
        api_keys=[
            ApiKey.of(key.name, key.hash, Grants(key.subscribe, key.publish, key.consume, key.admin))
            for key in auth.api_keys
        ],
        anonymous=Grants(auth.anonymous.subscribe, auth.anonymous.publish, auth.anonymous.consume),
        wall_clock=wall_clock,
    )


def jwt_keys(auth: Auth) -> list[JwtKey]:
    """Make the keys of the settings that tokens are verified with, and that ``gateway token`` may sign with.

    Raises:
        ValueError: one is too short, or not of its algorithm.
    """
    keys = []
    for number, key in enumerate(auth.keys):
        try:
            if key.secret is not None:
                keys.append(secret_key(key.secret.get_secret_value(), kid=key.kid))
            elif pem := key.private_key or key.public_key:
                keys.append(pem_key(key.algorithm, pem.get_secret_value(), kid=key.kid))
        except ValueError as exc:
            raise ValueError(f"auth.keys[{number}]: {exc}") from None
    return keys


def _jwks(auth: Auth) -> Jwks | None:
    if auth.jwks is None:
        return None
    from gateway.auth.jwks import Jwks  # noqa: PLC0415 - its HTTP client takes a tenth of a second

    expected = Expected(auth.jwks.issuer or auth.issuer, auth.jwks.audience or auth.audience)
    return Jwks(auth.jwks.url, expected)
