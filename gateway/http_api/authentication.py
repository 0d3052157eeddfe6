"""Whose request it is, and whether it may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from gateway.auth.principal import Principal
from gateway.auth.requests import RequestPrincipals
from gateway.errors import NotPermitted

if TYPE_CHECKING:
    from gateway.auth.credentials import Credentials
    from gateway.auth.principal import PromptAuthenticator

ADMINISTRATOR: Final = "gateway.administrator"
"""Where a request's scope says which administrator it is of."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

RequestAuthenticator: TypeAlias = Callable[[Request], Awaitable[Principal]]
"""A request → who sent it; raises ``Unauthenticated`` for a credential that is not right."""


def request_authenticator(
    authenticator: PromptAuthenticator, credentials: Credentials | None
) -> RequestAuthenticator:
    """Return what finds a request's principal by its credential, see ``RequestPrincipals``."""
    return principal_finder(RequestPrincipals(authenticator, credentials))


def principal_finder(principals: RequestPrincipals) -> RequestAuthenticator:
    """Return what asks ``principals``."""

    async def principal_of(request: Request) -> Principal:
        return await principals.require(request.scope)

    return principal_of


def for_administrators(endpoint: Endpoint, administrator: RequestAuthenticator) -> Endpoint:
    """Narrow ``endpoint`` to those whom ``administrator`` lets through."""

    async def checked(request: Request) -> Response:
        await administrator(request)
        return await endpoint(request)

    return checked


async def viewer_of(request: Request, authenticate: RequestAuthenticator) -> Principal:
    """Whose request it is; who was found by ``for_administrators`` isn't looked for once more."""
    administrator: Principal | None = request.scope.get(ADMINISTRATOR)
    return administrator or await authenticate(request)


def administrators(authenticate: RequestAuthenticator) -> RequestAuthenticator:
    """Narrow ``authenticate`` to principals with the grant ``admin``; others get ``NotPermitted``."""

    async def principal_of(request: Request) -> Principal:
        principal = await authenticate(request)
        if not principal.grants.admin:
            raise NotPermitted("this needs the grant admin")
        request.scope[ADMINISTRATOR] = principal
        return principal

    return principal_of
