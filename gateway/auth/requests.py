"""Whose request it is: where it comes from, and for whom it speaks. The one answer for every door.

Proxies that are trusted have been asked before (``transports/server/proxies``): what stands in the scope's
``client`` is the client.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from gateway.auth.principal import Principal
from gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.auth.credentials import Credentials
    from gateway.auth.principal import PromptAuthenticator


Inquiry: TypeAlias = "Callable[[], Awaitable[Principal]]"
"""Finds out for whom a request speaks."""


class Peer(NamedTuple):
    """Where a request comes from.

    Attributes:
        host: the address; empty where it is unknown, a socket in the file system for example.
        text: address and port, for logs and administrators.
    """

    host: str
    text: str


def peer_of(scope: Mapping[str, Any]) -> Peer:
    """Where the request of an ASGI ``http`` or ``websocket`` scope comes from."""
    client = scope.get("client")
    return Peer("", "unknown") if client is None else Peer(client[0], f"{client[0]}:{client[1]}")


class RequestPrincipals:
    """Finds for whom a request speaks."""

    def __init__(self, authenticator: PromptAuthenticator, credentials: Credentials | None) -> None:
        """Look for ``credentials``; None looks at none: everyone is anonymous.

        Without authentication a proxy in front may have its own ``Authorization``, which is none of ours.
        """
        self._authenticator = authenticator
        self._credentials = credentials

    def recognise(self, scope: Mapping[str, Any]) -> Principal | Inquiry | None:
        """Return for whom the request speaks, or what finds it out; None where nothing in it says so.

        The inquiry raises ``GatewayError`` where the credential is not right.

        Raises:
            GatewayError: it is not right, or may not be where it is; see ``Credentials.find``.
        """
        token = None if self._credentials is None else self._credentials.find(scope)
        if token is None:
            return None
        return self._authenticator.recognise(token) or partial(self._authenticator.authenticate, token)

    async def find(self, scope: Mapping[str, Any]) -> Principal | None:
        """Return for whom the request's credential speaks; None where there is none.

        Raises:
            GatewayError: the credential is not right, or may not be where it is.
        """
        found = self.recognise(scope)
        return found if found is None or isinstance(found, Principal) else await found()

    async def require(self, scope: Mapping[str, Any], *, ways: str = "Authorization: Bearer") -> Principal:
        """As ``find``; without a credential it is an anonymous client, where there may be any.

        Raises:
            Unauthenticated: a credential is required; the text says in which ``ways`` it may come.
        """
        principal = await self.find(scope) or self._authenticator.anonymous
        if principal is None:
            raise Unauthenticated(f"a credential is required: {ways}")
        return principal
