"""The WebSocket class for uvicorn, ``Config(ws=GatewayWebSocketProtocol)``: hardened, and with a takeover.

An application that doesn't ask for the takeover finds a plain ASGI server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from websockets.protocol import State

from gateway.transports.server.server_context import Wait
from gateway.transports.websocket.asgi_websocket import AsgiWebSocketProtocol
from gateway.transports.websocket.connection import EXTENSION, WRITE_HIGH_BYTES
from gateway.transports.websocket.frame_parser import BINARY, TEXT, FrameLimits
from gateway.transports.websocket.protocol import LeanWebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request

    from gateway.transports.websocket.connection import Connection, SessionHandler
    from gateway.transports.websocket.frame_parser import Event
    from gateway.transports.websocket.limits import ConnectionPolicy
    from gateway.transports.websocket.opening import WebSocketAdmission


class GatewayWebSocketProtocol(AsgiWebSocketProtocol):
    """One WebSocket connection under uvicorn, until its end or its takeover."""

    @classmethod
    def offered(cls, admission: WebSocketAdmission) -> dict[str, Any]:
        """The takeover."""
        return {EXTENSION: UvicornTakeover(admission)}

    def handle_connect(self, event: Request) -> None:
        """Start the application, with the takeover in its scope's extensions."""
        super().handle_connect(event)
        # The application's task has not begun to run; a refused handshake has no scope.
        if hasattr(self, "scope"):
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[EXTENSION] = UvicornTakeover(self)

    def check_open(self) -> None:
        """Raise ``ConnectionError`` unless it is accepted and not closing."""
        if self.conn.state is not State.OPEN or self.transport.is_closing():
            raise ConnectionError("the connection is not open")

    def take_over(
        self,
        make_session: Callable[[Connection], SessionHandler],
        *,
        max_message: int,
        refuse_invalid_text: bool,
        write_high: int,
    ) -> None:
        """See ``takeover.Takeover``."""
        limits = FrameLimits(
            max_message, fragments=self.policy.fragments, refuse_invalid_text=refuse_invalid_text
        )
        transport = self._bounded.release()
        self.stop_keepalive()
        self._context.deadlines(Wait.MESSAGE, self.policy.message_seconds).stop(self)
        frames, early = self._client_frames, self._take_queue()
        frames.limits = limits
        if self._early:
            early += frames.feed(self._early)
        lean = LeanWebSocketProtocol(
            transport, frames, context=self._context, policy=self.policy, writable=self.writable.is_set()
        )
        if self.read_paused:
            transport.resume_reading()
        self._context.connections.discard(self)
        self._context.connections.add(lean)
        transport.set_protocol(lean)
        transport.set_write_buffer_limits(high=write_high)
        self._forget()
        lean.begin(make_session, early)

    def _take_queue(self) -> list[Event]:
        """The messages that the application has not received."""
        events: list[Event] = []
        while not self.queue.empty():
            message = cast("dict[str, Any]", self.queue.get_nowait())
            if message["type"] == "websocket.receive":
                text = message.get("text")
                events.append((TEXT, text.encode()) if text is not None else (BINARY, message["bytes"]))
        return events

    def _forget(self) -> None:
        """Let go of the request, and of the cycles that would keep it until the next garbage collection."""
        self.disconnected = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.conn.parser.close()
        self._early = b""
        for name in ("scope", "request", "response", "_client_frames"):
            vars(self).pop(name, None)


class _Holder(Protocol):
    def check_open(self) -> None: ...

    def take_over(
        self,
        make_session: Callable[[Connection], SessionHandler],
        *,
        max_message: int,
        refuse_invalid_text: bool,
        write_high: int,
    ) -> None: ...


class UvicornTakeover:
    """The extension's object; it doesn't keep the protocol object once that is done with."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: _Holder) -> None:
        self._protocol: _Holder | None = protocol

    def take_over(
        self,
        make_session: Callable[[Connection], SessionHandler],
        *,
        max_message: int,
        refuse_invalid_text: bool = False,
        write_high: int = WRITE_HIGH_BYTES,
    ) -> None:
        """See ``takeover.Takeover``."""
        protocol = self._protocol
        if protocol is None:
            raise ConnectionError("the connection was taken over before")
        protocol.check_open()
        self._protocol = None
        protocol.take_over(
            make_session,
            max_message=max_message,
            refuse_invalid_text=refuse_invalid_text,
            write_high=write_high,
        )


def websocket_protocol(policy: ConnectionPolicy) -> type[GatewayWebSocketProtocol]:
    """A class with these bounds, for ``uvicorn.Config(ws=…)``."""
    return type("BoundedWebSocketProtocol", (GatewayWebSocketProtocol,), {"policy": policy})
