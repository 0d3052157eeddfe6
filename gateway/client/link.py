"""Keeps a client connected: dials, serves the connection, waits, dials again, until it is closed for good."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

import anyio
from websockets.exceptions import WebSocketException

from gateway.client import ending
from gateway.client.errors import ClientClosed, ConnectionLost
from gateway.client.incoming import Incoming
from gateway.client.renewal import Renewal
from gateway.client.routes import Leave
from gateway.core.messages.commands import Unsubscribe
from gateway.core.messages.events import (
    CaughtUp,
    Delivery,
    Event,
    Failure,
    Gap,
    Released,
    Subscribed,
    Unsubscribed,
)
from gateway.errors import GatewayError, InternalError, TokenExpired, TooLarge, WrongEventLoop

if TYPE_CHECKING:
    from gateway.client.connection import GatewayConnection
    from gateway.client.dialler import Dialler
    from gateway.client.ending import Ending
    from gateway.client.memberships import Memberships
    from gateway.client.read_gate import ReadGate
    from gateway.client.replies import Answer
    from gateway.client.route import Route
    from gateway.client.routes import Routes
    from gateway.core.timing.backoff import Backoff

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 1.0
"""How long to wait after a subscription could not be had for now."""


class Link:
    """The connections of one client, one after the other.

    States: dialling → connected → (waiting → dialling → connected)* → closed, with ``failure``.
    """

    def __init__(
        self,
        dialler: Dialler,
        routes: Routes,
        memberships: Memberships,
        valve: ReadGate,
        *,
        backoff: Backoff,
        ping_interval: float,
        ping_timeout: float,
    ) -> None:
        self._dialler = dialler
        self._routes = routes
        self._memberships = memberships
        self._valve = valve
        self._backoff = backoff
        self._ping = (ping_interval, ping_timeout)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: GatewayConnection | None = None
        self._turned = anyio.Event()
        self._changed = anyio.Event()
        self._failures = 0
        self._rejected = False
        self._postponed: list[Route] = []
        self._ask_again_at = math.inf
        self._renewal: Renewal | None = None
        self.failure: GatewayError | None = None
        self.connects = 0
        self.messages = 0
        self.gaps = 0

    @property
    def current(self) -> GatewayConnection | None:
        """The connection that commands go to now, if there is one."""
        return self._connection

    def check_usable(self) -> None:
        """See that it can be used here.

        Raises:
            ClientClosed: it was never opened.
            WrongEventLoop: it was opened in another event loop.
        """
        if self._loop is None:
            raise ClientClosed("the client is not open; use it inside 'async with'")
        if asyncio.get_running_loop() is not self._loop:
            raise WrongEventLoop(
                "the client was opened in another event loop; open one in each loop, "
                "or use SyncClient, which any thread may call"
            )

    async def connected(self) -> GatewayConnection:
        """Wait for a connection on which every subscription was asked for.

        Raises:
            GatewayError: there is none and none will come.
        """
        while self._connection is None:
            if self.failure is not None:
                raise self.failure
            await self._turned.wait()
        return self._connection

    async def renewed(self) -> bool:
        """Have the token renewed that a command was refused for; False where there is no other.

        Raises:
            GatewayError: a fresh one can't be had.
        """
        if self._renewal is None:
            return False
        await self._renewal.done()
        return True

    def changed(self) -> None:
        """What is wanted has changed: see to the wire."""
        self._changed.set()

    def begin_anew(self, route: Route, wait_seconds: float) -> None:
        """Take ``route`` from what is live now, and ask for it anew after ``wait_seconds``."""
        if self._routes.begin_anew(route):
            self._postpone(route, wait_seconds)

    def close(self, failure: GatewayError) -> None:
        """No connection any more: whoever waits for one gets ``failure``."""
        if self.failure is None:
            self.failure = failure
            told = None if isinstance(failure, ClientClosed) else failure
            self._routes.close(told)
            self._memberships.close(told)
            self._turned.set()

    async def dial(self) -> GatewayConnection | Ending:
        """Try once to connect."""
        self._loop = asyncio.get_running_loop()
        try:
            return await self._dialler.dial(self._valve)
        except (OSError, EOFError, WebSocketException, GatewayError) as error:
            return ending.not_connected(error)

    async def run(self, opened: GatewayConnection | Ending) -> None:
        """Serve ``opened`` and every connection after it, until one ends for good; ``close`` is then done.

        Cancel it to close.
        """
        try:
            while True:
                began = anyio.current_time()
                end = opened if isinstance(opened, ending.Ending) else await self._serve(opened)
                self._count_end(0.0 if opened is end else anyio.current_time() - began)
                if not self._may_reconnect(end):
                    log.error("connection to the gateway closed for good: %s", end.error)
                    self.close(end.error)
                    return
                wait = self._backoff.wait(self._failures, at_least=end.retry_after_seconds)
                log.info("connection to the gateway: %s; next attempt in %.2f s", end.error, wait)
                await anyio.sleep(wait)
                opened = await self.dial()
        except Exception as error:
            log.exception("the client has failed")
            self.close(InternalError(f"the client has failed: {type(error).__name__}"))
        finally:
            self.close(ClientClosed("the client is closed"))

    def _count_end(self, lived: float) -> None:
        self._failures = self._backoff.failures(self._failures, lived_seconds=lived)
        if self._failures == 1 and lived > 0.0:
            self._rejected = False

    def _may_reconnect(self, end: Ending) -> bool:
        if end.reconnect:
            return True
        # A fresh token may help, but only once: with a second rejection it is not the token's age.
        first = end.renew and self._dialler.can_renew and not self._rejected
        self._rejected = True
        return first

    async def _serve(self, connection: GatewayConnection) -> Ending:
        self.connects += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_wire, connection)
                tasks.start_soon(self._memberships.serve, connection, self._renew)
                tasks.start_soon(connection.keep_alive, *self._ping)
                if self._dialler.can_renew:
                    self._renewal = Renewal(self._dialler)
                    tasks.start_soon(self._renewal.run, connection)
                end = await connection.read(self._receive)
                tasks.cancel_scope.cancel()
            return end
        finally:
            self._disconnected(connection)
            await connection.close()

    def _disconnected(self, connection: GatewayConnection) -> None:
        self._connection = None
        self._turned = anyio.Event()
        self._postponed.clear()
        self._ask_again_at = math.inf
        self._renewal = None
        self._routes.disconnected()
        self._memberships.disconnected()
        connection.replies.fail(ConnectionLost("the client is closed"))
        connection.ended.set()

    async def _keep_wire(self, connection: GatewayConnection) -> None:
        """Send what makes the wire equal to what is wanted, again and again as that changes."""
        try:
            while True:
                self._changed = anyio.Event()
                while (step := self._routes.next_step()) is not None:
                    await self._take_step(connection, step)
                # Only now do commands see the connection: a publish must not overtake the subscriptions.
                self._connection = connection
                self._turned.set()
                with anyio.CancelScope(deadline=self._ask_again_at):
                    await self._changed.wait()
                self._ask_again()
        except ConnectionLost:
            pass  # The reader sees it too, and says how it ended.

    async def _take_step(self, connection: GatewayConnection, step: Leave | Route) -> None:
        if isinstance(step, Leave):
            await self._unsubscribe(connection, step)
        else:
            await self._subscribe(connection, step)

    async def _unsubscribe(self, connection: GatewayConnection, leave: Leave) -> None:
        ref = connection.replies.expect(lambda _: leave.done.set())
        await connection.send(Unsubscribe(leave.filter, ref=ref))

    async def _subscribe(self, connection: GatewayConnection, route: Route) -> None:
        ref = connection.replies.expect(lambda answer: self._subscribed(route, answer))
        try:
            await connection.send(route.ask(ref))
        except TooLarge as error:
            connection.replies.forget(ref)
            self._routes.refuse(route, error)

    def _subscribed(self, route: Route, answer: Answer) -> None:
        if isinstance(answer, Subscribed):
            self._routes.confirm(route, answer)
        elif not isinstance(answer, GatewayError):
            log.warning("the gateway answered a subscribe with %r", answer)
        elif isinstance(answer, TokenExpired) and self._renewal is not None:
            self._renewal.demand()
            self._postpone(route)
        elif not isinstance(answer, ConnectionLost) and self._routes.refuse(route, answer):
            self._postpone(route)

    def _postpone(self, route: Route, seconds: float = ASK_AGAIN_SECONDS) -> None:
        self._postponed.append(route)
        self._ask_again_at = min(self._ask_again_at, anyio.current_time() + seconds)
        self._changed.set()

    def _ask_again(self) -> None:
        if anyio.current_time() >= self._ask_again_at:
            self._ask_again_at = math.inf
            for route in self._postponed:
                self._routes.want(route)
            self._postponed.clear()

    def _receive(self, event: Incoming | Event) -> None:
        match event:
            case Incoming(message=message, filter=topic_filter):
                self.messages += 1
                self._routes.deliver(message, topic_filter)
            case Gap():
                self.gaps += 1
                self._routes.gap(event)
            case CaughtUp(filter=topic_filter):
                if self._routes.caught_up(topic_filter):
                    self._changed.set()
            case Delivery() | Released():
                self.messages += isinstance(event, Delivery)
                self._memberships.receive(event)
            case Unsubscribed(filter=topic_filter):
                self._routes.ended(topic_filter)
            case Failure():
                self._failed(event)
            case _:
                log.debug("from the gateway: %r", event)

    def _renew(self) -> None:
        if self._renewal is not None:
            self._renewal.demand()

    def _failed(self, failure: Failure) -> None:
        self._memberships.told(failure)
        if failure.code == TokenExpired.code and self._renewal is not None:
            self._renewal.demand()
        else:
            log.warning("the gateway says %s: %s", failure.code, failure.reason)
