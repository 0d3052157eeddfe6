"""One subscription as its user sees it: something to iterate over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, Literal, Self, TypedDict, TypeVar, cast

import anyio

from gateway.client.errors import InvalidData
from gateway.client.mailbox import Mailbox, MailboxClosed
from gateway.client.positions import PositionFields, Positions, ResumeFrom, StartFrom, SubscriptionStart
from gateway.client.time_limit import time_limit
from gateway.core.messages.events import CaughtUp, Gap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from gateway.client.link import Link
    from gateway.client.message import Message
    from gateway.client.read_gate import ReadGate
    from gateway.client.route import Route
    from gateway.client.routes import Routes
    from gateway.core.messages.commands import Overflow

log = logging.getLogger(__name__)

OverflowName = Literal["spill", "drop_oldest", "drop_newest", "latest", "disconnect"]


class SubscribeOptions(TypedDict, total=False):
    """How a subscription deals with history, loss and slowness.

    Attributes:
        start: where to begin in streams (the wire's ``from``): ``"new"``, ``"earliest"``,
            ``"snapshot"`` (last values, then what follows), or one of
            ``{"offset": n}``, ``{"time": milliseconds}``, ``{"last": n}`` (the newest that match) and
            ``{"last_per_topic": n}`` (each topic's newest, up to 1,000).
        resume: ``positions`` of an earlier subscription, to go on behind; ``start`` is for other streams.
        overflow: what the gateway drops when this client is too slow; of two subscriptions to the same
            filter the later one's holds for both.
        on_gap: called for each gap where they are not yielded, instead of a log record; must not wait.
        on_caught_up: called once the loop has given out all the history asked for; must not wait.
        on_invalid: called for each message that the model does not fit, which is passed over then, instead
            of raising the error; must not wait.
        buffer: messages that wait here for a slow loop, before the client stops reading from the gateway.
        reserve: how many more are kept when it must read on, since a command waits for its reply, before
            the oldest are dropped and counted in a gap; nine times ``buffer`` if not given.
        timeout: seconds for the gateway to confirm; the client's if not given.
    """

    start: StartFrom
    resume: ResumeFrom | None
    overflow: Overflow | OverflowName
    on_gap: Callable[[Gap], None] | None
    on_caught_up: Callable[[], None] | None
    on_invalid: Callable[[InvalidData], None] | None
    buffer: int
    reserve: int | None
    timeout: float | None


Item_co = TypeVar("Item_co", covariant=True)


class ClientSubscription(Generic[Item_co]):
    """The messages of one topic filter, made by ``Client.subscribe``.

    ``async for`` on it subscribes, and unsubscribes when the loop ends in whatever way. Inside ``async with``
    it is subscribed from the first line to the last, so nothing is missed between two loops, and leaving the
    block waits until the gateway has confirmed.

    Attributes:
        filter: the topic filter.
    """

    def __init__(
        self,
        link: Link,
        routes: Routes,
        valve: ReadGate,
        topic_filter: str,
        *,
        overflow: Overflow,
        beginning: SubscriptionStart,
        gaps: bool,
        on_gap: Callable[[Gap], None] | None,
        on_caught_up: Callable[[], None] | None,
        typed: Callable[[Message], Message] | None,
        on_invalid: Callable[[InvalidData], None] | None,
        buffer: int,
        reserve: int,
        timeout: float,
    ) -> None:
        self.filter = topic_filter
        self._link = link
        self._routes = routes
        self._overflow = overflow
        self._beginning = beginning
        self._taken = Positions(beginning.resume)
        self._caught_up = not beginning.asks_history
        self._on_caught_up = on_caught_up
        self._gaps = gaps
        self._on_gap = on_gap or self._log_gap
        self._typed = typed
        self._on_invalid = on_invalid
        self._valve = valve
        self._size = buffer
        self._reserve = reserve
        self._timeout = timeout
        self._joined: tuple[Route, Mailbox] | None = None

    @property
    def positions(self) -> dict[str, PositionFields]:
        """Per stream where the last message was that the loop has given out, to be kept for ``resume``.

        JSON has it as it is. Keep it once that message has been dealt with: nothing is skipped then.
        """
        current = self._taken.current()
        return {stream: {"epoch": at.epoch, "offset": at.offset} for stream, at in current.items()}

    @property
    def caught_up(self) -> bool:
        """Whether the loop has given out all the history that was asked for; True where none was."""
        return self._caught_up

    @property
    def held(self) -> bool:
        """Whether it is inside ``async with``."""
        return self._joined is not None

    async def __aenter__(self) -> Self:
        if self._joined is not None:
            raise RuntimeError(f"subscription to {self.filter!r} is already in use")
        self._joined = await self._join()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined is not None:
            route, mailbox = self._joined
            self._joined = None
            done = self._leave(route, mailbox)
            if done is not None and error is None:
                with anyio.move_on_after(self._timeout):
                    await done.wait()

    async def __aiter__(self) -> AsyncGenerator[Item_co, None]:
        joined = self._joined
        route, mailbox = joined or await self._join()
        try:
            while True:
                yield await self._next(mailbox)
        except MailboxClosed:
            return
        finally:
            # Nothing is awaited here: this also runs in a generator that is thrown away or cancelled.
            if joined is None:
                self._leave(route, mailbox)

    async def __anext__(self) -> Item_co:
        """The next item, inside ``async with`` only."""
        if self._joined is None:
            raise RuntimeError("use the subscription in 'async with', or iterate over it with 'async for'")
        self._link.check_usable()
        try:
            return await self._next(self._joined[1])
        except MailboxClosed:
            raise StopAsyncIteration from None

    async def _next(self, mailbox: Mailbox) -> Item_co:
        while True:
            item = await mailbox.take()
            if isinstance(item, CaughtUp):
                self._catch_up()
            elif isinstance(item, Gap) and not self._gaps:
                self._on_gap(item)
            elif self._typed is None or isinstance(item, Gap):
                return cast("Item_co", item)
            else:
                try:
                    return cast("Item_co", self._typed(cast("Message", item)))
                except InvalidData as error:
                    if self._on_invalid is None:
                        raise
                    self._on_invalid(error)

    def _catch_up(self) -> None:
        # Only the first time: it comes again after a reconnect.
        if not self._caught_up:
            self._caught_up = True
            if self._on_caught_up is not None:
                self._on_caught_up()

    async def _join(self) -> tuple[Route, Mailbox]:
        self._link.check_usable()
        if self._link.failure is not None:
            raise self._link.failure
        self._taken = Positions(self._beginning.resume)
        self._caught_up = not self._beginning.asks_history
        mailbox = Mailbox(
            self.filter, self._valve, size=self._size, reserve=self._reserve, positions=self._taken
        )
        route = self._routes.attach(self.filter, mailbox, overflow=self._overflow, beginning=self._beginning)
        self._link.changed()
        try:
            with time_limit(self._timeout, f"subscribe to {self.filter!r}"):
                await route.settled.wait()
        except BaseException:
            self._leave(route, mailbox)
            raise
        if route.failure is not None:
            raise route.failure
        return route, mailbox

    def _leave(self, route: Route, mailbox: Mailbox) -> anyio.Event | None:
        done = self._routes.detach(route, mailbox)
        mailbox.close()
        self._link.changed()
        return done

    def _log_gap(self, gap: Gap) -> None:
        count = "an unknown number of" if gap.dropped is None else gap.dropped
        log.warning("subscription to %r missed %s messages (%s)", self.filter, count, gap.reason)
