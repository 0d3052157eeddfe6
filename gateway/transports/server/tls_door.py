"""TLS before the HTTP class: a handshake counts as a connection from its first byte, and has an end.

Left to the server's own ``ssl`` the HTTP class hears of a connection when its handshake is over: one that
never ends is held for a minute, counts against no limit, and is seen nowhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.utils import get_remote_addr

from gateway.transports.server.server_context import Wait, context_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.transports.http.protocol import GatewayHttpProtocol


class TlsDoor(asyncio.Protocol):
    """One connection until its handshake is over; then an HTTP object has it."""

    http: ClassVar[type[GatewayHttpProtocol]]
    certificate: ClassVar[Callable[[], ssl.SSLContext]]
    seconds: ClassVar[float]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._context = context_of(server_state, self._loop)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._made: GatewayHttpProtocol | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake."""
        peer = get_remote_addr(transport)
        # `start_tls` would lose the bytes that come before it runs. Nothing has been read yet, so another
        # transport can be made of the same connection, with TLS from its first byte.
        try:
            descriptor = os.dup(transport.get_extra_info("socket").fileno())
        except OSError as error:
            self._context.log.warning("TLS connection cut before its handshake: %s", error)
            return
        finally:
            transport.abort()
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._context.connections.add(self)
        # Whether it is spare is asked again, once there is an HTTP object that could answer.
        self.http.room.enter(
            self,
            peer[0] if peer else "",
            everyone=self._context.connections,
            quiet=self._context.deadlines(Wait.REQUEST, self._config.timeout_keep_alive),
        )
        self.http.room.begin_handshake(self)
        self._task = self._loop.create_task(self._secure(self._socket))

    def give_way(self) -> None:
        """Another connection takes this one's place."""
        if self._socket is not None:
            # Not closed: the descriptor is the new transport's, and would be another connection's.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def shutdown(self) -> None:
        """The server shuts down."""
        self.give_way()

    async def _secure(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._enter_http, connection, ssl=type(self).certificate(), ssl_handshake_timeout=self.seconds
            )
        except OSError:
            # The peer's doing: it went, took too long, or speaks something else. `ssl.SSLError` is one too.
            self.http.room.failed_handshakes += 1
        finally:
            self._leave()
            if self._made is not None:
                self._made.abandon()

    def _enter_http(self) -> GatewayHttpProtocol:
        http = self._made = self.http(self._config, self._server_state, self._app_state, self._loop)
        http.before_connection = self._secured
        return http

    def _secured(self) -> None:
        """The HTTP object has the connection from here on."""
        self._made = None
        self._leave()

    def _leave(self) -> None:
        self.http.room.end_handshake(self)
        self.http.room.leave(self)
        self._context.connections.discard(self)
        self._socket = self._task = None


def behind_tls(
    http: type[GatewayHttpProtocol], certificate: Callable[[], ssl.SSLContext], *, seconds: float
) -> type[TlsDoor]:
    """A class for ``uvicorn.Config(http=…)`` that puts TLS before ``http``.

    Args:
        http: what is made of a connection once its handshake is over.
        certificate: the context of handshakes that begin now.
        seconds: for a handshake.
    """
    return type(
        "BoundTlsDoor",
        (TlsDoor,),
        {"http": http, "certificate": staticmethod(certificate), "seconds": seconds},
    )
