"""A gateway for one test: in memory, in process, with what was published and delivered, and with faults."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import httpx2

from gateway.app.surroundings import Surroundings
from gateway.core.topics.grammar import parse_filter
from gateway.testing.clock import MovableClock
from gateway.testing.embedded import alone_within, client_of, gateway_of, is_asking
from gateway.testing.faults import AbsentableStore, CuttableBus
from gateway.testing.lifespan import lifespan_of
from gateway.testing.recording import Recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

    from gateway.app.node import GatewayNode
    from gateway.bus.base import Bus
    from gateway.client import Client, Message
    from gateway.embed.identity import Identity
    from gateway.streams.base import Store
    from gateway.streams.memory import MemoryStore
    from gateway.transports.session import TransportSession

_QUIET_TURNS: Final = 40
"""Turns of the event loop without any change after which nothing is under way: chains are shorter."""

_TIMER_SECONDS: Final = 0.002
"""Longer than the shortest timers of the gateway's, which are let go off once."""

HOST: Final = "http://localhost"
"""What requests in process call the application."""


class InMemoryGateway:
    """What the fixture ``gateway`` gives: a gateway that runs, and what a test wants to know of it.

    ``publish``, ``publish_many``, ``delete``, ``subscribe``, ``state`` and all else of the ``Gateway`` under
    test are there under their names.

    Attributes:
        embedded: the ``Gateway`` that runs: the application's own, or one of the settings given.
        clock: its time.
        http: an HTTP client of the application, or of the gateway alone, without a socket.
    """

    http: httpx2.AsyncClient

    def __init__(self, application: object = None, settings: dict[str, Any] | None = None) -> None:
        """Make it of an ASGI application, a ``Gateway``, or of ``settings`` as a ``Gateway`` takes them.

        Raises:
            ValueError: there is no gateway in the application, or settings besides it.
            InvalidSettings: a setting breaks a rule.
        """
        self.embedded = gateway_of(application, settings or {})
        self._application = cast("ASGIApp", application or self.embedded)
        self._published = Recording()
        self._delivered: dict[str, Recording] = {}
        self.clock = MovableClock(self._look)
        self._node: GatewayNode | None = None
        self._bus: CuttableBus | None = None
        self._store: AbsentableStore | None = None
        self._kept: MemoryStore | None = None
        self._end = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        gateway = self.embedded
        self.publish, self.publish_many, self.delete = gateway.publish, gateway.publish_many, gateway.delete
        self.subscribe, self.state = gateway.subscribe, gateway.state
        self.subscribe_for, self.unsubscribe_for = gateway.subscribe_for, gateway.unsubscribe_for
        self.forget, self.publisher = gateway.forget, gateway.publisher

    # Its life

    async def start(self) -> None:
        """Run it, in a task of its own: fixtures begin and end in different ones.

        Raises:
            Exception: whatever keeps the application from starting.
        """
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(begun), name="gateway under test")
        await asyncio.wait([self._life, begun], return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            begun.cancel()
            await self._life

    async def stop(self) -> None:
        """End it, and raise what has made it end before."""
        self._end.set()
        if self._life is not None:
            await self._life

    async def _live(self, begun: asyncio.Future[None]) -> None:
        surroundings = Surroundings(self.clock.node_clock(), self._make_bus, self._make_store)
        self.embedded.prepare.append(self._watch)
        try:
            with alone_within(self.embedded, surroundings):
                await self._serve(begun)
        finally:
            self.embedded.prepare.remove(self._watch)

    async def _serve(self, begun: asyncio.Future[None]) -> None:
        async with (
            self._lifespan() as app,
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=HOST) as self.http,
        ):
            begun.set_result(None)
            await self._end.wait()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[ASGIApp]:
        if self._application is self.embedded:
            async with self.embedded.lifespan():
                yield self.embedded
        else:
            async with lifespan_of(self._application) as app:
                yield app

    def _make_bus(self, _: Bus) -> Bus:
        self._bus = CuttableBus(self._published.add)
        return self._bus

    def _make_store(self, store: Store) -> Store:
        self._kept = cast("MemoryStore", store)
        self._store = AbsentableStore(store, self._published.add)
        return cast("Store", self._store)

    def _watch(self, node: GatewayNode) -> None:
        self._node = node
        sessions, codec = node.services.sessions, node.services.codec
        attach = sessions.attach

        def attach_watched(session: Any, **options: Any) -> None:  # noqa: ANN401 - as the register has it
            outbox = getattr(session, "outbox", None)
            if outbox is not None and outbox.encoder is codec:
                recording = self._delivered[session.id] = Recording()
                recording.listen(outbox)
            attach(session, **options)

        sessions.attach = attach_watched  # type: ignore[method-assign]

    # What a test wants to know

    def client(self, identity: Identity | str | None = None) -> Client:
        """A client without a socket, for ``async with``.

        Args:
            identity: for whom it speaks, as ``authenticate`` gives it: what no grant allows, ``authorize`` is
                asked about. None: for the application, which may do everything.

        Raises:
            NotRunning: the gateway isn't running.
        """
        return client_of(self.embedded, identity)

    def published(self, topic_filter: str = "#") -> list[Message]:
        """What was accepted so far, by whomever and through whichever door, in order; repeats once.

        Raises:
            BadFilter: the filter is not valid.
        """
        return self._published.messages(parse_filter(topic_filter))

    def delivered(self, client: Client | str, topic_filter: str = "#") -> list[Message]:
        """What was handed to the connections of a client so far, in order, from history or of groups too.

        Args:
            client: of this gateway, or the name of its session, as ``welcome`` tells it.
            topic_filter: only of these topics.

        Raises:
            ValueError: it isn't connected to this gateway.
            BadFilter: the filter is not valid.
        """
        return self._delivered[self._session(client).id].messages(parse_filter(topic_filter))

    async def settled(self, seconds: float = 5.0) -> None:
        """Return when all that was published is stored, and delivered to whoever can take it.

        Raises:
            TimeoutError: something was still under way after ``seconds``.
        """
        until = time.monotonic() + seconds
        figures: object = None
        quiet = 0
        while quiet < _QUIET_TURNS:
            under_way = self._under_way()
            await asyncio.sleep(_TIMER_SECONDS if under_way or quiet == _QUIET_TURNS // 2 else 0)
            now = self._running().progress()
            quiet = quiet + 1 if now == figures and under_way is None else 0
            figures = now
            if quiet == 0 and time.monotonic() > until:
                reason = under_way or "messages are still coming and going"
                raise TimeoutError(f"the gateway has not settled within {seconds:g} s: {reason}")

    # Faults

    @contextmanager
    def store_away(self) -> Iterator[None]:
        """Take the store of the streams away, as if it could not be reached, as long as the block lasts.

        Raises:
            ValueError: this gateway has no streams, so no store.
        """
        if self._store is None:
            raise ValueError("this gateway has no streams: there is no store to take away")
        self._store.leave()
        try:
            yield
        finally:
            self._store.come_back()

    @contextmanager
    def bus_cut(self) -> Iterator[None]:
        """Cut the bus that carries live topics, as if Redis could not be reached, as long as the block lasts.

        Publishing to them, and new subscriptions that may be of them, are refused; afterwards subscribers are
        told of a gap.
        """
        self._running()
        assert self._bus is not None, "it runs"
        self._bus.cut()
        try:
            yield
        finally:
            self._bus.mend()

    @contextmanager
    def slow_consumer(self, client: Client | str) -> Iterator[None]:
        """Have the connection of a client take nothing, as long as the block lasts.

        What comes meanwhile waits in its outbox, with its limits and overflow policies.

        Raises:
            ValueError: it isn't connected to this gateway.
        """
        session = self._session(client)
        session.writable_changed(writable=False)
        try:
            yield
        finally:
            if not session.outbox.closed:
                session.writable_changed(writable=True)

    # Behind it

    def _running(self) -> GatewayNode:
        if self._node is None:
            raise RuntimeError(
                "the application's lifespan has not started its gateway: see docs/embedding.md"
            )
        return self._node

    def _session(self, client: Client | str) -> TransportSession[Any]:
        name: str | None
        if isinstance(client, str):
            name = client
        else:
            name = None if client.welcome is None else client.welcome.session
        found = self._running().services.sessions.open.get(name or "")
        if found is None or found.id not in self._delivered:
            raise ValueError("this client is not connected to the gateway of this test")
        return cast("TransportSession[Any]", found)

    def _under_way(self) -> str | None:
        if is_asking(self.embedded):
            return "the application's authorize is being asked"
        if self._store is not None and self._store.away:
            return None
        return self._running().under_way()

    async def _look(self) -> None:
        if self._kept is not None and self._store is not None and not self._store.away:
            await self._kept.sweep()
        await self._running().look()
        if self._store is not None:
            self._store.wake()
        await self.settled()
