"""A connection of HTTP as such: whether there is room for it, how long it may be silent, how it ends.

Until its first request is to be read it has next to nothing. Most connections begin with a handshake whose
head is known, and leave for a protocol object of their own at once: what requests need would be a tenth of
what such a client costs.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.transports.http.connection_room import ConnectionRoom
from gateway.transports.http.request_bounds import RequestLimits
from gateway.transports.http.request_flow import RequestFlow
from gateway.transports.http.request_rules import RequestRefused
from gateway.transports.http.unread_responses import UnreadResponse, UnreadResponses
from gateway.transports.server.open_files import Room
from gateway.transports.server.proxies import peer_name
from gateway.transports.server.server_context import Wait, context_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.errors import GatewayError
    from gateway.transports.server.open_files import OpenFiles

LINGER_SECONDS: Final = 2.0
"""That a refused client may go on sending until the connection is cut."""


class HttpConnection(HttpToolsProtocol):
    """What is before, between and after the requests of one connection.

    Attributes:
        before_connection: told once, as the connection begins: by who had it until then.
    """

    limits: ClassVar[RequestLimits] = RequestLimits()
    files: ClassVar[OpenFiles | None] = None
    room: ClassVar[ConnectionRoom] = ConnectionRoom()
    unread: ClassVar[UnreadResponses] = UnreadResponses()
    flow: RequestFlow
    transport: asyncio.Transport = None  # type: ignore[assignment]
    server: tuple[str, int | None] | None = None
    before_connection: Callable[[], None] | None = None
    _serving = False  # requests may be read: what that takes is there
    _refused = False
    _shut_out: GatewayError | None = None  # why requests are refused: the connection is spare

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # Not uvicorn's yet: see `_expect_requests`.
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self._context = context_of(server_state, _loop or asyncio.get_running_loop())
        self._heads = self._context.deadlines(Wait.HEAD, self.limits.head_seconds)
        self._quiet = self._context.deadlines(Wait.REQUEST, config.timeout_keep_alive)

    def _expect_requests(self) -> None:
        """Make what it takes to read and answer requests; called once."""
        transport, client, scheme = self.transport, self.client, self.scheme
        super().__init__(self.config, self.server_state, self.app_state, self._context.loop)
        # Not uvicorn's: its parser calls the connection, and holds it.
        self.parser = None  # type: ignore[assignment]
        self.transport, self.client, self.scheme = transport, client, scheme
        self.flow = RequestFlow(transport)
        self._bodies = self._context.deadlines(Wait.BODY, self.limits.body_seconds)
        taken = self._context.deadlines(Wait.TAKEN, self.limits.write_seconds)
        self._unread = UnreadResponse(transport, self.unread, taken, self._context.log)
        self._serving = True

    def _head_late(self) -> None:
        """No complete head has come in time."""
        raise NotImplementedError

    def _refuse(self, refused: RequestRefused) -> None:
        """End the connection, whatever the client goes on sending; answer where an answer fits."""
        raise NotImplementedError

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and wait for a head for a limited time."""
        if self.before_connection is not None:
            self.before_connection()
            self.before_connection = None
        # Not uvicorn's: it asks the system for addresses that most connections have no use for.
        connections = self._context.connections
        connections.add(self)
        self.transport = transport
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.client = peer_name(transport)
        address = self.client[0] if self.client else ""
        self._shut_out = self.room.enter(self, address, everyone=connections, quiet=self._quiet)
        room = Room.ENOUGH if self.files is None else self.files.room(transport)
        if room is Room.ENOUGH:
            self._heads.start(self, self._head_late)
        elif room is Room.REFUSE:
            self._expect_requests()
            fields = ((b"retry-after", b"1"),)
            self._refuse(RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "no room for a connection", fields))
        else:
            self._refused = True
            transport.abort()

    def pause_writing(self) -> None:
        """The transport's buffer is above its high mark."""
        super().pause_writing()
        self._unread.begin()

    def resume_writing(self) -> None:
        """It is below its low mark."""
        super().resume_writing()
        self._unread.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes or goes."""
        if self._serving:
            super().connection_lost(exc)
            self._context.deadlines(Wait.GONE, LINGER_SECONDS).stop(self)
        else:
            self._context.connections.discard(self)
        self._forget()

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

    def _close(self) -> None:
        """Close once everything is written, or the client doesn't take it."""
        if not self.transport.is_closing():
            if self._serving:
                self._unread.begin()
            self.transport.close()

    def _forget(self) -> None:
        """Let go of all that refers to this object, so that it is freed without a collection."""
        self._heads.stop(self)
        self.room.leave(self)
        if self._serving:
            self._bodies.stop(self)
            self._quiet.stop(self)
            self._unread.end()
