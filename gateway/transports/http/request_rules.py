"""What a request's head must be like, whichever server read it, and in what form the gateway looks at it.

Where a head can be read in two ways, a proxy in front and the gateway may decide on two different requests.
So what HTTP says of single fields, of ``Host`` and of the body's length is checked in this one place, for
requests and WebSocket handshakes alike: by our own protocol class before anything is made of a head, and by
``RequestRules`` under any other ASGI server, as far as ASGI tells.

Spec: RFC 9110, 5.3, 5.5 and 7.2; RFC 9112, 3.2 and 6.1.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.transports.http.denial import deny

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

Field: TypeAlias = tuple[bytes, bytes]
Fields: TypeAlias = "Sequence[Field]"

SINGLE: Final = frozenset(
    b"""
    access-control-request-method authorization content-length content-type date from gateway-key host
    idempotency-key if-modified-since if-unmodified-since last-event-id max-forwards origin
    proxy-authorization range referer sec-fetch-dest sec-fetch-mode sec-fetch-site sec-websocket-key
    sec-websocket-version transfer-encoding user-agent
    """.split()
)
"""Fields that are no lists: of two with such a name nobody can say which one counts."""

_WHITE: Final = b" \t"
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_VERSIONS: Final = frozenset({"1.0", "1.1"})


class RequestRefused(Exception):  # noqa: N818 - an answer to a client, no fault of ours
    """The request breaks a rule of HTTP's or of the handshake's.

    Attributes:
        status: of the HTTP answer.
        fields: header fields that belong to the answer.
    """

    def __init__(self, status: HTTPStatus, reason: str = "", fields: Fields = ()) -> None:
        super().__init__(reason or status.phrase)
        self.status = status
        self.fields = fields


def check_fields(version: str, fields: list[Field]) -> None:
    """Normalise a head's fields in their place, and refuse what could be read in two ways.

    Args:
        version: of HTTP, "1.1" for example.
        fields: names in lower case. White space around values, which is no part of them, is taken away.

    Raises:
        RequestRefused: a rule of HTTP's is broken.
    """
    for index, (name, value) in enumerate(fields):
        bare = value.strip(_WHITE)
        if bare is not value:
            fields[index] = name, bare
    found = dict(fields)
    if len(found) != len(fields):
        refuse_repeated(fields)
    host = found.get(b"host")
    if host is None:
        if version == "1.1":
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "Host is missing")
    elif not _HOST.fullmatch(host):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Host is no host and port")
    if b"transfer-encoding" in found:
        _check_coding(version, found[b"transfer-encoding"])


def read_target(method: bytes, target: bytes, fields: list[Field]) -> bytes:
    """Return a request's target as path and query.

    A target in absolute form says by itself which host is meant: its ``Host`` is put into ``fields``.

    Raises:
        RequestRefused: it is of none of the forms that the gateway serves.
    """
    if not target.isascii() or b"#" in target:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request's target holds what none may hold")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not absolute[1]:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request's target is no path")
    # RFC 9112, 3.2.2: "the origin server MUST ignore the received Host header field (if any) and instead
    # replace it with the host information of the request-target".
    fields[:] = [(name, absolute[1] if name == b"host" else value) for name, value in fields]
    path = absolute[2]
    return path if path.startswith(b"/") else b"/" + path


def check_version(version: str) -> None:
    """Raise ``RequestRefused`` unless it is a version whose rules are known here."""
    if version not in _VERSIONS:
        raise RequestRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)


def refuse_repeated(fields: Fields) -> None:
    """Raise ``RequestRefused`` where a field that is no list comes twice."""
    seen = set()
    for name, _ in fields:
        if name in seen and name in SINGLE:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, f"{name.decode('latin-1')} comes twice")
        seen.add(name)


def _check_coding(version: str, value: bytes) -> None:
    if version == "1.0":
        # RFC 9112, 6.1: such a message is to be treated "as if the framing is faulty".
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "HTTP/1.0 knows no Transfer-Encoding")
    *others, last = value.lower().split(b",")
    if last.strip() != b"chunked":  # RFC 9112, 6.3: where that body ends "cannot be determined reliably"
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Transfer-Encoding must end with chunked")
    if others:
        raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "Transfer-Encoding must be chunked alone")


class RequestRules:
    """ASGI middleware that holds the rules where another server has read the head."""

    def __init__(self, app: ASGIApp, refuse: Callable[[int, str], Response]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] in {"http", "websocket"}:
            # A copy: there are servers that go on adding to their list what comes behind a body.
            fields = scope["headers"] = [(name, value) for name, value in scope["headers"]]
            try:
                check_fields(scope.get("http_version", "1.1"), fields)
            except RequestRefused as refused:
                await deny(self._refuse(refused.status, str(refused)), scope, receive, send)
                return
        await self._app(scope, receive, send)
