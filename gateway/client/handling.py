"""What a worker does with one delivery: runs its handler, answers, counts, and tells of failures."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio

from gateway.client.delivery import ClientDelivery, DeliveryOutcome
from gateway.client.delivery_errors import GiveUp, LeaseLost, Retry
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from gateway.client.handlers import Handlers, TopicHandler

log = logging.getLogger(__name__)

Unmatched: TypeAlias = Literal["nack", "dead", "ack"]
"""What becomes of messages that no handler is for."""

ErrorHook: TypeAlias = Callable[[ClientDelivery, Exception], Awaitable[None] | None]
"""Is told of deliveries that failed, and why."""


@dataclass(slots=True)
class WorkerStatistics:
    """What a worker has done so far.

    Attributes:
        done: messages acknowledged.
        failed: those whose handler failed, or asked for another try.
        given_up: those sent to the dead letters.
        unmatched: those that no handler is for, whatever was done with them.
        lost: those whose lease ended while their handler ran.
        cut_off: those whose handler had not ended when the time to stop was over; they were given back.
    """

    done: int = 0
    failed: int = 0
    given_up: int = 0
    unmatched: int = 0
    lost: int = 0
    cut_off: int = 0


class Handling:
    """How one worker deals with deliveries.

    Attributes:
        hooks: are told of failures.
        counts: what was done.
    """

    def __init__(self, handlers: Handlers, unmatched: Unmatched) -> None:
        self.hooks: list[ErrorHook] = []
        self.counts = WorkerStatistics()
        self._handlers = handlers
        self._unmatched: Unmatched = unmatched

    def statistics(self) -> WorkerStatistics:
        """A snapshot."""
        return replace(self.counts)

    async def handle(self, delivery: ClientDelivery, threads: CapacityLimiter) -> None:
        """Deal with one; raises nothing but what cancels it."""
        handler = self._handlers.find(delivery.topic)
        if handler is None:
            await self._pass_over(delivery)
        else:
            await self._try(handler, delivery, threads)

    async def _try(self, handler: TopicHandler, delivery: ClientDelivery, threads: CapacityLimiter) -> None:
        error: Exception | None = None
        try:
            async with delivery:
                try:
                    await self._call(handler, delivery, threads)
                except Exception as raised:
                    error = raised
                    raise
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is told, and the next one is begun
            error = raised
        counts = self.counts
        if delivery.outcome is DeliveryOutcome.LOST:
            counts.lost += 1
            error = error or LeaseLost("the lease had ended when the handler was done")
        elif error is None:
            counts.done += delivery.outcome is DeliveryOutcome.ACKED
        elif isinstance(error, GiveUp):
            counts.given_up += 1
        else:
            counts.failed += 1
        if error is not None:
            await self._tell(delivery, error)

    async def _call(self, handler: TopicHandler, delivery: ClientDelivery, threads: CapacityLimiter) -> None:
        with anyio.CancelScope() as scope:
            if not handler.threaded:
                # A thread goes on whatever is done here: its place is not free until it ends.
                delivery.on_lost(scope.cancel)
            try:
                await handler.call(delivery, threads)
            except (Exception, GeneratorExit):
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise
                # sys.exit, or a task that the handler awaited and somebody cancelled. The message would end
                # this worker, come again without an attempt counted, and end the next one.
                raise RuntimeError(f"the handler raised {type(error).__name__}") from error
        if scope.cancelled_caught:
            raise LeaseLost("the lease ended while the handler ran, which was cancelled")

    async def _pass_over(self, delivery: ClientDelivery) -> None:
        """No handler is for its topic."""
        self.counts.unmatched += 1
        log.warning("no handler for %r: %s", delivery, self._unmatched)
        try:
            if self._unmatched == "ack":
                await delivery.ack()
            else:
                await delivery.nack(dead=self._unmatched == "dead")
        except GatewayError as error:
            log.warning("%r: %s", delivery, error)

    async def _tell(self, delivery: ClientDelivery, error: Exception) -> None:
        if isinstance(error, Retry):
            log.info("%r: %s", delivery, error)
            return
        if isinstance(error, (GiveUp, GatewayError)):
            log.warning("%r: %s", delivery, error)
        else:
            log.warning("%r: the handler failed", delivery, exc_info=error)
        for hook in self.hooks:
            try:
                result = hook(delivery, error)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                log.exception("an error hook failed")


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end, and not only something that it has waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
