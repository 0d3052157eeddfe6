"""One life of an embedded gateway: its node, its event loop, and what runs for those in its process."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import anyio

from gateway.app import http as doors
from gateway.auth.principal import Principal
from gateway.client.errors import NoAnswer
from gateway.core.messages.events import Published
from gateway.embed.errors import NotRunning, SomeNotPublished
from gateway.embed.in_process import InProcessClient
from gateway.embed.signals import EndSignals
from gateway.errors import GatewayError, WrongEventLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.app.node import GatewayNode
    from gateway.core.messages.publication import Publish
    from gateway.engine.appending import Receipt

APPLICATION: Final = Principal("$application")
"""Whom the application publishes for: a subject that idempotency keys of clients have no part in."""

_SYNC_SECONDS: Final = 5.0
"""How long a thread waits for what is answered within two seconds."""

_END_SECONDS: Final = 5.0
"""How long clients in process are waited for that have been closed: they have nothing to wait for."""


class RunningGateway:
    """One life of an embedded gateway.

    Attributes:
        node: the gateway.
        loop: the event loop that it runs in.
        services: what sessions need.
        ending: it takes no new client.
        told: set when the process is told to end.
        signals: hears of the process' end.
    """

    def __init__(self, node: GatewayNode) -> None:
        self.node = node
        self.loop = asyncio.get_running_loop()
        self.services = node.services
        self.ending = False
        self._clients: WeakSet[InProcessClient] = WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()
        self.told = anyio.Event()
        self.signals = EndSignals(self.told.set)
        self._served = False
        self._drains = False
        self._drained = anyio.Event()
        self._asgi: ASGIApp = doors.held_to_request_rules(node.asgi)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if not self._served:
            self._served = True
            # By now every server has its own handlers, be it that it sets them behind the lifespan's start.
            self.signals.listen()
        await self._asgi(scope, receive, send)

    def client(self, principal: Principal = APPLICATION) -> InProcessClient:
        """A client in process, to be opened, for ``principal``; it ends with this at the latest."""
        client = InProcessClient(self, principal)
        self._clients.add(client)
        return client

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """See ``in_process.Host``."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """Wait for what runs for clients in process, which have all been closed."""
        for client in list(self._clients):
            client.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_SECONDS)

    async def publish(self, command: Publish) -> Published:
        """Publish for the application."""
        return published(await self.node.publisher.publish(command, APPLICATION))

    def publish_from_thread(self, command: Publish) -> Published:
        """Publish for the application, which is in another thread than the event loop's.

        Raises:
            WrongEventLoop: this is an event loop's thread: it would wait for itself.
            NoAnswer: the event loop was too busy, or ended meanwhile: published or not, nobody knows.
        """
        if _current_loop() is not None:
            raise WrongEventLoop("publish_sync would block an event loop: await publish there")
        work = self.publish(command)
        try:
            asked = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError as error:  # the loop has been closed since
            work.close()
            raise NotRunning("the gateway has ended with its application's lifespan") from error
        try:
            return asked.result(_SYNC_SECONDS)
        except TimeoutError as error:
            asked.cancel()
            told = f"publish to {command.topic!r}: no answer within {_SYNC_SECONDS:g} s"
            raise NoAnswer(told) from error
        except CancelledError as error:
            raise NoAnswer(f"publish to {command.topic!r}: the gateway has ended meanwhile") from error

    def is_here(self) -> bool:
        """Whether this is the event loop that it runs in."""
        return _current_loop() is self.loop

    async def publish_many(self, commands: Iterable[Publish | GatewayError]) -> list[Published]:
        """Publish in order, all at once; an error among ``commands`` is the result of that one.

        Raises:
            SomeNotPublished: some were refused.
        """
        answers = [self._submit(each) for each in commands]
        results: list[Published | GatewayError] = []
        for answer in answers:
            try:
                results.append(published(await answer) if isinstance(answer, asyncio.Future) else answer)
            except GatewayError as error:
                results.append(error)
        done = [each for each in results if isinstance(each, Published)]
        if len(done) < len(results):
            raise SomeNotPublished(results)
        return done

    def _submit(self, command: Publish | GatewayError) -> asyncio.Future[Receipt] | Published | GatewayError:
        if isinstance(command, GatewayError):
            return command
        try:
            receipt = self.node.publisher.submit(command, APPLICATION)
        except GatewayError as error:
            return error
        return receipt if isinstance(receipt, asyncio.Future) else published(receipt)

    async def drain_when_told(self) -> None:
        """Drain once the process is told to end."""
        await self.told.wait()
        await self.drain()

    async def drain(self) -> None:
        """Send everybody away, once; returns when that is done."""
        if not self._drains:
            self._drains = self.ending = True
            # Their loops end by themselves, with what they have still to read.
            for client in list(self._clients):
                client.close()
            try:
                await self.node.drain()
            finally:
                self._drained.set()
        await self._drained.wait()


def published(receipt: Receipt) -> Published:
    """The answer to a publish."""
    return Published(receipt.id, receipt.stream, receipt.offset)


def _current_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread runs just now."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
