"""The server's side of a WebSocket's opening handshake: header fields in, the answer's bytes out.

An HTTP parser has read the head already, so nothing is parsed here a second time: what decides is looked up
in the fields, and the 101 is a few bytes around the key's digest.

Spec: RFC 6455, 4.2.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from functools import lru_cache
from hashlib import sha1
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from gateway.transports.http.request_rules import RequestRefused, refuse_repeated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.transports.http.request_rules import Fields

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_VERSION = b"13"
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
_NO_NAME = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]|^$")
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Handshake(NamedTuple):
    """What a client asks for.

    Attributes:
        key: ``Sec-WebSocket-Key``, as it was sent.
        subprotocols: those offered, the client's favourite first.
        extensions: ``Sec-WebSocket-Extensions``, empty where there is none.
    """

    key: bytes
    subprotocols: list[str]
    extensions: bytes


def asks_for_websocket(fields: Fields) -> bool:
    """Whether a request with these header fields, their names in lower case, is for a WebSocket at all."""
    upgrade = connection = b""
    for name, value in fields:
        if name == b"upgrade":
            upgrade += b"," * bool(upgrade) + value
        elif name == b"connection":
            connection += b"," + value
    if upgrade.strip().lower() != b"websocket":
        return False
    return any(token.strip() == b"upgrade" for token in connection.lower().split(b","))


def read_handshake(method: bytes, version: str, target: bytes, fields: Fields) -> Handshake:
    """Check a request that asks for a WebSocket (RFC 6455, 4.2.1), and return what it asks for.

    Args:
        method: of the request.
        version: of HTTP, "1.1" for example.
        target: of the request, with its query.
        fields: its header fields, their names in lower case.

    Raises:
        RequestRefused: a rule of the handshake is broken; 426 where it is the protocol's version.
    """
    found = dict(fields)
    if len(found) != len(fields):
        refuse_repeated(fields)
        found = _joined(fields)
    if method != b"GET" or version != "1.1" or not target.isascii():
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "a WebSocket handshake is a GET of HTTP/1.1")
    if b"transfer-encoding" in found or found.get(b"content-length", b"0").strip(b"0"):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "a WebSocket handshake has no body")
    if b"host" not in found:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Host is missing")
    if found.get(b"sec-websocket-version") != _VERSION:
        fields = ((b"sec-websocket-version", _VERSION),)
        raise RequestRefused(HTTPStatus.UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13", fields)
    key = found.get(b"sec-websocket-key", b"")
    if not is_key(key):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64")
    offered = found.get(b"sec-websocket-protocol")
    subprotocols = [] if offered is None else _tokens(offered)
    return Handshake(key, subprotocols, found.get(b"sec-websocket-extensions", b""))


def is_key(key: bytes) -> bool:
    """Whether it is what ``Sec-WebSocket-Key`` must be: 16 bytes in base64."""
    try:
        return len(a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except Error:
        return False


def accepted(key: bytes, subprotocol: str | None, fields: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the 101 for a handshake with ``key``.

    Args:
        key: the client's.
        subprotocol: the one chosen, if any.
        fields: further header fields.

    Raises:
        ValueError: a field could not be told from the head around it.
    """
    accept = b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)
    return b"%bSec-WebSocket-Accept: %b\r\n%b\r\n" % (_SWITCHING, accept, _rest(subprotocol, tuple(fields)))


def answered(status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> bytes:
    """Return an HTTP response that refuses a handshake and ends the connection.

    Args:
        status: 100 to 599.
        fields: header fields; those about body and connection are completed.
        body: complete.

    Raises:
        ValueError: ``status`` is none, or a field could not be told from the head around it.
    """
    if not 100 <= status < 600:
        raise ValueError(f"no HTTP status: {status}")
    fields = list(fields)
    names = {name.lower() for name, _ in fields}
    length = b"%d" % len(body)
    for name, value in (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", length),
        (b"connection", b"close"),
    ):
        if name not in names:
            fields.append((name, value))
    status_line = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii")
    return b"%b%b\r\n%b" % (status_line, _lines(fields), body)


@lru_cache(64)  # nearly all answers of one server are alike but for the key's digest
def _rest(subprotocol: str | None, fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The header lines of a 101 that its key has no part in."""
    chosen = [(b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1"))] if subprotocol else []
    return _lines([*chosen, *fields])


def _joined(fields: Fields) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        found[name] = found[name] + b", " + value if name in found else value  # RFC 9110, 5.3
    return found


def _tokens(value: bytes) -> list[str]:
    return [token for part in value.decode("latin-1").split(",") if (token := part.strip())]


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    lines = b""
    for name, value in fields:
        if _NO_NAME.search(name) or _NO_VALUE.search(value):
            raise ValueError(f"no header field: {name!r}")
        lines += b"%b: %b\r\n" % (name, value)
    return lines
