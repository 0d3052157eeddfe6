"""Whose request it is, and whether it may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import Request

from gateway.auth.principal import Principal
from gateway.errors import NotPermitted, Unauthenticated

if TYPE_CHECKING:
    from gateway.auth.credentials import Credentials
    from gateway.auth.principal import Authenticator

RequestAuthenticator: TypeAlias = Callable[[Request], Awaitable[Principal]]
"""A request → who sent it; raises ``Unauthenticated`` for a credential that is not right."""


def request_authenticator(
    authenticator: Authenticator, credentials: Credentials | None
) -> RequestAuthenticator:
    """Return what finds a request's principal; ``credentials`` None looks at none: everyone is anonymous.

    Without authentication a proxy in front may well have its own ``Authorization``, which is none of ours.
    """

    async def principal_of(request: Request) -> Principal:
        token = credentials.find(request.scope) if credentials is not None else None
        if token is not None:
            return await authenticator.authenticate(token)
        if authenticator.anonymous is None:
            raise Unauthenticated("a credential is required: Authorization: Bearer")
        return authenticator.anonymous

    return principal_of


def administrators(authenticate: RequestAuthenticator) -> RequestAuthenticator:
    """Narrow ``authenticate`` to principals with the grant ``admin``; others get ``NotPermitted``."""

    async def principal_of(request: Request) -> Principal:
        principal = await authenticate(request)
        if not principal.grants.admin:
            raise NotPermitted("this needs the grant admin")
        return principal

    return principal_of
