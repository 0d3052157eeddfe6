"""Who is connected, and how a credential becomes that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is connected.

    Attributes:
        subject: a name that authentication vouches for; None for an anonymous client.
        expires: milliseconds since 1970 from which on the credential is void, or None.
    """

    subject: str | None = None
    expires: int | None = None


ANONYMOUS = Principal()


class Authenticator(Protocol):
    """Turns a credential into a principal."""

    @property
    def required(self) -> bool:
        """Whether a client without a credential may do nothing."""
        ...

    async def authenticate(self, token: str) -> Principal:
        """Return whom ``token`` speaks for.

        Raises:
            Unauthenticated: it is not right, or not any more.
        """
        ...


class AcceptEveryone:
    """Authentication mode ``none``: every token is right and everybody is anonymous."""

    required = False

    async def authenticate(self, token: str) -> Principal:  # noqa: ARG002 - no token is looked at
        """Return the anonymous principal."""
        return ANONYMOUS
