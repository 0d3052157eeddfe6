"""The credential that a request carries: read from its head, or refused for where it is.

One reading for every door, HTTP and the WebSocket handshake alike. In order: ``Authorization: Bearer``
(RFC 6750, 2.1), a cookie, a query parameter where that is allowed.

A browser adds cookies to requests that any page makes (cross-site request forgery, cross-site WebSocket
hijacking). So a cookie counts only together with an ``Origin`` that is the gateway's own or allowed, or with
``Sec-Fetch-Site: same-origin``, neither of which a page can forge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from gateway.errors import BadCommand, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PARAMETER: Final = "access_token"  # RFC 6750, 2.3
_REFUSED: Final = frozenset({_PARAMETER, "token"})
_SAME_ORIGIN: Final = b"same-origin"
_LOOKED_AT: Final = frozenset({b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-site"})
_LENGTHS: Final = frozenset(map(len, _LOOKED_AT))
_BEARER: Final = b"bearer"
_NO_BEARER: Final = "the Authorization header must be 'Bearer' and a token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where credentials may be.

    Attributes:
        trusted_origin: whether a request with this ``Host`` and ``Origin`` comes from a page that is allowed.
        cookie: the cookie's name; empty for none.
        token_in_url: whether ``?access_token=`` counts; else it is refused, and ``?token=`` with it.
        check_anonymous: raises where a request to this ``Host`` may not do without one; None: it may.
    """

    trusted_origin: Callable[[str, str], bool]
    cookie: str = ""
    token_in_url: bool = False
    check_anonymous: Callable[[str], None] | None = None

    def find(self, scope: Mapping[str, Any]) -> str | None:
        """Return the token of an ASGI ``http`` or ``websocket`` scope, or None if it carries none.

        Raises:
            Unauthenticated: ``Authorization`` is not ``Bearer`` and a token, and nothing else is there.
            BadCommand: a token is in the URL, where logs and histories keep it, and that is not allowed.
            NotPermitted: there is no credential, and for this ``Host`` one is needed.
        """
        headers = _headers(scope["headers"])
        query = scope.get("query_string")
        in_url = self._from_url(query) if query else None
        authorization = headers.get(b"authorization")
        if authorization is not None and _scheme(authorization) == _BEARER:
            return _bearer(authorization)
        # Another scheme is a proxy's, which has its own users. Alone it is taken for a mistake.
        token = self._from_cookie(headers) or in_url
        if token is None:
            if authorization is not None:
                raise Unauthenticated(_NO_BEARER)
            if self.check_anonymous is not None:
                self.check_anonymous(headers.get(b"host", b"").decode("latin-1"))
        return token

    def bearer(self, scope: Mapping[str, Any]) -> str | None:
        """Return the token of ``Authorization: Bearer``, wherever else there may be one; None without it.

        Raises:
            Unauthenticated: there is no token in it.
        """
        authorization = _headers(scope["headers"]).get(b"authorization")
        if authorization is None or _scheme(authorization) != _BEARER:
            return None
        return _bearer(authorization)

    def _from_url(self, query: bytes) -> str | None:
        # A name may be percent-encoded, in part or as a whole.
        if b"token" not in query and b"%" not in query:
            return None
        parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        if not self.token_in_url and any(name in _REFUSED for name, _ in parameters):
            raise BadCommand(
                "a token in a URL ends up in logs: send it as 'Authorization: Bearer' or as the first auth "
                "frame (auth.token_in_url allows it)"
            )
        tokens = [value for name, value in parameters if name == _PARAMETER]
        if len(tokens) > 1:
            raise BadCommand(f"there must be one parameter {_PARAMETER!r}")
        return tokens[0] or None if tokens else None

    def _from_cookie(self, headers: Mapping[bytes, bytes]) -> str | None:
        if not self.cookie or b"cookie" not in headers:
            return None
        cookies = headers[b"cookie"].decode("latin-1")
        if self.cookie not in cookies:
            return None
        origin = headers.get(b"origin")
        if origin is not None:
            host = headers.get(b"host", b"")
            if not self.trusted_origin(host.decode("latin-1"), origin.decode("latin-1")):
                return None
        elif headers.get(b"sec-fetch-site") != _SAME_ORIGIN:
            return None
        return _cookie(cookies, self.cookie)


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        # Servers need not have them in lower case; most are of another length, which is found out faster.
        if len(name) not in _LENGTHS or (name := name.lower()) not in _LOOKED_AT:
            continue
        if name not in headers:
            headers[name] = value
        elif name == b"authorization":
            raise Unauthenticated("there must be one Authorization header")
        elif name == b"cookie":
            headers[name] += b"; " + value
    return headers


def _scheme(authorization: bytes) -> bytes:
    return authorization.partition(b" ")[0].lower()


def _bearer(authorization: bytes) -> str:
    token = authorization.decode("latin-1").partition(" ")[2].strip()
    if not token:
        raise Unauthenticated(_NO_BEARER)
    return token


def _cookie(header: str, name: str) -> str | None:
    values = [
        value.strip().strip('"')
        for part in header.split(";")
        for key, separator, value in [part.partition("=")]
        if separator and key.strip() == name
    ]
    # Two of one name: one was planted, and there is no telling which.
    return values[0] if len(values) == 1 and values[0] else None
