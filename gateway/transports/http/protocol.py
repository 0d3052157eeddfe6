"""Uvicorn's HTTP class with bounds on what a client may send before its request is whole.

The parser below (llhttp, through httptools) has neither: a head, one header, a chunked body's trailer may be
of any length, and half a request line or half a body may stay for ever. It is strict about everything else
that smuggling lives on (both ``Content-Length`` and ``Transfer-Encoding``, bare line feeds, spaces before a
colon).

Hand it to uvicorn as ``Config(http=GatewayHttpProtocol)``, or ``http_protocol(...)`` for other bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import httptools

from gateway.transports.http.connection_room import ConnectionRoom
from gateway.transports.http.request_rules import (
    RequestRefused,
    check_fields,
    check_version,
    read_target,
)
from gateway.transports.http.unread_responses import UnreadResponses
from gateway.transports.http.upgrade import BecomesWebSocket
from gateway.transports.server.open_files import Room
from gateway.transports.server.proxies import unmapped
from gateway.transports.server.server_context import Wait, half_close
from gateway.transports.websocket.handshake import answered, asks_for_websocket, read_handshake
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.errors import GatewayError
    from gateway.transports.http.request_rules import Fields
    from gateway.transports.server.open_files import OpenFiles
    from gateway.transports.websocket.handshake import Handshake

_LINGER_SECONDS = 2.0
"""How long a refused client may go on sending until the connection is cut."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a client may send, and how long it may take, before its request is one and until it is whole.

    Attributes:
        head_bytes: request line and headers, and a chunked body's trailer.
        headers: how many header fields.
        line_bytes: one header of a WebSocket handshake.
        head_seconds: from the connection, or a later request's first byte, to the complete head.
        body_seconds: without a byte of a body that isn't whole yet.
        write_seconds: in which a client takes nothing of a response.
    """

    head_bytes: int = 32 * 1024
    headers: int = 100
    line_bytes: int = 8 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    write_seconds: float = 30.0


class _Refusal(Exception):  # noqa: N818 - leaves the parser's callback, never this module
    """The head breaks a bound."""


class GatewayHttpProtocol(BecomesWebSocket):
    """One HTTP/1.1 connection under uvicorn, until it becomes a WebSocket."""

    limits: ClassVar[RequestLimits] = RequestLimits()
    files: ClassVar[OpenFiles | None] = None
    room: ClassVar[ConnectionRoom] = ConnectionRoom()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._heads = self._context.deadlines(Wait.HEAD, self.limits.head_seconds)
        self._bodies = self._context.deadlines(Wait.BODY, self.limits.body_seconds)
        self._upgrading = False  # the request is for a WebSocket
        self._handshake: Handshake | None = None
        self._refusal: RequestRefused | None = None
        self._refused = False
        self._shut_out: GatewayError | None = None  # why requests are refused: the connection is spare
        self.before_connection: Callable[[], None] | None = None  # who had the connection until now
        self._begun = False  # a request's first byte has come, its head isn't complete
        self._head_bytes = self._fields = 0
        self._unaccounted = 0  # bytes that the parser took and made nothing of yet
        self._fresh = 0  # how many bytes of this read are a new request's, if one begins in it

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and wait for a head for a limited time."""
        if self.before_connection is not None:
            self.before_connection()
            self.before_connection = None
        super().connection_made(transport)
        if self.client is not None:
            self.client = unmapped(self.client[0]), self.client[1]
        self._shut_out = self.room.enter(
            self,
            self.client[0] if self.client else "",
            everyone=self.connections,
            quiet=self._quiet,
        )
        room = Room.ENOUGH if self.files is None else self.files.room(transport)
        if room is Room.ENOUGH:
            self._heads.start(self, self._head_late)
        elif room is Room.REFUSE:
            fields = ((b"retry-after", b"1"),)
            self._refuse(RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "no room for a connection", fields))
        else:
            self._refused = True
            transport.abort()

    def abandon(self) -> None:
        """There will be no connection: let go of what refers to this object."""
        self.before_connection = None
        self._forget()

    def give_way(self) -> None:
        """Another connection takes this one's place."""
        if self._shut_out is None:
            self._close()
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes or goes."""
        super().connection_lost(exc)
        self._heads.stop(self)
        self._bodies.stop(self)
        self._context.deadlines(Wait.GONE, _LINGER_SECONDS).stop(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within bounds."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._held:
            self._hold(self._held[self._held_at :] + data, 0)
        else:
            self._feed(data)

    def _parse(self, piece: bytes, read: bytes, end: int) -> bool:
        self._fresh = len(piece) if self._idle() and not self._begun else 0
        self._unaccounted += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError:
            self._refuse(self._refusal or RequestRefused(HTTPStatus.BAD_REQUEST))
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(read[end - len(piece) + upgrade.args[0] :])
        else:
            if self._unaccounted <= self.limits.head_bytes:
                return True
            self._refuse(RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        return False

    def _fed(self) -> None:
        if (self._begun or self._idle()) and self not in self._heads:
            # Not left to the parser: it takes empty lines before a request for no request at all.
            self._heads.start(self, self._head_late)
        elif self._awaits_body():
            self._bodies.start(self, self._body_late)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._begun = True
        self._upgrading = False
        self._head_bytes = self._fields = 0
        self._unaccounted, self._fresh = self._fresh, 0

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one field of a trailer."""
        if self._begun:
            name = name.lower()
            if name == b"expect" and value.strip().lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
        # RFC 9110, 6.5.1: a trailer's fields must not be merged into the header section unless they are known
        # to permit that. None is: whoever writes a body would write its request's head.
        self._fields += 1
        if self._fields > self.limits.headers:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._count(len(name) + len(value) + 4)  # ": " and the line's end

    def on_headers_complete(self) -> None:
        """A complete head."""
        self._begun = False
        self._unaccounted = 0
        self._heads.stop(self)
        self._hold_to_the_rules()
        if (
            self.parser.should_upgrade()
            and (self._offers_takeover() or self.ws_protocol_class is not None)
            and asks_for_websocket(self.headers)
        ):
            self._upgrading = True
            self._read_handshake()
            # Uvicorn's own way to upgrade reads it.
            self.scope["method"] = self.parser.get_method().decode("ascii")
        if self._shut_out is not None:
            self._refuse_spare(self._shut_out)
        if not self._upgrading and not self.parser.should_upgrade():
            super().on_headers_complete()
            if self._shut_out is not None:
                self.cycle.keep_alive = False

    def _hold_to_the_rules(self) -> None:
        version = self.parser.get_http_version()
        try:
            check_version(version)
            self.url = read_target(self.parser.get_method(), self.url, self.headers)
            check_fields(version, self.headers)
        except RequestRefused as refused:
            self._stop(refused.status, str(refused), refused.fields)
        if version == "1.0":  # RFC 9110, 10.1.1: there a server "MUST ignore that expectation"
            self.expect_100_continue = False

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._unaccounted = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's end."""
        self._unaccounted = 0
        if self.parser.should_upgrade():
            return  # what follows is read by another
        self._bodies.stop(self)
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.head_bytes:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _read_handshake(self) -> None:
        most = self.limits.line_bytes - 4
        if len(self.url) > most - len("GET  HTTP/1.1") and not self._offers_takeover():
            # Uvicorn's class would neither take it nor say so.
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG)
        for name, value in self.headers:
            if len(name) + len(value) > most:
                self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        parser = self.parser
        try:
            self._handshake = read_handshake(
                parser.get_method(), parser.get_http_version(), self.url, self.headers
            )
        except RequestRefused as refused:
            self._stop(refused.status, str(refused), refused.fields)

    def _refuse_spare(self, reason: GatewayError) -> None:
        path = self.url.partition(b"?")[0]
        if self.room.serves(path, reason, leaves=self._upgrading):
            return
        status, make = HTTPStatus(reason.http_status), self.room.problem
        if make is None:
            self._stop(status, str(reason), ((b"retry-after", b"1"),))
        answer = make(reason)
        self._stop(status, bytes(answer.body).decode(), answer.raw_headers)

    def _stop(self, status: HTTPStatus, reason: str = "", fields: Fields = ()) -> NoReturn:
        # Not in what is raised: the parser catches that, and it holds the frames that it came through.
        self._refusal = RequestRefused(status, reason, fields)
        raise _Refusal

    def _let_go(self) -> None:
        self._heads.stop(self)
        self._bodies.stop(self)
        super()._let_go()

    def _forget(self) -> None:
        super()._forget()
        self.room.leave(self)

    # Refusing

    def _head_late(self) -> None:
        if self.transport.is_closing() or self._refused:
            return
        if not self._idle():
            # The next request's head is late while this one's response runs: that ends the connection too.
            self.cycle.keep_alive = False
        elif self._begun:
            self._refuse(RequestRefused(HTTPStatus.REQUEST_TIMEOUT))
        else:
            self._close()

    def _awaits_body(self) -> bool:
        return not self._idle() and self.cycle.more_body

    def _body_late(self) -> None:
        if self.transport.is_closing() or self._refused or not self._awaits_body():
            return
        if self.flow.read_paused:
            # It is the application that takes its time.
            self._bodies.start(self, self._body_late)
        else:
            self._refuse(RequestRefused(HTTPStatus.REQUEST_TIMEOUT))

    def _refuse(self, refused: RequestRefused) -> None:
        """End the connection, whatever the client goes on sending; answer where an answer fits."""
        self._refused = True
        self._heads.stop(self)
        self._bodies.stop(self)
        self._context.log.warning("HTTP request refused: %d %s", refused.status.value, refused)
        cycle = self.cycle
        if self._idle():
            self._answer(refused)
        elif self.pipeline or cycle.response_started:
            # Nothing may be written into a response, nor ahead of one that is due.
            self._close()
        elif cycle.more_body:
            # The fault is in the body of the request itself: its application waits for the rest.
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(refused)
        else:
            cycle.keep_alive = False

    def _answer(self, refused: RequestRefused) -> None:
        fields = [*self.server_state.default_headers, *refused.fields]
        self.transport.write(answered(refused.status, fields, str(refused).encode()))
        half_close(self.transport)
        self._context.deadlines(Wait.GONE, _LINGER_SECONDS).start(self, self.transport.abort)

    # Upgrading

    def _should_upgrade(self) -> bool:
        return self._upgrading

    def _upgraded(self, early: bytes) -> None:
        if not self._upgrading:
            self._ignore_upgrade(early)
        elif not self._idle():
            # A handshake behind a request that is still being answered: its 101 would cut into the response.
            self._refuse(RequestRefused(HTTPStatus.BAD_REQUEST))
        else:
            assert self._handshake is not None
            self._become_websocket(self._handshake, early)


def http_protocol(
    limits: RequestLimits,
    files: OpenFiles | None = None,
    *,
    room: ConnectionRoom | None = None,
    unread: UnreadResponses | None = None,
    offer: TakeoverOffer | None = None,
) -> type[GatewayHttpProtocol]:
    """A class with these bounds, for ``uvicorn.Config(http=…)``."""
    own = {
        "limits": limits,
        "files": files,
        "write_seconds": limits.write_seconds,
        "room": room or ConnectionRoom(),
        "unread": unread or UnreadResponses(),
        "offer": offer or TakeoverOffer(),
    }
    return type("BoundedHttpProtocol", (GatewayHttpProtocol,), own)
