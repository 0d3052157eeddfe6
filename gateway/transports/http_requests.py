"""One request after another on a connection, as uvicorn has it, but for less.

What differs: the cycles are ``HttpCycle``, and the wait for another request is one of many in a shared
queue instead of a timer of the event loop, which each answer would make and each request cancel.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.transports.http_cycle import HttpCycle
from gateway.transports.server_context import Wait, context_of

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.server import ServerState


class RequestSequence(HttpToolsProtocol):
    """Runs the application for each request whose head is complete, in their order."""

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

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes or goes."""
        super().connection_lost(exc)
        self._quiet.stop(self)

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
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._quiet.start(self, self.timeout_keep_alive_handler)

    def end_after_response(self) -> None:
        """The server drains: answer the request that is under way, and keep the connection for no other."""
        if not self._idle():
            self.cycle.keep_alive = False

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _begin_cycle(self) -> None:
        app, idle = self._app_now(), self._idle()
        self.cycle = HttpCycle(
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
            self._start_asgi_task(self.cycle, app)
        else:
            # What it is to do comes after the response that is under way.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def _app_now(self) -> ASGI3Application:
        most = self.limit_concurrency
        if most is None or max(len(self.connections), len(self.tasks)) < most:
            return cast("ASGI3Application", self.app)
        self._context.log.warning("Exceeded concurrency limit.")
        return service_unavailable

    def _unset_keepalive_if_required(self) -> None:
        self._quiet.stop(self)
