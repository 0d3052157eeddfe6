"""The authenticator that the settings ask for: API keys, tokens, or everyone."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.auth.api_keys import PREFIX, ApiKey, ApiKeys, checked_grants
from gateway.auth.claims import LEEWAY_SECONDS, Expected
from gateway.auth.grants import NOTHING, Grants
from gateway.auth.jwt import ConfiguredKeys, KeySource, TokenVerifier
from gateway.auth.principal import AcceptEveryone, Principal
from gateway.errors import TokenExpired, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.auth.jwks import Jwks, JwksStatistics
    from gateway.auth.jwt_keys import JwtKey

_REMEMBERED_TOKENS: Final = 1024


@dataclass(frozen=True, slots=True)
class AuthStatistics:
    """How credentials fared since the start.

    Attributes:
        accepted: those that were right.
        refused: those that were not.
        expired: those that were right once; not counted as refused.
        jwks: how it stands with the issuer's keys, where there are any.
    """

    accepted: int
    refused: int
    expired: int
    jwks: JwksStatistics | None


class CredentialAuthenticator:
    """Accepts API keys and tokens.

    A token that was right is remembered by its hash until it expires or the issuer's keys change: with each
    HTTP request the same one comes again, and its signature costs more than the rest of the request's checks.

    Attributes:
        required: whether a client without a credential may do nothing.
        anonymous: what a client without one is, where none is required.
    """

    def __init__(
        self,
        *,
        anonymous: Principal | None,
        api_keys: ApiKeys,
        keys: ConfiguredKeys,
        jwks: Jwks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.required = anonymous is None
        self.anonymous = anonymous
        self._api_keys = api_keys
        self._jwks = jwks
        sources: list[KeySource] = [keys] if jwks is None else [keys, jwks]
        self._tokens = TokenVerifier(sources)
        self._clock = clock
        # A plain dict would search its dead front for the oldest.
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()
        self._revision = 0
        self._accepted = self._refused = self._expired = 0

    def statistics(self) -> AuthStatistics:
        """Return the figures of now."""
        jwks = None if self._jwks is None else self._jwks.statistics()
        return AuthStatistics(self._accepted, self._refused, self._expired, jwks)

    async def run(self) -> None:
        """Keep the issuer's keys fresh until cancelled; ends at once where there is no issuer."""
        if self._jwks is not None:
            await self._jwks.run()

    async def authenticate(self, token: str) -> Principal:
        """Return whom ``token`` speaks for.

        Raises:
            Unauthenticated: it is not right.
            TokenExpired: it was right once.
            Unavailable: the issuer's keys can't be had now.
        """
        principal = self.recognise(token)
        if principal is None:
            try:
                principal = await self._tokens.verify(token, now=self._clock())
            except Unauthenticated as error:
                self._count(error)
                raise
            self._accepted += 1
            self._remember(_digest(token), principal)
        return principal

    def known(self, token: str) -> Principal | None:
        """See ``Authenticator``: API keys, and tokens that were right and are not to be verified anew."""
        if token.startswith(PREFIX):
            try:
                return self._api_keys.verify(token)
            except Unauthenticated:
                return None
        if self._jwks is not None and self._jwks.revision != self._revision:
            return None
        known = self._verified.get(_digest(token))
        return known if known is not None and _lasts(known, self._clock()) else None

    def reused(self) -> None:
        """See ``Authenticator``."""
        self._accepted += 1

    def recognise(self, token: str) -> Principal | None:
        """As ``authenticate``; None where the issuer may have to be asked for its keys."""
        try:
            principal = self._api_keys.verify(token) if token.startswith(PREFIX) else self._by_token(token)
        except Unauthenticated as error:
            self._count(error)
            raise
        self._accepted += principal is not None
        return principal

    def _by_token(self, token: str) -> Principal | None:
        now = self._clock()
        digest = _digest(token)
        if self._jwks is not None and self._jwks.revision != self._revision:
            self._revision = self._jwks.revision
            self._verified.clear()
        known = self._verified.get(digest)
        if known is not None:
            if _lasts(known, now):
                return known
            del self._verified[digest]
            raise TokenExpired("the token has expired")
        principal = self._tokens.verify_now(token, now=now)
        if principal is not None:
            self._remember(digest, principal)
        return principal

    def _remember(self, digest: bytes, principal: Principal) -> None:
        if len(self._verified) >= _REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        self._verified[digest] = principal

    def _count(self, error: Unauthenticated) -> None:
        if isinstance(error, TokenExpired):
            self._expired += 1
        else:
            self._refused += 1


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _lasts(principal: Principal, now: float) -> bool:
    return principal.expires is not None and now * 1000 < principal.expires + LEEWAY_SECONDS * 1000


def build(
    mode: Literal["none", "required", "optional"],
    *,
    keys: Iterable[JwtKey] = (),
    expected: Expected = Expected(),  # noqa: B008 - frozen
    jwks: Jwks | None = None,
    api_keys: Iterable[ApiKey] = (),
    anonymous: Grants = NOTHING,
    wall_clock: Callable[[], float] = time.time,
) -> AcceptEveryone | CredentialAuthenticator:
    """Build the authenticator for one ``mode``; start its `run` with the node.

    Args:
        mode: ``none`` lets everyone do everything, whatever else is given.
        keys: the keys of the settings, for tokens that are as ``expected``.
        expected: the issuer and audience of tokens made with ``keys``.
        jwks: the keys of an issuer.
        api_keys: keys of services.
        anonymous: grants of those without a credential in mode ``optional``.
        wall_clock: seconds since 1970, by which tokens end.

    Raises:
        ValueError: two keys share what tells them apart, or a grant is no filter.
    """
    if mode == "none":
        return AcceptEveryone()
    grants = checked_grants(anonymous, "the grants of anonymous clients", None)
    return CredentialAuthenticator(
        anonymous=Principal(grants=grants) if mode == "optional" else None,
        api_keys=ApiKeys(api_keys),
        keys=ConfiguredKeys(keys, expected),
        jwks=jwks,
        clock=wall_clock,
    )
