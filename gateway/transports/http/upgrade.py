"""Requests that ask for another protocol: for a WebSocket, or for one that is not spoken here."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.transports.http.request_rules import RequestRefused
from gateway.transports.websocket.handshake import read_handshake

if TYPE_CHECKING:
    from gateway.transports.http.request_rules import Fields
    from gateway.transports.websocket.handshake import Handshake


def read_bounded_handshake(
    method: bytes, version: str, target: bytes, fields: Fields, *, line_bytes: int, delegated: bool
) -> Handshake:
    """Check a request that asks for a WebSocket, and return what it asks for.

    Args:
        method: of the request, as what follows.
        version: of HTTP, "1.1" for example.
        target: with its query.
        fields: names in lower case.
        line_bytes: the most that a header may have.
        delegated: uvicorn's class parses the head anew, and leaves unanswered what has a longer line.

    Raises:
        RequestRefused: a line is too long, or a rule of the handshake is broken.
    """
    most = line_bytes - 4
    for name, value in fields:
        if len(name) + len(value) > most:
            raise RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if delegated and len(target) > most - len("GET  HTTP/1.1"):
        raise RequestRefused(HTTPStatus.REQUEST_URI_TOO_LONG)
    return read_handshake(method, version, target, fields)


def head_without_upgrade(method: bytes, version: str, target: bytes, fields: Fields) -> bytes:
    """Return a request's head as if it asked for no other protocol.

    RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field". The parser can't: it takes all that
    is behind the head, the request's body too, for the other protocol. So another one reads the request
    again, without that field.
    """
    lines = [b"%b %b HTTP/%b\r\n" % (method, target, version.encode())]
    lines += [b"%b: %b\r\n" % field for field in fields if field[0] != b"upgrade"]
    return b"".join([*lines, b"\r\n"])
