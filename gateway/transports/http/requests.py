"""One request after another on a connection, as uvicorn has it, but for less, and bounded.

What differs: the cycles are ``HttpCycle``, and the wait for another request is one of many in a shared
queue instead of a timer of the event loop, which each answer would make and each request cancel.

A client may send requests ahead of the answers. One read can hold thousands of them, and each costs more than
a hundred times its bytes once it is parsed. So a read is parsed piece by piece, a piece ending where a head
ends: as soon as ``MOST_WAITING`` requests wait, the rest stays as the bytes that came. A few of these are
taken, since only who reads notices that the client goes; then nothing is read any more.

Nothing here is left to the garbage collector: a connection that is lost lets go of its parser, its cycles and
what they hold, which all refer to one another.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.transports.http.cycle import HttpCycle
from gateway.transports.http.request_flow import RequestFlow
from gateway.transports.http.unread_responses import UnreadResponse, UnreadResponses
from gateway.transports.server.server_context import Wait, context_of

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.server import ServerState

MOST_WAITING: Final = 4
"""How many requests of a connection wait, parsed, behind the one that is being answered."""
_MOST_HELD: Final = 64 * 1024
"""How many bytes behind them are held before nothing more is read; one read may pass it."""

_HEAD_END: Final = b"\r\n\r\n"


class RequestSequence(HttpToolsProtocol):
    """Runs the application for each request whose head is complete, in their order."""

    write_seconds: ClassVar[float] = 30.0
    """How long a client may take nothing of a response."""
    unread: ClassVar[UnreadResponses] = UnreadResponses()
    flow: RequestFlow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._context = context_of(server_state, self.loop)
        self._quiet = self._context.deadlines(Wait.REQUEST, self.timeout_keep_alive)
        self._running: HttpCycle | None = None  # whose application runs; `cycle` is the one read last
        self._held = b""  # a read, of which what is behind `_held_at` isn't parsed yet
        self._held_at = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.flow = RequestFlow(transport)
        self._unread = UnreadResponse(
            transport,
            self.unread,
            self._context.deadlines(Wait.TAKEN, self.write_seconds),
            self._context.log,
        )

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
        super().connection_lost(exc)
        self._quiet.stop(self)
        self._unread.end()
        if self._running is not None:
            # The class below tells the cycle that was read last, which may not have begun.
            self._running.disconnected = True
            self._running.message_event.set()
        self._forget()

    def _forget(self) -> None:
        """Let go of all that refers to this object, so that it is freed without a collection."""
        self.pipeline.clear()
        self._running = None
        self._held = b""
        self.parser = None  # type: ignore[assignment]
        self.scope = None  # type: ignore[assignment]
        self.headers = None  # type: ignore[assignment]
        self.cycle = None  # type: ignore[assignment]

    def _feed(self, data: bytes, at: int = 0) -> None:
        """Parse what is behind ``at``, no further than requests may wait."""
        first = data.find(_HEAD_END, at)
        if at == 0 and not self.pipeline and (first < 0 or data.find(_HEAD_END, first + 4) < 0):
            # With a single head in it, nothing can begin behind that one: the common read, in one go.
            if not self._ending() and self._parse(data, data, len(data)):
                self._fed()
            return
        while at < len(data) and not self._ending():
            if len(self.pipeline) >= MOST_WAITING:
                self._hold(data, at)
                return
            end = self._end_of_piece(data, at)
            if not self._parse(data[at:end], data, end):
                return
            at = end
        self._fed()

    @staticmethod
    def _end_of_piece(data: bytes, at: int) -> int:
        found = data.find(_HEAD_END, at)
        return len(data) if found < 0 else found + len(_HEAD_END)

    def _hold(self, data: bytes, at: int) -> None:
        self._held, self._held_at = data, at
        if len(data) - at > _MOST_HELD:
            self.flow.waiting = True
            self.flow.pause_reading()

    def _ending(self) -> bool:
        """Whether the last request that was read ends the connection: what is sent behind it is nobody's."""
        cycle = self.cycle
        return cycle is not None and not cycle.keep_alive and not cycle.more_body

    def _parse(self, piece: bytes, read: bytes, end: int) -> bool:
        """Hand ``piece``, which ends at ``end`` of ``read``, to the parser; False: nothing may follow."""
        raise NotImplementedError

    def _fed(self) -> None:
        """A whole read has been parsed."""
        raise NotImplementedError

    def on_headers_complete(self) -> None:
        """A complete head of a request that is no handshake."""
        scope, root = self.scope, self.root_path
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = root + (unquote(path) if "%" in path else path)
        scope["raw_path"] = root.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        self._begin_cycle()

    def on_response_complete(self) -> None:
        """A response's end: the next request that is here already, or a limited wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._unread.begin()
            return
        self._running = None
        if self.pipeline or self._held:
            self._go_on()
        else:
            self.flow.resume_reading()
        if self._running is None:
            self._quiet.start(self, self.timeout_keep_alive_handler)

    def end_after_response(self) -> None:
        """The server drains: answer the request that is under way, and keep the connection for no other."""
        if not self._idle():
            self.cycle.keep_alive = False

    def _go_on(self) -> None:
        """Answer the next request, parse what was held, and read more once there is room for it."""
        if self.pipeline:
            self._run(*cast("tuple[HttpCycle, ASGI3Application]", self.pipeline.pop()))
        held, self._held = self._held, b""
        self.flow.waiting = False
        if held:
            self._feed(held, self._held_at)
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """No further request has come."""
        self._close()

    def _close(self) -> None:
        """Close once everything is written, or the client doesn't take it."""
        if not self.transport.is_closing():
            self._unread.begin()
            self.transport.close()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _begin_cycle(self) -> None:
        app, idle = self._app_now(), self._idle()
        cycle = self.cycle = HttpCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=(
                self.scope["http_version"] != "1.0"
                and not self._context.draining
                and self.parser.should_keep_alive()
            ),
            on_response=self.on_response_complete,
        )
        if idle:
            self._run(cycle, app)
        else:
            # What it is to do comes after the response that is under way.
            self.pipeline.appendleft((cycle, app))

    def _run(self, cycle: HttpCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._start_asgi_task(cycle, app)

    def _app_now(self) -> ASGI3Application:
        most = self.limit_concurrency
        if most is None or max(len(self.connections), len(self.tasks)) < most:
            return cast("ASGI3Application", self.app)
        self._context.log.warning("Exceeded concurrency limit.")
        return service_unavailable

    def _unset_keepalive_if_required(self) -> None:
        self._quiet.stop(self)
