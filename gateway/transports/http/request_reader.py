"""Requests out of bytes: the parser, what may be fed to it, and the rules for a head; without I/O.

The parser (llhttp, through httptools) is strict about most of what smuggling lives on: both
``Content-Length`` and ``Transfer-Encoding``, bare line feeds, spaces before a colon. What it leaves open is
closed here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn, Protocol

import httptools

from gateway.transports.http.request_bounds import RequestBounds
from gateway.transports.http.request_rules import RequestRefused, check_fields, check_version, read_target
from gateway.transports.http.upgrade import head_without_upgrade, read_bounded_handshake
from gateway.transports.websocket.handshake import asks_for_websocket

if TYPE_CHECKING:
    from gateway.transports.http.request_bounds import RequestLimits
    from gateway.transports.http.request_rules import Field
    from gateway.transports.websocket.handshake import Handshake
    from gateway.transports.websocket.takeover_offer import TakeoverOffer


class RequestConsumer(Protocol):
    """What is told of requests, from inside ``RequestReader.feed``."""

    def begin_request(self, head: RequestReader) -> None:
        """A head is complete, and keeps to the rules; ``head`` tells what is in it.

        Raises:
            RequestRefused: it is not served.
        """
        ...

    def take_body(self, body: bytes) -> None:
        """A part of its body."""
        ...

    def end_request(self) -> None:
        """The whole request has come."""
        ...


class _Stop(Exception):  # noqa: N818 - leaves the parser's callback, never this module
    """The request is refused."""


class RequestReader:
    """The requests of one connection, one after another.

    Attributes:
        method: of the request that was read last, as what follows.
        version: of HTTP, "1.1" for example.
        target: its path and query.
        fields: its header fields, their names in lower case.
        expects_continue: whether it waits for a 100 with its body.
        handshake: what it asks for, if it is for a WebSocket.
    """

    __slots__ = (
        "_bounds",
        "_consumer",
        "_delegates",
        "_limits",
        "_offer",
        "_parser",
        "_refusal",
        "expects_continue",
        "fields",
        "handshake",
        "method",
        "target",
        "version",
    )

    def __init__(
        self, limits: RequestLimits, consumer: RequestConsumer, *, offer: TakeoverOffer, delegates: bool
    ) -> None:
        """Begin a connection.

        Args:
            limits: what may be sent.
            consumer: is told.
            offer: which WebSockets are taken over.
            delegates: whether the others are served at all; else they are requests like any other.
        """
        self._limits = limits
        self._consumer: RequestConsumer | None = consumer
        self._offer = offer
        self._delegates = delegates
        self._bounds = RequestBounds(limits)
        self._refusal: RequestRefused | None = None  # why a callback of the parser stopped it
        self._parser = self._new_parser()
        self.method, self.version, self.target = b"", "", b""
        self.fields: list[Field] = []
        self.expects_continue = False
        self.handshake: Handshake | None = None

    @property
    def in_head(self) -> bool:
        """Whether a request's first byte has come and its head isn't complete."""
        return self._bounds.begun

    @property
    def should_keep_alive(self) -> bool:
        """Whether the client wants the connection kept behind the request."""
        return bool(self._parser.should_keep_alive())

    @property
    def asks_for_upgrade(self) -> bool:
        """Whether the head asks for another protocol, be it spoken here or not."""
        return bool(self._parser.should_upgrade())

    @property
    def asks_door(self) -> bool:
        """Whether the head is a handshake that is answered without the application."""
        return self.handshake is not None and self._offer.door_of(self.target) is not None

    def feed(self, data: bytes, *, idle: bool) -> bytes | RequestRefused | None:
        """Parse ``data``; ``idle`` while no request is being answered.

        Returns:
            Where nothing may follow: the refusal, not raised, since it would hold the frames that it came
            through; or what is behind a head that asks for another protocol, which is no HTTP any more.
        """
        self._bounds.feed(len(data), idle=idle)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return self._refusal or RequestRefused(HTTPStatus.BAD_REQUEST)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        if self._bounds.exceeded:
            return RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return None

    def begin_again(self) -> bytes:
        """Return the head that was read last, without its wish for another protocol, to be fed once more."""
        head = head_without_upgrade(self.method, self.version, self.target, self.fields)
        self._parser = self._new_parser()
        return head

    def discard(self) -> None:
        """Let go of the parser and the consumer, which refer to one another through this object."""
        self._consumer = None
        self._parser = None  # type: ignore[assignment]

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # As uvicorn has it: what comes behind a request that ends the connection is no error.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._bounds.begin()
        self.target = b""
        self.fields = []
        self.expects_continue = False
        self.handshake = None

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self.target += url
        if not self._bounds.target(len(url)):
            self._stop(RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one field of a trailer."""
        # RFC 9110, 6.5.1: a trailer's fields must not be merged into the header section unless they are known
        # to permit that. None is: whoever writes a body would write its request's head.
        if self._bounds.begun:
            name = name.lower()
            if name == b"expect" and value.strip().lower() == b"100-continue":
                self.expects_continue = True
            self.fields.append((name, value))
        if not self._bounds.field(name, value):
            self._stop(RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def on_headers_complete(self) -> None:
        """A complete head."""
        self._bounds.end_head()
        self.method, self.version = self._parser.get_method(), self._parser.get_http_version()
        try:
            self._check_head()
            if self._consumer is not None:
                self._consumer.begin_request(self)
        except RequestRefused as refused:
            self._stop(refused)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._bounds.account()
        if self._consumer is not None:
            self._consumer.take_body(body)

    def on_message_complete(self) -> None:
        """A request's end."""
        self._bounds.account()
        # Behind a wish for another protocol what follows is read by another.
        if self._consumer is not None and not self._parser.should_upgrade():
            self._consumer.end_request()

    def _check_head(self) -> None:
        check_version(self.version)
        self.target = read_target(self.method, self.target, self.fields)
        check_fields(self.version, self.fields)
        if self.version == "1.0":  # RFC 9110, 10.1.1: there a server "MUST ignore that expectation"
            self.expects_continue = False
        if self._parser.should_upgrade() and asks_for_websocket(self.fields):
            delegated = not self._offer.is_for(self.target)
            if not delegated or self._delegates:
                self.handshake = read_bounded_handshake(
                    self.method,
                    self.version,
                    self.target,
                    self.fields,
                    line_bytes=self._limits.line_bytes,
                    delegated=delegated,
                )

    def _stop(self, refused: RequestRefused) -> NoReturn:
        # A fresh one, and not what is raised: the parser keeps that, and it holds the frames it came through.
        self._refusal = RequestRefused(refused.status, str(refused), refused.fields)
        raise _Stop
