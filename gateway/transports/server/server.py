"""Uvicorn, as this gateway runs it: own listening sockets, a drain, exit code 0 after a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import uvicorn

from gateway.transports.http.protocol import GatewayHttpProtocol
from gateway.transports.server.server_context import context_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

_BACKLOG = 4096
_HURRY_POLL_SECONDS = 0.1
_ANSWERED_POLL_SECONDS = 0.02

_RELOAD_SECONDS = 5.0
"""What a reload may take: a signal to end is heeded no later."""

_REFUSING_SECONDS = 0.5
"""So long before the drain's end nothing more is begun: with what comes behind it there is time to answer."""

# Left alone the kernel hides 4 MB per client that doesn't read, and no bound of ours could hold.
_UNSENT_BYTES = 16 * 1024

DEAD_PEER_SECONDS = 30.0
"""After so long without an answer from its kernel a peer is dead."""

SHUTDOWN_SECONDS = 1.5
"""What is left for HTTP requests and close handshakes once the drain is over."""


def listen(
    host: str, port: int, *, shared: bool = False, dead_peer_seconds: float = DEAD_PEER_SECONDS
) -> list[socket.socket]:
    """Return listening sockets on every address of ``host``; connections inherit their options.

    Args:
        host: name or address; ``::`` is every address, of IPv4 too.
        port: 0 takes any free one, the same for all addresses.
        shared: other processes of the user that also say so may listen there too.
        dead_peer_seconds: a connection whose data is not taken for so long is cut by the kernel. Linux cuts
            those too whose peer answers and just doesn't read, so it must not be less than a slow consumer
            may stay.

    Raises:
        OSError: an address can't be listened on.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            # Shared, Linux gives each new connection to one of the sockets, evenly. From a single socket that
            # processes inherit, whoever wakes first takes what there is: of a burst two thirds.
            listener = socket.create_server(
                (address, port),
                family=family,
                backlog=_BACKLOG,
                reuse_port=shared,
                dualstack_ipv6=_takes_both(address),
            )
            sockets.append(listener)
            # With port 0 the first address chooses for all.
            port = port or listener.getsockname()[1]
            _set(listener, "TCP_NOTSENT_LOWAT", _UNSENT_BYTES)
            _set(listener, "TCP_USER_TIMEOUT", int(dead_peer_seconds * 1000))
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def reserve(host: str, port: int) -> list[socket.socket]:
    """Return bound sockets that hold a port, without listening, for those who ``listen`` there ``shared``.

    Raises:
        OSError: somebody listens there already, or the address is none of this machine's.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            if port:
                # Sharing would let a second gateway of the same user take half of the first one's clients.
                _bound(family, address, port, shared=False).close()
            sockets.append(_bound(family, address, port, shared=True))
            port = port or sockets[0].getsockname()[1]
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _bound(family: int, address: str, port: int, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not _takes_both(address)))
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def _takes_both(address: str) -> bool:
    """Whether IPv4 is taken on ``address`` too: on the one that means every address of the machine."""
    return address == "::" and socket.has_dualstack_ipv6()


def _addresses(host: str, port: int) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def _set(listener: socket.socket, option: str, value: int) -> None:
    # Not on every platform; where it is missing the outbox still bounds what the gateway itself holds.
    if hasattr(socket, option):
        listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class GatewayServer(uvicorn.Server):
    """Drains before it shuts down, and ends normally after SIGTERM and SIGINT.

    Attributes:
        failure: the part of the node because of which it ended by itself.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        prepare: Callable[[], Awaitable[None]],
        started: Callable[[], None],
        drain: Callable[[], Awaitable[None]],
        refuse: Callable[[], None],
        reload: Callable[[], Awaitable[None]],
        drain_seconds: float,
    ) -> None:
        """Run ``config``.

        Args:
            config: uvicorn's.
            prepare: what it raises ends the server before it begins, and ``run`` raises it.
            started: called once it listens.
            drain: has clients leave that stay for long; takes no longer than ``drain_seconds``.
            refuse: called once nothing may be published any more.
            reload: awaited on SIGHUP.
            drain_seconds: how long requests are served on connections that there are already.
        """
        super().__init__(config)
        self._prepare = prepare
        self._on_started = started
        self._drain = drain
        self._refuse = refuse
        self._reload = reload
        self._hung_up = False
        self._drain_seconds = drain_seconds
        self.failure: str | None = None

    def fail(self, part: str) -> None:
        """Drain and end, since ``part`` of the node can't be had any more."""
        self.failure = self.failure or part
        self.should_exit = True

    def leave(self) -> bool:
        """Drain and end, as SIGTERM has it; returns that it can."""
        self.should_exit = True
        return True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Prepare, start uvicorn, then say so."""
        # Not in the application's lifespan: uvicorn would log a stack trace where a sentence says it all.
        await self._prepare()
        await super().startup(sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        """Do what signals have asked for: their handlers may not touch the loop."""
        if self._hung_up:
            self._hung_up = False
            with anyio.move_on_after(_RELOAD_SECONDS):
                await self._reload()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, let clients leave, then shut down; a second SIGINT waits for nobody."""
        for server in self.servers:
            server.close()
        self._begin_last_requests()
        deadline = anyio.current_time() + self._drain_seconds
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cut_short, tasks.cancel_scope)
            tasks.start_soon(self._refuse_at, deadline - _REFUSING_SECONDS)
            # It keeps to its time by itself.
            await self._drain()
            while self.server_state.tasks and anyio.current_time() < deadline:  # noqa: ASYNC110 - uvicorn's
                await anyio.sleep(_ANSWERED_POLL_SECONDS)
            tasks.cancel_scope.cancel()
        self._refuse()
        await super().shutdown(sockets)
        if self.force_exit:
            # Uvicorn leaves this out. The application would be cancelled, and log it as a failure.
            await self.lifespan.shutdown()

    def _begin_last_requests(self) -> None:
        """Have each connection end with the request that it is at, or with its next one."""
        context_of(self.server_state, asyncio.get_running_loop()).draining = True
        for each in list(self.server_state.connections):
            if isinstance(each, GatewayHttpProtocol):
                each.end_after_response()

    async def _refuse_at(self, time: float) -> None:
        await anyio.sleep_until(time)
        self._refuse()

    async def _cut_short(self, drain: anyio.CancelScope) -> None:
        # A signal's handler may not touch the loop.
        while not self.force_exit:  # noqa: ASYNC110 - as uvicorn does
            await anyio.sleep(_HURRY_POLL_SECONDS)
        drain.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Like uvicorn's, but the signals are not raised again: a drained node exits with 0.

        SIGHUP, which a terminal sends that is closed, does not end the process.
        """
        watched: dict[int, Callable[[int, FrameType | None], None]]
        watched = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if hasattr(signal, "SIGHUP"):
            watched[signal.SIGHUP] = self._hang_up
        before = {number: signal.signal(number, handler) for number, handler in watched.items()}
        if hasattr(signal, "SIGHUP"):
            # A worker is born with it blocked: what was sent meanwhile is heard now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True
