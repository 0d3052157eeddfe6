"""Starlette admits, a lean protocol keeps: what an endpoint and a session see of it.

A WebSocket that stays in its ASGI endpoint costs 25 KiB: request, headers, scope, routing, a task and its
coroutines. Our server therefore offers, in the scope's extensions under ``EXTENSION``, to take an accepted
connection over: the endpoint returns, all of that is let go, and a slotted protocol object calls the session
directly.

    await websocket.accept()
    websocket.scope["extensions"][EXTENSION].take_over(make_session, max_message=65536)

Everything here happens on the event loop's thread, synchronously.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.fanout.outbox import Buffering

EXTENSION = "gateway.takeover"
WEBSOCKET_PATH = "/v1/ws"

WRITE_HIGH_BYTES = 64 * 1024
"""Above this many bytes in the transport's buffer the connection isn't writable, until a quarter is left."""


class SessionHandler(Protocol):
    """What the connection tells; an error it raises closes this connection with 1011 and no other."""

    def message_received(self, opcode: int, payload: bytes) -> None:
        """Take one complete message; ``opcode`` is 1 (text) or 2 (binary).

        Never called after ``pause_reading`` (until resumed), ``close``, ``abort`` or ``connection_closed``.
        """
        ...

    def more_to_read(self) -> None:
        """What was read holds more messages, which come in a later turn of the event loop."""
        ...

    def writable_changed(self, writable: bool) -> None:
        """The transport's buffer crossed a mark; not called once the connection is closing."""
        ...

    def connection_closed(self, code: int, reason: str) -> None:
        """The end, exactly once, and never from inside a call of the session's own.

        With the code of the peer's close frame (1005 if it had none) as soon as that is read; 1006 when the
        network ended it or it was aborted; ours, once the peer has gone, after ``close`` or a violation.
        """
        ...

    def drain(self) -> None:
        """The server shuts down: say goodbye and ``close``, in the session's own time."""
        ...


class Writing(Protocol):
    """Who calls a connection's ``write`` so often that looking it up matters.

    Attributes:
        write: the connection's.
        transport: set where a socket may be given the same bytes as ``write`` in its place, as long as this
            transport holds none; None from the moment on where that is no longer so.
        descriptor: of that socket.
    """

    write: Callable[[bytes], None]
    transport: Buffering | None
    descriptor: int


class Connection(Protocol):
    """What a session can do with its connection; every call is safe after the end, and does nothing then."""

    @property
    def writable(self) -> bool:
        """Whether the transport's buffer is below its mark."""
        ...

    @property
    def last_received(self) -> float:
        """When the last bytes came in, on the clock of ``time.monotonic()``; not while reading is paused."""
        ...

    def write(self, frames: bytes) -> None:
        """Write complete, unmasked frames."""
        ...

    def write_for(self, owner: Writing) -> None:
        """Keep ``owner.write`` the same as ``write`` until the end, whatever that becomes on the way.

        Its ``transport`` and ``descriptor`` likewise, where the connection has what they stand for.
        """
        ...

    def buffered_bytes(self) -> int:
        """How many bytes the transport holds."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame behind what is buffered, and end within the protocol class's ``close_seconds``.

        Whoever still isn't gone then, a client that reads nothing for example, is aborted.
        """
        ...

    def abort(self) -> None:
        """End at once, without a close frame; what is buffered is lost."""
        ...

    def pause_reading(self) -> None:
        """Deliver no further message, not even those of the same read; they wait, bounded by one read."""
        ...

    def resume_reading(self) -> None:
        """Deliver what waits, from the next turn of the loop on, then go on reading."""
        ...

    def ping(self) -> None:
        """Send a ping if the connection is writable; the pong moves ``last_received``."""
        ...


class Takeover(Protocol):
    """The extension's object."""

    def take_over(
        self,
        make_session: Callable[[Connection], SessionHandler],
        *,
        max_message: int,
        refuse_invalid_text: bool = False,
        write_high: int = WRITE_HIGH_BYTES,
    ) -> None:
        """Let ``make_session`` have the connection; call it after ``accept`` and return from the endpoint.

        What the client sent behind its handshake is delivered on the next turn of the loop.

        Args:
            make_session: called once, before this returns.
            max_message: bytes of a message over all fragments, at least 125; more is closed with 1009.
            refuse_invalid_text: close with 1007 for text that isn't UTF-8, instead of delivering it.
            write_high: bytes in the transport's buffer from which on the connection isn't writable.

        Raises:
            ConnectionError: it isn't accepted yet, is closing, has gone, or was taken over before.
        """
        ...
