"""The client library over a connection that never leaves the process.

One session of the node, with an outbox like any other, and the client library reading from it: so what is
heard in process has the same order, history, policies and bounds as what a browser hears, and none of it is
written a second time. Frames are handed over as they are; there is no socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

import anyio
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from gateway.client import Client
from gateway.client.connection import GatewayConnection
from gateway.client.ending import Ending
from gateway.client.errors import ClientClosed, ConnectFailed
from gateway.client.incoming import decode_frame
from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.messages.events import Welcome
from gateway.core.session.close_codes import CloseCode
from gateway.engine.admission import ConnectionQuota
from gateway.transports.accepted_connection import AcceptedConnection
from gateway.transports.websocket.connection import WRITE_HIGH_BYTES
from gateway.transports.websocket.session import InProcessSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from types import TracebackType
    from typing import Any

    from gateway.auth.principal import Principal
    from gateway.client.read_gate import ReadGate
    from gateway.transports.services import Services
    from gateway.transports.websocket.connection import Writing

_TEXT = 1
_ADDRESS = "http://in.process"
_PEER = "in process"


class InProcessConnection:
    """Both ends of a connection: a ``Connection`` to the session, a WebSocket to the client library.

    What the client has not read counts as what lies in a transport: above a mark the connection isn't
    writable, and what is published meanwhile waits in the outbox under its policies.

    Attributes:
        writable: less than that waits to be read.
    """

    def __init__(self, services: Services) -> None:
        self._clock = services.clock
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._end: tuple[int, str] | None = None
        self._session: InProcessSession | None = None
        self.writable = True

    def begin(self, services: Services, principal: Principal) -> None:
        """Have a session of ``principal`` behind it, which greets the client."""
        quota = ConnectionQuota(services.admission, _PEER)
        quota.leave()  # nobody's share: it is no connection to anybody
        accepted = AcceptedConnection.now(quota, _PEER, principal)
        services.log.opened(
            accepted.session, transport=InProcessSession.transport, peer=_PEER, subject=principal.subject
        )
        self._session = InProcessSession(services, self, accepted)

    # What the session sees

    @property
    def last_received(self) -> float:
        """Always now: it lives as long as the process does."""
        return self._clock()

    def write(self, frames: bytes) -> None:
        """Have ``frames`` read."""
        if self._end is not None:
            return
        self._waiting.extend(iter_payloads(frames))
        self._bytes += len(frames)
        self._news.set()
        if self.writable and self._bytes > WRITE_HIGH_BYTES and self._session is not None:
            self.writable = False
            self._session.writable_changed(writable=False)

    def write_for(self, owner: Writing) -> None:
        """It is always the same here."""
        owner.write = self.write

    def buffered_bytes(self) -> int:
        """What the client has not read."""
        return self._bytes

    def close(self, code: int, reason: str = "") -> None:
        """End behind what the client has yet to read."""
        if self._end is None:
            self._end = (code, reason)
            self._news.set()
            self._may_send.set()
            # Never from inside a call of the session's own.
            asyncio.get_running_loop().call_soon(self._closed, code, reason)

    def abort(self) -> None:
        """End at once."""
        self._waiting.clear()
        self.close(CloseCode.BROKEN)

    def pause_reading(self) -> None:
        """Let the client wait with its next command."""
        self._may_send.clear()

    def resume_reading(self) -> None:
        """Take commands again."""
        self._may_send.set()

    def _closed(self, code: int, reason: str) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection_closed(code, reason)

    # What the client library sees: that part of its WebSocket that it uses

    async def send(self, frame: str) -> None:
        """Give the session one command."""
        while not self._may_send.is_set():
            await self._may_send.wait()
        if self._session is None or self._end is not None:
            raise self._error()
        self._session.message_received(_TEXT, frame.encode())

    async def recv(self, *, decode: bool = False) -> bytes:  # noqa: ARG002 - the library's
        """The next frame's payload."""
        while not self._waiting:
            if self._end is not None:
                raise self._error()
            self._news.clear()
            await self._news.wait()
        payload = self._waiting.popleft()
        if not self._waiting:
            self._bytes = 0
        else:
            self._bytes = max(0, self._bytes - len(payload))
        if not self.writable and self._bytes < WRITE_HIGH_BYTES // 4 and self._session is not None:
            self.writable = True
            self._session.writable_changed(writable=True)
        return payload

    def ping(self) -> None:
        """Nobody needs to be asked whether he lives."""

    def _error(self) -> ConnectionClosedError:
        code, reason = self._end or (CloseCode.BROKEN, "")
        return ConnectionClosedError(Close(code, reason), None)


class _ClientSide:
    """The connection as the library closes it: by a goodbye of the client's."""

    def __init__(self, connection: InProcessConnection) -> None:
        self._connection = connection
        self.transport = connection
        self.send, self.recv = connection.send, connection.recv

    async def ping(self) -> Awaitable[float]:
        answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        answered.set_result(0.0)
        return answered

    async def pong(self) -> None:
        """Nobody asks."""

    async def close(self) -> None:
        self._connection.close(CloseCode.NORMAL)


class Host(Protocol):
    """The gateway that clients in process are of."""

    @property
    def services(self) -> Services:
        """What sessions need."""
        ...

    @property
    def ending(self) -> bool:
        """Whether it takes no new client."""
        ...

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as long as the gateway does."""
        ...


class _InProcessDialler:
    """Makes connections without an address; see ``Dialler``."""

    can_renew = False

    def __init__(self, host: Host, principal: Principal) -> None:
        self._host = host
        self._principal = principal

    async def dial(self, valve: ReadGate) -> GatewayConnection:
        """Connect and wait for ``welcome``."""
        if self._host.ending:
            raise ClientClosed("the gateway ends with its application")
        services = self._host.services
        services.sessions.check_room()
        connection = InProcessConnection(services)
        connection.begin(services, self._principal)
        try:
            event = decode_frame(await connection.recv())
        except BaseException:
            # Cancelled: nobody else knows of the session.
            connection.abort()
            raise
        if not isinstance(event, Welcome):
            connection.abort()
            raise ConnectFailed("the gateway has no room for a connection in process")
        return GatewayConnection(_ClientSide(connection), event, valve)  # type: ignore[arg-type]  # as much of it as is used


class InProcessClient(Client):
    """A ``Client`` of the gateway that this process is.

    What it runs belongs to the gateway and not to the task that opens it: a loop over a subscription that is
    left, or thrown away, has nothing to wait for.
    """

    def __init__(self, host: Host, principal: Principal) -> None:
        super().__init__(_ADDRESS)
        self._link._dialler = _InProcessDialler(host, principal)  # type: ignore[assignment]  # noqa: SLF001
        self._host = host
        self._over = anyio.Event()
        self._ended = anyio.Event()

    async def __aenter__(self) -> Self:
        """Connect; raises as ``Client`` does."""
        if self._tasks is not None or self._link.failure is not None:
            raise ClientClosed("a client is used in one 'async with' only; make a new one")
        opened = await self._link.dial()
        if isinstance(opened, Ending):
            self._link.close(opened.error)
            raise opened.error
        begun = anyio.Event()
        self._host.start(self._live(opened, begun))
        try:
            await begun.wait()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self._ended.wait()

    def close(self) -> None:
        """End it; loops over what it has subscribed to end too."""
        self._link.close(ClientClosed("the client is closed"))
        self._over.set()

    async def _live(self, opened: GatewayConnection, begun: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._link.run, opened)
                begun.set()
                await self._over.wait()
                self._tasks.cancel_scope.cancel()
        finally:
            begun.set()
            self._ended.set()
