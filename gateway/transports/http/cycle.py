"""One request and its response, as uvicorn runs them, with the response's head held for what follows it.

ASGI (HTTP connection scope, "Response Start"): the server "must not start sending the response to the client
until it has received at least one Response Body event". So head and body are one write, which is one system
call and one packet: for a short answer that is a fifth of all that the request costs.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn._types import ASGI3Application, ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from gateway.transports.server.server_context import LimitedLog

_REMEMBERED_LINES: Final = 1024
_REMEMBERED_BYTES: Final = 256
"""The longest header that is remembered: some repeat what a client sent."""

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_BODILESS: Final = frozenset({204, 304})


class HttpCycle(RequestResponseCycle):
    """Uvicorn's, with another way out."""

    _head = b""  # made, and not yet written
    # RFC 9112, 6.1: no transfer coding for who speaks HTTP/1.0; the body ends with the connection.
    _until_close = False

    @classmethod
    def of(cls, connection: HttpToolsProtocol, *, keep_alive: bool) -> Self:
        """Make that of the request whose head has been read; without ``keep_alive`` it is the last one."""
        return cls(
            scope=connection.scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=connection.access_log,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=connection.expect_100_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )

    @property
    def may_be_taken_over(self) -> bool:
        """Whether the rest of the response may be written by another: chunked, and the request is whole."""
        return (
            self.scope["http_version"] == "1.1"
            and bool(self.chunked_encoding)
            and not self.response_complete
            and not self.disconnected
            and not self.more_body
        )

    def take_body(self, body: bytes) -> None:
        """Have the application that asks for it get ``body``; what it leaves unread stops reading."""
        if not self.response_complete:
            self.body += body
            if len(self.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.message_event.set()

    def end_request(self) -> None:
        """The application has all that will come."""
        if not self.response_complete:
            self.more_body = False
            self.message_event.set()

    def disconnect(self) -> None:
        """Tell the application that its client has gone."""
        self.disconnected = True
        self.message_event.set()

    async def send(self, message: ASGISendEvent) -> None:
        """Take one event of the response; waits while the client takes nothing.

        Raises:
            RuntimeError: the application breaks the protocol; the connection is then closed.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._begin(message)
        elif self.response_complete:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        elif message["type"] != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        else:
            self._write_body(message)

    def _begin(self, message: HTTPResponseStartEvent) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        status = message["status"]
        if self.access_log:
            self._log_access(status)
        lines = [STATUS_LINE[status]]
        closes = self._add_fields(lines, self.default_headers)
        closes = self._add_fields(lines, message.get("headers", ())) or closes
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _BODILESS:
            if self.scope["http_version"] == "1.0":
                self._until_close = True
            else:
                self.chunked_encoding = True
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _add_fields(self, lines: list[bytes], fields: Iterable[tuple[bytes, bytes]]) -> bool:
        """Add header lines; return whether one of them says that the connection ends."""
        closes = False
        for name, value in fields:
            make = _remembered_line if len(value) <= _REMEMBERED_BYTES else _line
            line, framing = make(name, value)
            lines.append(line)
            if framing is not None:
                closes = self._heed(framing, value) or closes
        return closes

    def _heed(self, name: bytes, value: bytes) -> bool:
        """Follow a header that says how the message ends; return whether the connection does too."""
        if name == b"connection":
            if b"close" in [token.strip() for token in value.lower().split(b",")]:
                self.keep_alive = False
                return True
        elif name == b"transfer-encoding":
            # RFC 9112, 6.3: it overrides a Content-Length that the application has set too.
            if value.lower() == b"chunked":
                self.expected_content_length = 0
                self.chunked_encoding = True
        elif self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        return False

    def _write_body(self, message: HTTPResponseBodyEvent) -> None:
        body = message.get("body", b"")
        more = message.get("more_body", False)
        parts = [self._head] if self._head else []
        self._head = b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
        elif self._until_close:
            parts.append(body)
        elif len(body) > self.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        else:
            self.expected_content_length -= len(body)
            parts.append(body)
        if data := b"".join(parts):
            self.transport.write(data)
        if not more:
            self._complete()

    def _complete(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("Response content shorter than Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _log_access(self, status: int) -> None:
        self.access_logger.info(
            '%s - "%s %s HTTP/%s" %d',
            get_client_addr(self.scope),
            self.scope["method"],
            get_path_with_query_string(self.scope),
            self.scope["http_version"],
            status,
        )


def application_now(connection: HttpToolsProtocol, log: LimitedLog) -> ASGI3Application:
    """Return what answers a request: the application, or a refusal while there are too many."""
    most = connection.limit_concurrency
    if most is None or max(len(connection.connections), len(connection.tasks)) < most:
        return cast("ASGI3Application", connection.app)
    log.warning("Exceeded concurrency limit.")
    return service_unavailable


def _line(name: bytes, value: bytes) -> tuple[bytes, bytes | None]:
    """A header as it is sent, and its name where it says how the message ends.

    Raises:
        RuntimeError: the application's header would end the line, or is none.
    """
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    if HEADER_VALUE_RE.search(value):
        raise RuntimeError("Invalid HTTP header value.")
    name = name.lower()
    return name + b": " + value + b"\r\n", name if name in _FRAMING else None


# Nearly every answer has the same headers: looking one up costs a tenth of checking and joining it.
_remembered_line = lru_cache(_REMEMBERED_LINES)(_line)
