"""A WebSocket from its request's head to the application's answer, at the least cost per connection.

Uvicorn's WebSocket class parses the head again, negotiates, keeps queues, events and a protocol machine, all
made per connection and thrown away by a takeover a moment later. This object does what lies between: it runs
the application with a scope made from the head that the HTTP class has read, and answers as it says. It has
no messages to give: the application refuses, or accepts and takes the connection over. A door that answers
without an application (``takeover_offer.DirectDoor``) is given the same scope, and needs no task as long as
it has nothing to wait for.

The 101 waits until the application has decided, at most to the next turn of the loop: whoever takes over
joins it with what the session says first, one system call instead of two.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_path_with_query_string

from gateway.codecs.websocket_frames import server_frame
from gateway.transports.server.server_context import Wait, half_close
from gateway.transports.websocket.closing import INTERNAL_ERROR, close_payload
from gateway.transports.websocket.connection import EXTENSION, WRITE_HIGH_BYTES
from gateway.transports.websocket.frame_parser import CLOSE, ClientFrames, FrameLimits
from gateway.transports.websocket.handshake import accepted, answered
from gateway.transports.websocket.protocol import LeanWebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Scope
    from uvicorn.server import ServerState

    from gateway.transports.server.server_context import ServerContext
    from gateway.transports.websocket.connection import Connection, SessionHandler
    from gateway.transports.websocket.limits import ConnectionPolicy
    from gateway.transports.websocket.takeover_offer import DirectDoor


class _Phase(Enum):
    WAITING = "for the application's answer"
    ANSWERING = "with an HTTP response that refuses"
    ACCEPTED = "and to be taken over"
    OVER = "taken over, refused or lost"


_frame_limits = lru_cache(FrameLimits)  # equal for all connections of an endpoint: one object for all


class WebSocketOpening(asyncio.Protocol):
    """One connection while the application decides on it; to the application a ``connection.Takeover``.

    To a door that decides in its place it is a ``takeover_offer.OpenHandshake``.
    """

    __slots__ = (
        "_answer",
        "_changed",
        "_connect_told",
        "_context",
        "_early",
        "_head",
        "_key",
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
        policy: ConnectionPolicy,
        context: ServerContext,
        state: ServerState,
        writable: bool,
    ) -> None:
        self._transport = transport
        self._key = key
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
        self._changed: asyncio.Event | None = None  # made for the application that asks ahead of its answer
        self._scope: Scope | None = None

    def begin(self, app: ASGIApp, scope: Scope, early: bytes) -> None:
        """Start the application, and offer it the takeover.

        Args:
            app: to decide.
            scope: of the handshake.
            early: what the client sent behind it.
        """
        scope["extensions"][EXTENSION] = self
        self._wait_for(partial(app, scope, self._receive, self._send), scope, early)

    def ask(self, door: DirectDoor, scope: Scope, early: bytes) -> None:
        """Have ``door`` decide; the other arguments are as for ``begin``."""
        self._scope, self._early = scope, early
        try:
            later = door.answer(scope, self)
        except Exception:
            self._context.logger.exception("a WebSocket handshake can't be answered\n")
            later = None
        if later is not None:
            self._early = b""
            self._wait_for(later, scope, early)
            return
        self._scope = None
        if self._phase is not _Phase.OVER:
            self._attend()
            self._give_up()

    def _attend(self) -> None:
        """Be told of what happens to the connection."""
        self._context.connections.add(self)
        self._transport.set_protocol(self)

    def _wait_for(self, answer: Callable[[], Awaitable[None]], scope: Scope, early: bytes) -> None:
        self._attend()
        if early:
            self.data_received(early)
        task = self._context.loop.create_task(self._run(answer, scope))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Keep what comes ahead of the 101, one read of it; nobody may send so early, but some do."""
        if self._phase is _Phase.OVER:
            return
        self._early += data
        # Who sends early could send without end, and nothing is parsed before there is a session.
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
        self._give_up()

    # ASGI

    async def _run(self, answer: Callable[[], Awaitable[None]], scope: Scope) -> None:
        logger = self._context.logger
        self._scope = scope
        try:
            await answer()
            if self._undecided():
                logger.error("ASGI callable returned without completing handshake.")
            elif self._phase is _Phase.ACCEPTED:
                logger.error("ASGI callable returned without taking the accepted WebSocket over.")
        except ClientDisconnected:
            pass
        except Exception:
            logger.exception("Exception in ASGI application\n")
        finally:
            # The scope holds this object: together they would wait for the garbage collector.
            self._scope = None
            self._give_up()

    def _give_up(self) -> None:
        """Nothing more comes from the application, or nothing is waited for."""
        if self._phase is _Phase.WAITING:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")
        elif self._phase is _Phase.ANSWERING:
            self._end()
        elif self._phase is _Phase.ACCEPTED:
            self._write_head()
            if not self._transport.is_closing():
                self._transport.write(server_frame(close_payload(INTERNAL_ERROR, ""), CLOSE))
            self._end()

    async def _receive(self) -> Message:
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        while self._undecided():
            self._changed = self._changed or asyncio.Event()
            await self._changed.wait()
        if self._phase is _Phase.ACCEPTED:
            raise RuntimeError("messages come to the session that takes the connection over")
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        if self._phase is _Phase.WAITING:
            self._decide(message)
        elif self._phase is _Phase.ANSWERING:
            self._add_to_answer(message)
        elif self._phase is _Phase.ACCEPTED:
            raise RuntimeError("messages are sent by the session that takes the connection over")
        else:
            raise ClientDisconnected

    def _decide(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            # Starlette's messages always have `headers`, ASGI doesn't demand it.
            self._accept(message.get("subprotocol"), message.get("headers", ()))
            self._context.loop.call_soon(self._write_head)
        elif kind == "websocket.close":
            self._log("403")
            self._refuse(HTTPStatus.FORBIDDEN)
        elif kind == "websocket.http.response.start":
            self._log(str(message["status"]))
            self._answer = (message["status"], b"", [*message.get("headers", ())])
            self._phase = _Phase.ANSWERING
        else:
            raise RuntimeError(f"websocket.accept, .close or .http.response.start is due, not {kind!r}")

    def _add_to_answer(self, message: Message) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"websocket.http.response.body is due, not {message['type']!r}")
        assert self._answer is not None
        status, body, fields = self._answer
        self._answer = (status, body + message.get("body", b""), fields)
        if not message.get("more_body", False):
            self._refuse(*self._answer)

    # The door's answers: see ``takeover_offer.OpenHandshake``

    def accept(self, subprotocol: str | None) -> None:
        """Let the client in."""
        if self._phase is not _Phase.WAITING:
            raise ClientDisconnected
        self._accept(subprotocol)

    def refuse(self, answer: Response) -> None:
        """Send the client away."""
        if self._phase is _Phase.WAITING:
            self._attend()
            self._log(str(answer.status_code))
            self._refuse(answer.status_code, bytes(answer.body), answer.raw_headers)

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

    def _accept(self, subprotocol: str | None, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._log("[accepted]")
        self._head = accepted(self._key, subprotocol, [*self._state.default_headers, *fields])
        self._enter(_Phase.ACCEPTED)

    def _write_head(self) -> None:
        """Answer now; where the connection was taken over meanwhile, its session has the head."""
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)

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
        self._early = self._head = b""
        self._enter(_Phase.OVER)

    # The takeover

    def take_over(
        self,
        make_session: Callable[[Connection], SessionHandler],
        *,
        max_message: int,
        refuse_invalid_text: bool = False,
        write_high: int = WRITE_HIGH_BYTES,
    ) -> None:
        """See ``connection.Takeover``."""
        transport = self._transport
        if self._phase is not _Phase.ACCEPTED or transport.is_closing():
            raise ConnectionError("the connection is not open")
        limits = _frame_limits(
            max_message, fragments=self._policy.fragments, refuse_invalid_text=refuse_invalid_text
        )
        frames = ClientFrames(limits)
        early: Sequence[tuple[int, bytes]] = frames.feed(self._early) if self._early else ()
        lean = LeanWebSocketProtocol(
            transport,
            frames,
            context=self._context,
            policy=self._policy,
            writable=self._writable,
            head=self._head,
        )
        # Ahead of `begin`, which runs the session: from here on nothing of the application's reaches it.
        self._leave()
        if self._read_paused:
            transport.resume_reading()
        self._context.connections.add(lean)
        transport.set_protocol(lean)
        transport.set_write_buffer_limits(high=write_high)
        lean.begin(make_session, early)
