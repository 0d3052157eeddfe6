"""A WebSocket from its request's head to the application's answer, at the least cost per connection.

Uvicorn's WebSocket class parses the head again, negotiates, keeps queues, events and a protocol machine, all
made per connection and thrown away by a takeover a moment later. This object does what lies between: it runs
the application with a scope made from the head that the HTTP class has read, and answers as it says. Only for
an application that keeps the connection itself the full class is made, once the handshake is over.

The 101 waits until the application has decided, at most to the next turn of the loop: whoever takes over
joins it with what the session says first, one system call instead of two.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_path_with_query_string

from gateway.transports.server.server_context import Wait, half_close
from gateway.transports.websocket.frame_parser import ClientFrames, FrameLimits
from gateway.transports.websocket.handshake import accepted, answered
from gateway.transports.websocket.protocol import LeanWebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Scope
    from uvicorn.server import ServerState

    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.websocket.asgi_websocket import AsgiWebSocketProtocol
    from gateway.transports.websocket.connection import Connection, SessionHandler
    from gateway.transports.websocket.limits import ConnectionPolicy


class _Phase(Enum):
    WAITING = "for the application's answer"
    ANSWERING = "with an HTTP response that refuses"
    ACCEPTED = "the 101 is due"
    KEPT = "by the application, through the full class"
    OVER = "taken over, refused or lost"


_frame_limits = lru_cache(FrameLimits)  # equal for all connections of an endpoint: one object for all


class WebSocketAdmission(asyncio.Protocol):
    """One connection while the application decides on it."""

    __slots__ = (
        "_answer",
        "_changed",
        "_connect_told",
        "_context",
        "_early",
        "_head",
        "_kept",
        "_key",
        "_make_full",
        "_phase",
        "_policy",
        "_read_paused",
        "_scope",
        "_state",
        "_transport",
        "_writable",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        key: bytes,
        *,
        make_full: Callable[[], AsgiWebSocketProtocol],
        policy: ConnectionPolicy,
        context: ServerContext,
        state: ServerState,
        writable: bool,
    ) -> None:
        self._transport = transport
        self._key = key
        self._make_full = make_full
        self._policy = policy
        self._context = context
        self._state = state
        self._writable = writable
        self._phase = _Phase.WAITING
        self._connect_told = False
        self._read_paused = False
        self._early = b""
        self._head = b""
        self._answer: tuple[int, bytes, list[tuple[bytes, bytes]]] | None = None
        self._kept: AsgiWebSocketProtocol | None = None
        self._changed: asyncio.Event | None = None  # made for the application that asks ahead of its answer
        self._scope: Scope | None = None

    def begin(self, app: ASGIApp, scope: Scope, early: bytes) -> None:
        """Start the application; ``early`` is what the client sent behind its handshake."""
        self._context.connections.add(self)
        self._transport.set_protocol(self)
        if early:
            self.data_received(early)
        task = self._context.loop.create_task(self._run(app, scope))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Keep what comes ahead of the 101, one read of it; nobody may send so early, but some do."""
        if self._phase is _Phase.OVER:
            return
        self._early += data
        if not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """An earlier response is still in the transport's buffer."""
        self._writable = False

    def resume_writing(self) -> None:
        """It has been taken."""
        self._writable = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client has gone before it was answered, or after it was refused."""
        self._context.deadlines(Wait.GONE, self._policy.close_seconds).stop(self)
        self._leave()

    # uvicorn.Server.shutdown

    def shutdown(self) -> None:
        """The server shuts down."""
        if self._phase is _Phase.ACCEPTED:
            self._keep().shutdown()
        elif self._phase is not _Phase.OVER:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")

    # ASGI

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        logger = self._context.logger
        self._scope = scope
        try:
            await app(scope, self._receive, self._send)
            if self._undecided():
                logger.error("ASGI callable returned without completing handshake.")
        except ClientDisconnected:
            pass
        except Exception:
            logger.exception("Exception in ASGI application\n")
        finally:
            self._scope = None
            self._application_ended()

    def _application_ended(self) -> None:
        if self._phase is _Phase.WAITING:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")
        elif self._phase is _Phase.ANSWERING:
            self._end()
        elif self._phase is _Phase.ACCEPTED:
            self._keep()
        if self._kept is not None and self._kept.close_timer is None:
            self._kept.transport.close()

    async def _receive(self) -> Message:
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        while self._undecided():
            self._changed = self._changed or asyncio.Event()
            await self._changed.wait()
        if self._phase is _Phase.ACCEPTED:
            self._keep()
        if self._kept is not None:
            return cast("Message", await self._kept.receive())
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        phase = self._phase
        if phase is _Phase.ACCEPTED:
            self._keep()
        if self._kept is not None:
            await self._kept.send(cast("Any", message))
        elif phase is _Phase.WAITING:
            self._decide(message)
        elif phase is _Phase.ANSWERING:
            self._go_on_answering(message)
        else:
            raise ClientDisconnected

    def _decide(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self._log("[accepted]")
            # Starlette's messages always have `headers`, ASGI doesn't demand it.
            fields = [*self._state.default_headers, *message.get("headers", ())]
            self._head = accepted(self._key, message.get("subprotocol"), fields)
            self._enter(_Phase.ACCEPTED)
            self._context.loop.call_soon(self._settle)
        elif kind == "websocket.close":
            self._log("403")
            self._refuse(HTTPStatus.FORBIDDEN)
        elif kind == "websocket.http.response.start":
            self._log(str(message["status"]))
            self._answer = (message["status"], b"", [*message.get("headers", ())])
            self._phase = _Phase.ANSWERING
        else:
            raise RuntimeError(f"websocket.accept, .close or .http.response.start is due, not {kind!r}")

    def _go_on_answering(self, message: Message) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"websocket.http.response.body is due, not {message['type']!r}")
        assert self._answer is not None
        status, body, fields = self._answer
        self._answer = (status, body + message.get("body", b""), fields)
        if not message.get("more_body", False):
            self._refuse(*self._answer)

    def _log(self, outcome: str) -> None:
        logger, scope = self._context.logger, cast("Any", self._scope)
        if logger.isEnabledFor(logging.INFO):
            path = get_path_with_query_string(scope)
            logger.info('%s - "WebSocket %s" %s', get_client_addr(scope), path, outcome)

    # The ways on

    def _undecided(self) -> bool:
        return self._phase is _Phase.WAITING or self._phase is _Phase.ANSWERING

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        if self._changed is not None:
            self._changed.set()

    def _settle(self) -> None:
        if self._phase is _Phase.ACCEPTED:
            self._keep()

    def _keep(self) -> AsgiWebSocketProtocol:
        """The application keeps the connection itself: the full class goes on."""
        self._transport.write(self._head)
        self._context.connections.discard(self)
        full = self._kept = self._make_full()
        self._enter(_Phase.KEPT)
        full.adopt(self._transport, self._early, read_paused=self._read_paused, writable=self._writable)
        return full

    def _refuse(self, status: int, body: bytes = b"", fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        answer = answered(status, [*self._state.default_headers, *fields], body)
        if not self._transport.is_closing():
            self._transport.write(answer)
        self._end()

    def _end(self) -> None:
        """End our direction, and wait for the peer to end its own, in bounded time."""
        self._enter(_Phase.OVER)
        self._early = b""
        if self._transport.is_closing():
            return
        if self._read_paused:
            self._transport.resume_reading()
        half_close(self._transport)
        gone = self._context.deadlines(Wait.GONE, self._policy.close_seconds)
        gone.start(self, self._transport.abort)

    def _leave(self) -> None:
        self._context.connections.discard(self)
        self._early = b""
        self._enter(_Phase.OVER)

    # The takeover; see `takeover.Takeover`

    def check_open(self) -> None:
        """Raise ``ConnectionError`` unless it is accepted and not closing."""
        if self._kept is not None:
            cast("Any", self._kept).check_open()
        elif self._phase is not _Phase.ACCEPTED or self._transport.is_closing():
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
        if self._kept is not None:
            cast("Any", self._kept).take_over(
                make_session,
                max_message=max_message,
                refuse_invalid_text=refuse_invalid_text,
                write_high=write_high,
            )
            return
        limits = _frame_limits(
            max_message, fragments=self._policy.fragments, refuse_invalid_text=refuse_invalid_text
        )
        frames = ClientFrames(limits)
        early: Sequence[tuple[int, bytes]] = frames.feed(self._early) if self._early else ()
        transport = self._transport
        lean = LeanWebSocketProtocol(
            transport,
            frames,
            context=self._context,
            policy=self._policy,
            writable=self._writable,
            head=self._head,
        )
        self._leave()
        if self._read_paused:
            transport.resume_reading()
        self._context.connections.add(lean)
        transport.set_protocol(lean)
        transport.set_write_buffer_limits(high=write_high)
        lean.begin(make_session, early)
