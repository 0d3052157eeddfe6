"""The protocol object that keeps a WebSocket after its handshake: small when idle, direct when busy.

It has three states. Open; closing (a close frame was sent, our direction is closed, what still comes in is
discarded until the peer goes or ``close_seconds`` are over); gone.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.codecs.websocket_frames import server_frame
from gateway.core.session.rate import RateLimit
from gateway.transports.server.server_context import Wait, half_close, plain_socket
from gateway.transports.websocket.closing import (
    ABNORMAL,
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    close_code_and_reason,
    close_payload,
)
from gateway.transports.websocket.frame_parser import CLOSE, PING, PONG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.websocket.connection import Connection, SessionHandler, Writing
    from gateway.transports.websocket.frame_parser import ClientFrames, Event
    from gateway.transports.websocket.limits import ConnectionPolicy

_PING_FRAME = server_frame(b"", PING)

_TURN_SECONDS = 0.001
"""How long one connection's messages are taken before others get their turn: one read can hold thousands."""

_STEP: Final = 4
"""Messages between two looks at the clock: each look is 2 % of what publishing takes."""


def _discard(frames: bytes) -> None:
    """What ``write`` does once nothing may be written any more."""


class LeanWebSocketProtocol(asyncio.Protocol):
    """A taken-over connection; to its session a ``takeover.Connection``.

    Attributes:
        writable: the transport's buffer is below its high mark.
        last_received: when the last bytes came in, on the clock of ``time.monotonic()``.
    """

    __slots__ = (
        "_backlog",
        "_context",
        "_controls",
        "_delivering",
        "_end",
        "_frames",
        "_handler",
        "_head",
        "_open",
        "_paused",
        "_policy",
        "_pong",
        "_timed",
        "_transport",
        "_woken",
        "_writing",
        "last_received",
        "writable",
        "write",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        frames: ClientFrames,
        *,
        context: ServerContext,
        policy: ConnectionPolicy,
        writable: bool,
        head: bytes = b"",
    ) -> None:
        self._transport = transport
        self._frames = frames
        self._context = context
        self._policy = policy
        self._handler: SessionHandler | None = None
        self._head = head  # of the handshake's answer: goes out with the first frames, or on the next turn
        # See `takeover.Connection`. One call per connection and tick: the transport's own where it can be.
        self.write: Callable[[bytes], None] = self._write_behind_head if head else transport.write
        self._writing: Writing | None = None
        self._open = True
        self._delivering = True  # open, and neither paused nor about to go on after a pause
        self._paused = False
        self._woken = False  # `_deliver_backlog` is about to be called
        self._timed = False
        self._backlog: Sequence[Event] = ()
        self._pong: bytes | None = None
        self._controls: RateLimit | None = None
        self._end = (ABNORMAL, "")
        self.writable = writable
        self.last_received = monotonic()

    def begin(self, make_session: Callable[[Connection], SessionHandler], early: Sequence[Event]) -> None:
        """Make the session; ``early`` is what came in before, delivered on the loop's next turn."""
        try:
            self._handler = make_session(self)
        except BaseException:
            self.close(INTERNAL_ERROR)
            raise
        if self._head:
            # Behind what the session has put off to the end of this turn.
            self._context.loop.call_soon(self._write_head)
        if self._open and (early or self._frames.backlog or self._frames.failure is not None):
            self._backlog = early
            if not self._paused:
                self._yield()

    # Connection: what the session calls

    def buffered_bytes(self) -> int:
        """See ``takeover.Connection``, here and below."""
        return self._transport.get_write_buffer_size()

    def write_for(self, owner: Writing) -> None:
        """For whoever writes to very many connections: this object isn't touched then."""
        self._writing = owner
        self._write_by(self.write)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and end in bounded time."""
        if not self._open:
            return
        self._stop_session()
        self._end = (code, reason)
        self._write_head()
        self._transport.write(server_frame(close_payload(code, reason), CLOSE))
        self._end_direction()

    def abort(self) -> None:
        """End at once."""
        self._stop_session()
        self._transport.abort()

    def pause_reading(self) -> None:
        """Deliver nothing more."""
        if self._open and not self._paused:
            self._paused, self._delivering = True, False
            # A transport that has failed, and has yet to say so, can't be paused under uvloop.
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on from the next turn of the loop."""
        if self._open and self._paused:
            self._paused = False
            # Not from inside the session's own call: it could be called back before it has returned.
            if not self._woken:
                self._woken = True
                self._context.loop.call_soon(self._deliver_backlog)

    def ping(self) -> None:
        """Send a ping, if anything can be sent."""
        if self._open and self.writable:
            self.write(_PING_FRAME)

    # asyncio.Protocol: what the transport calls

    def data_received(self, data: bytes) -> None:
        """Parse and deliver."""
        self.last_received = monotonic()
        if self._open:
            self._receive(data)

    def pause_writing(self) -> None:
        """The transport's buffer is above its high mark."""
        self.writable = False
        self._call_session("writable_changed", False)

    def resume_writing(self) -> None:
        """It is below its low mark."""
        self.writable = True
        if self._open and self._pong is not None:
            pong, self._pong = self._pong, None
            self.write(server_frame(pong, PONG))
        self._call_session("writable_changed", True)

    def eof_received(self) -> None:
        """The peer's direction has ended; the transport then closes itself, once its buffer is empty."""
        self._stop_session()
        self._limit_wait()
        self._notify_end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Nothing more comes or goes."""
        self._stop_session()
        self._context.connections.discard(self)
        self._context.deadlines(Wait.GONE, self._policy.close_seconds).stop(self)
        self._notify_end()

    # uvicorn.Server.shutdown

    def shutdown(self) -> None:
        """Have the session say goodbye; the server waits until the connection has gone."""
        self._call_session("drain")

    # Incoming

    def _receive(self, data: bytes) -> None:
        frames = self._frames
        completed = False
        events = frames.feed(data)
        if self._timed or frames.unfinished:
            # A client that sends pongs in between has not come any further.
            completed = any(opcode < CLOSE for opcode, _ in events)
        self._deliver(events)
        if self._delivering and frames.backlog:
            self._yield()
        if self._delivering and frames.failure is not None:
            self._context.log.warning("WebSocket closed: %s", frames.failure.reason)
            self.close(frames.failure.code, frames.failure.reason)
        elif self._timed or frames.unfinished:
            self._time_message(anew=completed)

    def _deliver(self, events: Sequence[Event]) -> None:
        handler = self._handler
        if handler is None:
            return
        until = monotonic() + _TURN_SECONDS if len(events) > _STEP else 0.0
        for index, (opcode, payload) in enumerate(events):
            if index and not index % _STEP and monotonic() > until and self._delivering:
                self._yield()
            if not self._delivering:
                self._backlog = [*self._backlog, *events[index:]] if self._open else ()
                return
            if opcode >= CLOSE:
                self._control(opcode, payload)
                continue
            try:
                handler.message_received(opcode, payload)
            except Exception as error:  # noqa: BLE001 - a session's defect must not reach its neighbours
                self._failed(error)

    def _yield(self) -> None:
        """Go on in the loop's next turn."""
        # The transport is paused too: what it read meanwhile would have to be held beside the backlog.
        self.pause_reading()
        self.resume_reading()
        self._call_session("more_to_read")

    def _deliver_backlog(self) -> None:
        self._woken = False
        if not self._open or self._paused:
            return
        self._delivering = True
        events, self._backlog = self._backlog, ()
        self._deliver(events)
        if self._delivering and events and self._frames.backlog:
            self._yield()
        elif self._delivering:
            self._receive(b"")
        if self._delivering and not self._transport.is_closing():
            self._transport.resume_reading()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._peer_closes(payload)
            return
        now = self.last_received  # a flood comes in few reads: one look at the clock for all of a read
        if self._controls is None:
            policy = self._policy
            self._controls = RateLimit(policy.controls_per_second, policy.control_burst, now=now)
        if not self._controls.allow(now):
            self._context.log.warning("WebSocket closed: too many pings or pongs")
            self.close(POLICY_VIOLATION, "too many control frames")
        elif opcode == PING and self.writable:
            self.write(server_frame(payload, PONG))
        elif opcode == PING:
            # RFC 6455, 5.5.3: only the most recent ping needs its pong. A peer that reads nothing gets one.
            self._pong = payload

    def _peer_closes(self, payload: bytes) -> None:
        self._end = close_code_and_reason(payload)
        self._stop_session()
        self._write_head()
        self._transport.write(server_frame(payload[:2], CLOSE))
        self._end_direction()
        self._notify_end()

    def _time_message(self, *, anew: bool) -> None:
        deadlines = self._context.deadlines(Wait.MESSAGE, self._policy.message_seconds)
        if not self._frames.unfinished:
            deadlines.stop(self)
            self._timed = False
        elif anew or not self._timed:
            deadlines.start(self, self._message_late)
            self._timed = True

    def _message_late(self) -> None:
        self._timed = False
        if self._open and not self._delivering:
            self._time_message(anew=True)  # it is us who don't read
        elif self._open and self._frames.unfinished:
            self._context.log.warning("WebSocket closed: a message took too long")
            self.close(POLICY_VIOLATION, "the message took too long")

    # The end

    def _write_behind_head(self, frames: bytes) -> None:
        head, self._head = self._head, b""
        self._write_by(self._transport.write)
        self._transport.write(head + frames)

    def _write_by(self, write: Callable[[bytes], None]) -> None:
        self.write = write
        owner = self._writing
        if owner is not None:
            owner.write = write
            # A descriptor is closed, and may be another connection's, only after `connection_lost`: by then
            # nobody has it from here any more.
            descriptor = plain_socket(self._transport) if self._open and not self._head else None
            owner.transport = None if descriptor is None else self._transport
            owner.descriptor = -1 if descriptor is None else descriptor

    def _stop_session(self) -> None:
        # Whoever writes looks at no state: it calls what it was given, which must do nothing from here on.
        self._open = self._delivering = False
        self._write_by(_discard)
        self._backlog = ()
        if self._timed:
            self._timed = False
            self._context.deadlines(Wait.MESSAGE, self._policy.message_seconds).stop(self)

    def _write_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)
        if self._open:
            self._write_by(self._transport.write)

    def _end_direction(self) -> None:
        # Read on: bytes that nobody reads turn the close into a reset, which discards our close frame.
        if not self._transport.is_closing():
            self._transport.resume_reading()
        half_close(self._transport)
        self._limit_wait()

    def _limit_wait(self) -> None:
        waits = self._context.deadlines(Wait.GONE, self._policy.close_seconds)
        waits.start(self, self._transport.abort)

    def _notify_end(self) -> None:
        # Taken out first: a close frame and the connection's loss both end here, the session hears one.
        handler, self._handler = self._handler, None
        self._writing = None
        if handler is not None:
            try:
                handler.connection_closed(*self._end)
            except Exception as error:  # noqa: BLE001
                self._failed(error)

    def _call_session(self, name: str, *arguments: bool) -> None:
        if self._open and self._handler is not None:
            try:
                getattr(self._handler, name)(*arguments)
            except Exception as error:  # noqa: BLE001
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._context.log.defect("WebSocket closed: its session failed", error)
        self.close(INTERNAL_ERROR)
