"""How a connection comes about: address, credential, handshake, ``welcome``."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import anyio
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gateway.client.connection import GatewayConnection
from gateway.client.errors import ConnectFailed
from gateway.client.gathered_writes import GatheringConnection
from gateway.client.incoming import decode_frame
from gateway.client.token_expiry import expires_at
from gateway.core.loopback import is_loopback
from gateway.core.messages.events import Welcome
from gateway.errors import GatewayError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from gateway.client.read_gate import ReadGate

Token: TypeAlias = str | Callable[[], Awaitable[str]] | None
"""A bearer token, or how to get a fresh one: it is called for every connection, and to renew."""

SUBPROTOCOL = Subprotocol("gateway.v1")
CLOSE_SECONDS = 1.0

FOLLOWS_PROXIES = "proxy" in inspect.signature(connect).parameters
"""Whether the library installed knows proxies: from its version 15 on."""


@dataclass(frozen=True, slots=True)
class Dialler:
    """Makes connections to one address.

    Attributes:
        address: a ``ws`` or ``wss`` URL.
        token: the credential, sent as ``Authorization: Bearer``.
        tls: for ``wss``; None for the system's trust store.
        open_seconds: how long everything up to ``welcome`` may take.
        frame_bytes: the largest frame taken from the gateway.
    """

    address: str
    token: Token
    tls: ssl.SSLContext | None
    open_seconds: float
    frame_bytes: int

    @property
    def can_renew(self) -> bool:
        """Whether a rejected token can be replaced."""
        return callable(self.token)

    async def fresh_token(self) -> str | None:
        """The token to present now.

        Raises:
            Unavailable: the function could not reach what it asks, or took too long.
            Unauthenticated: it failed otherwise, or what it returned is not a text.
        """
        if not callable(self.token):
            return self.token
        with anyio.move_on_after(self.open_seconds):
            return await self._called(self.token)
        raise Unavailable(f"the token function gave none within {self.open_seconds:g} s")

    @staticmethod
    async def _called(function: Callable[[], Awaitable[str]]) -> str:
        try:
            token = await _awaited(function())
        except GatewayError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something of its own was cancelled: without this, it would seem that this client was.
            raise Unavailable("the token function was cancelled") from error
        except OSError as error:
            raise Unavailable(f"no token to be had now: {error}") from error
        except Exception as error:
            raise Unauthenticated(f"the token function failed: {type(error).__name__}") from error
        if not isinstance(token, str):
            raise Unauthenticated(f"the token function must return a str, not {type(token).__name__}")
        return token

    async def dial(self, valve: ReadGate) -> GatewayConnection:
        """Connect and wait for ``welcome``.

        Raises:
            OSError, TimeoutError, websockets.exceptions.WebSocketException: see ``ending.not_connected``.
            GatewayError: no token, or the gateway answered with something else.
        """
        deadline = anyio.current_time() + self.open_seconds
        token = await self.fresh_token()
        if token is not None and not (token.isascii() and token.isprintable()):
            # Not repeated in the message; a line break would add header lines of its own.
            raise Unauthenticated("the token holds characters that no header can carry")
        with anyio.fail_after(deadline - anyio.current_time()):
            socket = await self._connect({} if token is None else {"Authorization": f"Bearer {token}"})
            try:
                return GatewayConnection(
                    socket, await self._welcome(socket), valve, expires=expires_at(token)
                )
            except BaseException:
                socket.transport.abort()
                raise

    async def _connect(self, headers: dict[str, str]) -> ClientConnection:
        parts = urlsplit(self.address)
        proxy: dict[str, Any] = {}
        if FOLLOWS_PROXIES:
            proxy["proxy"] = None if is_loopback(parts.hostname or "") else True
        return await connect(
            self.address,
            create_connection=GatheringConnection,
            ssl=(self.tls or ssl.create_default_context()) if parts.scheme == "wss" else None,
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            # Deflate costs the gateway 34 KiB per connection; it does not offer it.
            compression=None,
            max_size=self.frame_bytes,
            # Keepalive is Connection's: the library's own counts a client that does not read as dead.
            ping_interval=None,
            open_timeout=None,
            close_timeout=CLOSE_SECONDS,
            **proxy,
        )

    @staticmethod
    async def _welcome(socket: ClientConnection) -> Welcome:
        frame = await socket.recv(decode=False)
        event = decode_frame(frame)
        if not isinstance(event, Welcome):
            raise ConnectFailed("this is not a gateway: its first frame was not a welcome")
        return event


async def _awaited(made: object) -> object:
    if not isinstance(made, Awaitable):
        raise Unauthenticated("the token function must be async")
    return await made
