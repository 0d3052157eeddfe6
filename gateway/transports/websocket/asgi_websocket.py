"""Uvicorn's WebSocket class with its holes closed, for any ASGI application.

Kept from uvicorn:
the handshake, the ASGI side, keepalive, messages out. Replaced: how the client's frames are parsed
(``ClientFrames``; the class below bounds neither fragments nor the time that a message takes), pongs (they
ignored write flow control: a client that sends pings and reads nothing grew the process without bound),
close (it waited for a stuck peer for ever), and a stack trace in the log for each text that isn't UTF-8.

Uvicorn's classes are no public API. What is used of them is listed in the integration tests, and the
version is pinned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from gateway.codecs.websocket_frames import server_frame
from gateway.core.session.rate import RateLimit
from gateway.transports.server.server_context import Wait, context_of
from gateway.transports.websocket.bounded_transport import BoundedTransport
from gateway.transports.websocket.closing import (
    NO_STATUS,
    POLICY_VIOLATION,
    FrameFailure,
    close_code_and_reason,
)
from gateway.transports.websocket.connection import WRITE_HIGH_BYTES
from gateway.transports.websocket.deflate import DeflateInflater
from gateway.transports.websocket.frame_parser import CLOSE, PONG, TEXT, ClientFrames, FrameLimits
from gateway.transports.websocket.limits import ConnectionPolicy

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.transports.websocket.opening import WebSocketAdmission

_UNLIMITED = 1 << 62


class AsgiWebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection under uvicorn, from its upgrade to its end or its takeover.

    Attributes:
        policy: bounds for all connections of the class; subclass to change them.
        allow_deflate: whether ``Config(ws_per_message_deflate=True)`` is followed. It costs 34 KiB and
            more per connection that negotiates it.
    """

    policy: ClassVar[ConnectionPolicy] = ConnectionPolicy()
    allow_deflate: ClassVar[bool] = True

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if not self.allow_deflate:
            self.conn.available_extensions = []
        policy = self.policy
        self._context = context_of(server_state, self.loop)
        limits = FrameLimits(config.ws_max_size or _UNLIMITED, fragments=policy.fragments)
        self._client_frames = ClientFrames(limits)
        self._controls = RateLimit(policy.controls_per_second, policy.control_burst, now=self.loop.time())
        self._early = b""
        self._pong: bytes | None = None
        self._timed = False

    # The handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the transport's buffer limits are set, since uvloop's low mark is 16 bytes."""
        real = cast("asyncio.Transport", transport)
        super().connection_made(real)
        real.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        gone = self._context.deadlines(Wait.GONE, self.policy.close_seconds)
        self._bounded = BoundedTransport(real, gone)
        self.transport = cast("asyncio.Transport", self._bounded)

    def upgrade(self, path: bytes, headers: list[tuple[bytes, bytes]], early: bytes) -> None:
        """Begin with a head that has been parsed already, instead of having it serialised and parsed again.

        Args:
            path: the request target, with its query.
            headers: as received; names and values have passed an HTTP parser.
            early: what the client sent behind its handshake.
        """
        fields = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
        self.handle_connect(Request(path.decode("latin-1"), fields))
        if early:
            self.data_received(early)

    def handle_connect(self, event: Request) -> None:
        """Start the application."""
        super().handle_connect(event)
        if self.conn.extensions:
            self._client_frames.inflater = DeflateInflater(self.conn.extensions[0])

    @classmethod
    def offered(cls, admission: WebSocketAdmission) -> dict[str, Any]:  # noqa: ARG003 - for subclasses
        """What an application finds in its scope's extensions, beside what uvicorn puts there."""
        return {}

    def adopt(
        self, transport: asyncio.BaseTransport, early: bytes, *, read_paused: bool, writable: bool
    ) -> None:
        """Go on where another object has answered the handshake, and its application keeps the connection.

        Args:
            transport: its next bytes are frames.
            early: what the client sent ahead of the answer.
            read_paused: reading is paused; it goes on after the application's turn.
            writable: whether the transport takes more.
        """
        self.connection_made(transport)
        self.conn.state = State.OPEN
        self.handshake_initiated = self.handshake_complete = True
        self._early, self.read_paused = early, read_paused
        if not writable:
            self.pause_writing()
        transport.set_protocol(self)
        self.start_keepalive()
        if read_paused:
            self.loop.call_soon(self._read_on)

    async def send(self, message: ASGISendEvent) -> None:
        """See ASGI; bytes that came before the 101 are read after the application's turn."""
        if self.handshake_complete and self.transport.is_closing():
            # Closed by the peer, or by us for what it sent: no mistake of the application's.
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.accept" and self._early:
            self.loop.call_soon(self._read_on)
        elif message["type"] == "websocket.close":
            self._bounded.limit_wait()

    # Incoming

    def data_received(self, data: bytes) -> None:
        """Parse the head, or frames."""
        if self.transport.is_closing():
            return
        if not self.handshake_initiated:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                # The class below leaves the refusal unsent, and the client waiting.
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
        elif self.handshake_complete:
            self._receive(data)
        else:
            # Nobody may send before the 101, but some do: one read of it is kept.
            self._early += data
            self._pause()

    async def receive(self) -> ASGIReceiveEvent:
        """See ASGI; reading goes on once the application has had everything."""
        message = await self.queue.get()
        if self._client_frames.failure is not None:
            # After the application's turn: it may still answer what came before the violation.
            self.loop.call_soon(self._read_on)
        elif self.read_paused and self.handshake_complete and self.queue.empty():
            self._read_on()
        return message

    def _read_on(self) -> None:
        early, self._early = self._early, b""
        self.read_paused = False
        if not self.disconnected:
            self._receive(early)
        if not self.read_paused:
            self.transport.resume_reading()

    def _receive(self, data: bytes) -> None:
        frames = self._client_frames
        completed = False
        while not self.transport.is_closing():
            events = frames.feed(data)
            completed = completed or any(opcode < CLOSE for opcode, _ in events)
            for opcode, payload in events:
                self._handle(opcode, payload)
            if self.read_paused or not frames.backlog:
                break
            data = b""
        if self.transport.is_closing() or self.read_paused:
            return
        if frames.failure is not None:
            self._fail(frames.failure)
        elif self._timed or frames.unfinished:
            self._time_message(anew=completed)

    def _handle(self, opcode: int, payload: bytes) -> None:
        if self.transport.is_closing():
            return
        if opcode < CLOSE:
            # After our close frame it is discarded, and reading goes on until the peer's close arrives.
            if not self.close_sent:
                message: Any = {"type": "websocket.receive"}
                message |= {"text": payload.decode()} if opcode == TEXT else {"bytes": payload}
                self.queue.put_nowait(message)
                self._pause()
        elif opcode == CLOSE:
            self._peer_closes(payload)
        elif not self._controls.allow(self.loop.time()):
            self._fail(FrameFailure(POLICY_VIOLATION, "too many control frames"))
        elif opcode == PONG:
            self.handle_pong(Frame(Opcode.PONG, payload))
        elif self.writable.is_set():
            self._send_pong(payload)
        else:
            # RFC 6455, 5.5.3: only the most recent ping needs its pong. A peer that reads nothing gets one.
            self._pong = payload

    def _pause(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _send_pong(self, payload: bytes) -> None:
        if not self.close_sent:
            self.transport.write(server_frame(payload, PONG))

    def _peer_closes(self, payload: bytes) -> None:
        code, reason = close_code_and_reason(payload)
        self._cancel_close_timer()
        if not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.conn.send_close(None if code == NO_STATUS else code)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def _fail(self, failure: FrameFailure) -> None:
        self._context.log.warning("WebSocket closed: %s", failure.reason)
        if self.conn.state is State.OPEN:
            self.conn.fail(failure.code, failure.reason)
            self.handle_parser_exception()
        self._cancel_close_timer()
        self.transport.close()

    def _time_message(self, *, anew: bool) -> None:
        deadlines = self._context.deadlines(Wait.MESSAGE, self.policy.message_seconds)
        if not self._client_frames.unfinished:
            deadlines.stop(self)
            self._timed = False
        elif anew or not self._timed:
            deadlines.start(self, self._message_late)
            self._timed = True

    def _message_late(self) -> None:
        self._timed = False
        if self.read_paused:
            self._time_message(anew=True)  # it is the application that doesn't read
        elif self._client_frames.unfinished and not self.transport.is_closing():
            self._fail(FrameFailure(POLICY_VIOLATION, "the message took too long"))

    # Flow control and the end

    def resume_writing(self) -> None:
        """The transport takes again; the pong that is due goes first."""
        super().resume_writing()
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self._send_pong(pong)

    def shutdown(self) -> None:
        """The server shuts down; a connection that is closing already ends by itself."""
        if not self.transport.is_closing():
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes or goes."""
        super().connection_lost(exc)
        self._bounded.lost()
        self._context.deadlines(Wait.MESSAGE, self.policy.message_seconds).stop(self)

    def _cancel_close_timer(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None
