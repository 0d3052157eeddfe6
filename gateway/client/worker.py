"""A worker: handlers for a group's messages, run with bounded concurrency, and stopped in good order."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self, TypeVar, get_args

import anyio
from anyio import CapacityLimiter

from gateway.client.client import Client
from gateway.client.handlers import Handlers
from gateway.client.handling import Handling, Unmatched
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from gateway.client.consumer import ClientConsumer
    from gateway.client.delivery import ClientDelivery
    from gateway.client.dialler import Token
    from gateway.client.handlers import Handler
    from gateway.client.handling import ErrorHook, WorkerStatistics

log = logging.getLogger(__name__)

AnyHandler = TypeVar("AnyHandler", bound="Handler")
AnyHook = TypeVar("AnyHook", bound="ErrorHook")

DEFAULT_URL: Final = "http://127.0.0.1:8080"


class GroupWorker:
    """Handlers for the messages of one group.

    Attributes:
        stream: the stream's name.
        group: the group's.
        concurrency: handlers at work at the same time at most.
        credit: unanswered deliveries at most.
        grace: seconds that handlers have to end once the worker is to stop.
        handlers: what ``handle`` was given.
        running: whether ``run`` runs.
    """

    def __init__(
        self,
        stream: str,
        *,
        group: str,
        url: str = DEFAULT_URL,
        token: Token = None,
        concurrency: int = 10,
        credit: int | None = None,
        grace: float = 30.0,
        unmatched: Unmatched = "nack",
    ) -> None:
        """Make a worker; nothing is connected before ``run``, or ``async with``.

        Args:
            stream: its name.
            group: one of the stream's groups.
            url: the gateway's address, unless ``run`` is given a client.
            token: as ``Client`` takes it.
            concurrency: handlers at work at the same time at most.
            credit: unanswered deliveries at most; what is more than ``concurrency`` waits here, ready to be
                begun. None: as many as ``concurrency``, so nothing waits behind a slow message.
            grace: seconds that handlers have to end once the worker is to stop.
            unmatched: what becomes of messages that no handler is for: ``"nack"``, to be tried again by
                others (another release, say), and dead in the end; ``"dead"`` at once; or ``"ack"``, gone.

        Raises:
            ValueError: a number is out of bounds, or there is no such policy.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency!r} must be at least 1")
        if credit is not None and credit < concurrency:
            raise ValueError(f"credit {credit!r} must be at least the concurrency, {concurrency!r}")
        if unmatched not in get_args(Unmatched):
            raise ValueError(f"unmatched {unmatched!r} must be one of {', '.join(get_args(Unmatched))}")
        self.stream = stream
        self.group = group
        self.concurrency = concurrency
        self.credit = credit or concurrency
        self.grace = grace
        self.handlers = Handlers()
        self._handling = Handling(self.handlers, unmatched)
        self._url = url
        self._token = token
        self._stop = anyio.Event()
        self._begun = anyio.Event()
        self._ended = anyio.Event()
        self._failure: GatewayError | None = None
        self.running = False
        self._at_work = 0
        self._background: TaskGroup | None = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop, and hasn't yet."""
        return self._stop.is_set()

    def statistics(self) -> WorkerStatistics:
        """A snapshot."""
        return self._handling.statistics()

    # What is to be done

    def handle(self, topic_filter: str = "#") -> Callable[[AnyHandler], AnyHandler]:
        """Have the decorated function called for topics that match, where no handler before it does.

        It gets the ``Delivery``. Returning is done; ``Retry`` and ``GiveUp`` say otherwise; another
        exception is a failed attempt. An async one is cancelled when the lease is lost. Another one runs
        in a thread, and may look at ``delivery.lost``.

        Raises:
            BadFilter: it breaks the grammar.
            ValueError: there is a handler for this filter.
        """

        def add(handler: AnyHandler) -> AnyHandler:
            self.handlers.add(topic_filter, handler)
            return handler

        return add

    def on_error(self, hook: AnyHook) -> AnyHook:
        """Have ``hook`` called with each delivery that failed, and why; as a decorator, or plainly.

        It hears of what handlers raise, ``GiveUp`` included and ``Retry`` not, and of ``LeaseLost``. It
        runs in the event loop; async ones are awaited. What it raises itself is logged.
        """
        self._handling.hooks.append(hook)
        return hook

    # Running

    async def run(self, client: Client | None = None) -> None:
        """Work until ``stop`` is called, then give back what waits and let handlers end within ``grace``.

        Cancelled, it ends handlers at once and gives back what they had.

        Args:
            client: an open one to use; None: one of its own.

        Raises:
            GatewayError: no connection at first, a refusal, or a connection that ended for good.
            RuntimeError: it runs already, or has no handler.
        """
        if self.running:
            raise RuntimeError("the worker runs already")
        if not self.handlers:
            raise RuntimeError("the worker has no handler: decorate one with 'worker.handle(filter)'")
        self.running = True
        try:
            if client is not None:
                await self._work(client)
            else:
                async with Client(self._url, token=self._token) as own:
                    await self._work(own)
        finally:
            self.running = False
            self._stop = anyio.Event()

    def stop(self) -> None:
        """Have ``run`` end in good order; to be called in the event loop."""
        self._stop.set()

    async def __aenter__(self) -> Self:
        """Run beside the block, which ends by stopping in good order.

        Raises:
            GatewayError: as ``run``, at first. What ends it later is logged, and raised as the block ends.
        """
        background = anyio.create_task_group()
        await background.__aenter__()
        self._begun, self._failure = anyio.Event(), None
        background.start_soon(self._run_beside)
        try:
            await self._begun.wait()
        finally:
            if not self._begun.is_set() or self._failure is not None:
                background.cancel_scope.cancel()
                # Given no exception: what was raised goes on as it is, not inside an exception group.
                await background.__aexit__(None, None, None)
        if self._failure is not None:
            raise self._failure
        self._background = background
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        background, self._background = self._background, None
        assert background is not None, "it was entered"
        self.stop()
        await background.__aexit__(None, None, None)
        if self._failure is not None and error is None:
            raise self._failure

    async def _run_beside(self) -> None:
        try:
            await self.run()
        except GatewayError as error:
            log.error("the worker has ended: %s", error)  # noqa: TRY400 - its text says it all
            self._failure = error
        finally:
            self._begun.set()

    async def _work(self, client: Client) -> None:
        name = f"{self.stream}/{self.group}"
        failure: GatewayError | None = None
        # Handlers have the connection until the last of them has answered.
        async with client.consume(self.stream, group=self.group, credit=self.credit) as consumer:
            log.info("works for %s, %d at a time", name, self.concurrency)
            self._begun.set()
            threads = CapacityLimiter(self.concurrency)
            async with anyio.create_task_group() as handlers:
                try:
                    await self._take(consumer, handlers, threads)
                    await self._wind_up(consumer, handlers)
                except GatewayError as error:
                    failure = error
                    handlers.cancel_scope.cancel()
        if failure is not None:
            raise failure
        log.info("has stopped working for %s", name)

    async def _take(self, consumer: ClientConsumer, handlers: TaskGroup, threads: CapacityLimiter) -> None:
        """Begin what comes, until the worker is to stop or nothing more comes."""
        places = anyio.Semaphore(self.concurrency)
        with anyio.CancelScope() as taking:
            handlers.start_soon(self._cancel_on_stop, taking)
            while True:
                await places.acquire()
                try:
                    delivery = await anext(consumer)
                except StopAsyncIteration:
                    break
                # From here on nothing is awaited until the handler has it.
                self._at_work += 1
                handlers.start_soon(self._handle, delivery, places, threads)
        self._stop.set()

    async def _cancel_on_stop(self, taking: anyio.CancelScope) -> None:
        await self._stop.wait()
        taking.cancel()

    async def _wind_up(self, consumer: ClientConsumer, handlers: TaskGroup) -> None:
        """Give back what waits, and end handlers that don't end by themselves in time."""
        if self._at_work:
            log.info("stops; %d handlers still run", self._at_work)
        with anyio.move_on_after(self.grace) as grace:
            await consumer.drain()
            while self._at_work:
                self._ended = anyio.Event()
                await self._ended.wait()
        if grace.cancelled_caught and self._at_work:
            log.warning("%d handlers did not end within %g s", self._at_work, self.grace)
            self._handling.counts.cut_off += self._at_work
            handlers.cancel_scope.cancel()

    async def _handle(
        self, delivery: ClientDelivery, places: anyio.Semaphore, threads: CapacityLimiter
    ) -> None:
        try:
            await self._handling.handle(delivery, threads)
        finally:
            self._at_work -= 1
            self._ended.set()
            places.release()
