"""``POST`` and ``DELETE /v1/session``: a credential in a cookie, for what can't send a header.

That is ``EventSource`` in a browser. The cookie holds the credential itself, where no script can read it:
nothing is kept here, every node knows it, and it ends when the credential does. It is given only to who has
sent the credential in ``Authorization``, which no page of another origin can have a browser do unasked: so
nobody can be signed in as somebody else (login CSRF). What it is good for then: ``auth/credentials``.

Spec: docs/http.md, "A session for EventSource"; RFC 6265bis, 4.1.
"""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.codecs.query import check_names
from gateway.core.origin import canonical_origin
from gateway.errors import BadCommand, NotFound, TooLarge, Unauthenticated
from gateway.http_api.publishing.receipts import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from gateway.auth.credentials import Credentials
    from gateway.auth.principal import Authenticator

SESSION_PATH: Final = "/v1/session"

_COOKIE_BYTES: Final = 3800
"""Browsers drop a cookie of over 4,096 bytes, name and attributes included, without a word."""

# RFC 6265, 4.1.1, "cookie-octet".
_COOKIE_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")
_NEAR: Final = frozenset({"same-origin", "same-site", "none"})


class SessionRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        authenticator: Authenticator,
        credentials: Credentials | None,
        *,
        clock: Callable[[], float] = time,
    ) -> None:
        """Take what ``authenticator`` vouches for; without ``credentials`` there are no sessions."""
        self._authenticator = authenticator
        self._credentials = credentials
        self._clock = clock

    def routes(self) -> list[Route]:
        """Both, on one path."""
        return [
            Route(SESSION_PATH, self.begin, methods=["POST"]),
            Route(SESSION_PATH, self.end, methods=["DELETE"]),
        ]

    async def begin(self, request: Request) -> Response:
        """Set the cookie; the answer tells whose it is, and until when."""
        credentials = self._configured()
        token = credentials.bearer(request.scope)
        if token is None:
            raise Unauthenticated("a session begins with a credential: Authorization: Bearer")
        credentials.find(request.scope)  # refuses one in the URL as well, as everywhere
        check_names(request.query_params)
        if len(token) > _COOKIE_BYTES:
            raise TooLarge(
                f"a credential in a cookie is at most {_COOKIE_BYTES} bytes, this one has {len(token)}"
            )
        if not _COOKIE_VALUE.fullmatch(token):
            raise BadCommand("the credential holds characters that a cookie can't")
        principal = await self._authenticator.authenticate(token)
        answer = json_answer({"subject": principal.subject, "expires": principal.expires})
        age = None if principal.expires is None else max(0, principal.expires // 1000 - int(self._clock()))
        answer.headers["Set-Cookie"] = _cookie(request, credentials.cookie, token, age)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def end(self, request: Request) -> Response:
        """Remove the cookie, whatever it holds, also where it holds nothing."""
        name = self._configured().cookie
        headers = {"Set-Cookie": _cookie(request, name, "", 0), "Cache-Control": "no-store"}
        return Response(status_code=204, headers=headers)

    def _configured(self) -> Credentials:
        if self._credentials is None or not self._credentials.cookie:
            raise NotFound("there are no sessions: they need auth.mode and auth.cookie")
        return self._credentials


def _cookie(request: Request, name: str, value: str, age: int | None) -> str:
    # The prefix __Host- demands Secure and the path; browsers make an exception of TLS for loopback alone.
    parts = [f"{name}={value}", "Path=/", "HttpOnly", "Secure"]
    if age is not None:
        parts.append(f"Max-Age={age}")
    if _same_site(request):
        parts.append("SameSite=Strict")
    else:
        # From a page of another site no stricter one would ever be sent; it is that page's alone.
        parts += ["SameSite=None", "Partitioned"]
    return "; ".join(parts)


def _same_site(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in _NEAR
    origin = canonical_origin(request.headers.get("origin", ""))
    if origin is None:
        return True
    scheme = origin.partition("://")[0]
    return origin == canonical_origin(f"{scheme}://{request.headers.get('host', '')}")
