"""A gateway served on real sockets inside the test's own process, where its objects can be looked at."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from gateway.app.node import GatewayNode
from gateway.app.server import server_config
from gateway.settings import Settings
from gateway.transports.server.server import GatewayServer, listen
from gateway.transports.server.server_context import ServerContext, context_of
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ServedHere:
    """The running server; ``port`` is where it listens on loopback."""

    def __init__(self, gateway: GatewayNode, server: GatewayServer, port: int) -> None:
        self.gateway = gateway
        self.server = server
        self.port = port

    @property
    def context(self) -> ServerContext:
        return context_of(self.server.server_state, asyncio.get_running_loop())

    def is_quiet(self) -> bool:
        """Whether no connection and no request is left."""
        return not self.server.server_state.connections and not self.server.server_state.tasks


@asynccontextmanager
async def served_here(*, direct: bool = True, **settings: Any) -> AsyncIterator[ServedHere]:
    """Serve a gateway with ``settings``; its log is pytest's. Not ``direct``: all by its application."""
    chosen = Settings.model_validate(settings)
    gateway = GatewayNode(chosen)
    sockets = listen("127.0.0.1", 0)
    server = GatewayServer(
        server_config(
            gateway.asgi,
            chosen,
            gateway._certificate,
            room=gateway._room,
            unread=gateway._unread,
            door=gateway._door if direct else None,
            requests=gateway._requests if direct else None,
        ),
        prepare=gateway._streams.open,
        started=lambda: None,
        drain=gateway.drain,
        refuse=gateway.publisher.end,
        reload=_reload_nothing,
        drain_seconds=chosen.server.drain_seconds,
    )
    server.capture_signals = nullcontext  # type: ignore[method-assign]  # pytest keeps its own
    serving = asyncio.create_task(server.serve(sockets))
    async with asyncio.timeout(HANG_SECONDS):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
    try:
        yield ServedHere(gateway, server, sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        async with asyncio.timeout(3 * HANG_SECONDS):
            await serving


async def _reload_nothing() -> None: ...
