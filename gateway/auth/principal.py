"""Who is connected, and how a credential becomes that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.auth.grants import EVERYTHING, Grants
from gateway.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is connected.

    Attributes:
        subject: a name that authentication vouches for; None for an anonymous client.
        expires: milliseconds since 1970 from which on the credential is void, or None.
        grants: what it may do.
    """

    subject: str | None = None
    expires: int | None = None
    grants: Grants = EVERYTHING


ANONYMOUS = Principal()
"""A client without a credential where none is asked for: it may do everything."""


class Authenticator(Protocol):
    """Turns a credential into a principal."""

    @property
    def required(self) -> bool:
        """Whether a client without a credential may do nothing."""
        ...

    @property
    def anonymous(self) -> Principal | None:
        """What a client without a credential is; None where a credential is required."""
        ...

    async def authenticate(self, token: str) -> Principal:
        """Return whom ``token`` speaks for.

        Raises:
            Unauthenticated: it is not right; the text says why, and holds nothing of the token.
            TokenExpired: it was right once.
            Unavailable: it can't be told now; the same again later may be right.
        """
        ...

    def known(self, token: str) -> Principal | None:
        """Return whom ``token`` speaks for where that is known already; None if ``authenticate`` has to tell.

        It has no effect: who goes by the answer says so to ``reused``.
        """
        ...

    def reused(self) -> None:
        """What ``known`` answered was taken for a credential that is right."""
        ...


class PromptAuthenticator(Authenticator, Protocol):
    """One that nearly always knows at once."""

    def recognise(self, token: str) -> Principal | None:
        """As ``authenticate``, where nothing has to be waited for; else None."""
        ...


class RefuseTokens:
    """Clients are known by their requests alone, as an application around the gateway knows them."""

    required = True
    anonymous = None

    async def authenticate(self, token: str) -> Principal:
        """Refuse it."""
        return self.recognise(token)

    def recognise(self, token: str) -> Principal:  # noqa: ARG002 - no token is looked at
        """Refuse it."""
        raise Unauthenticated("no token is taken here: the application says whose request it is")

    def known(self, token: str) -> None:
        """None is."""

    def reused(self) -> None:
        """Never."""

    async def run(self) -> None:
        """Do nothing, as ``AcceptEveryone``."""


class AcceptEveryone:
    """Authentication mode ``none``: every token is right and everybody is anonymous."""

    required = False
    anonymous = ANONYMOUS

    async def authenticate(self, token: str) -> Principal:  # noqa: ARG002 - no token is looked at
        """Return the anonymous principal."""
        return ANONYMOUS

    def known(self, token: str) -> Principal:  # noqa: ARG002 - as above
        """Return the anonymous principal."""
        return ANONYMOUS

    def reused(self) -> None:
        """Nothing is counted."""

    def recognise(self, token: str) -> Principal:  # noqa: ARG002 - as above
        """Return the anonymous principal."""
        return ANONYMOUS

    async def run(self) -> None:
        """Do nothing: there are no keys to keep fresh."""
