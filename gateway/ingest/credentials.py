"""Whose request it is: the credential in the ``Authorization`` header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import Request

from gateway.auth.principal import Principal
from gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from gateway.auth.principal import Authenticator

RequestAuthenticator: TypeAlias = Callable[[Request], Awaitable[Principal]]
"""A request → who sent it; raises ``Unauthenticated`` for a credential that is not right."""


def bearer(authenticator: Authenticator) -> RequestAuthenticator:
    """Read ``Authorization: Bearer …`` (RFC 6750, 2.1); without it a request is anonymous, if that may be."""

    async def principal_of(request: Request) -> Principal:
        header = request.headers.get("authorization")
        if header is None:
            if authenticator.anonymous is None:
                raise Unauthenticated("an Authorization header is required")
            return authenticator.anonymous
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("the Authorization header must be 'Bearer' and a token")
        return await authenticator.authenticate(token.strip())

    return principal_of
