"""One group as its user sees it: something to iterate over."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Self

import anyio

from gateway.client.answering import DeliveryAnswers
from gateway.client.delivery import ClientDelivery
from gateway.client.delivery_errors import AlreadyAnswered, AnswerLost, LeaseLost
from gateway.client.lease import ClientLease
from gateway.client.lease_keeper import LeaseKeeper
from gateway.client.message import message_of
from gateway.client.time_limit import time_limit
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from anyio.abc import TaskGroup

    from gateway.client.connection import GatewayConnection
    from gateway.client.link import Link
    from gateway.client.memberships import ClientMembership, GroupKey, Memberships
    from gateway.core.messages.events import Delivery

log = logging.getLogger(__name__)

MOST_CREDIT: Final = 10_000


class GroupConsuming:
    """What all consumers of one client share; its tasks begin with the first of them.

    Attributes:
        link: the connections.
        memberships: the groups consumed from.
        answers: what is said of deliveries.
        keeper: the leases kept alive.
        timeout: seconds for a command's reply.
        tasks: the client's; None until the first consumer.
    """

    def __init__(self, link: Link, memberships: Memberships, timeout: float) -> None:
        self.link = link
        self.memberships = memberships
        self.timeout = timeout
        self.answers = DeliveryAnswers(link, timeout)
        self.keeper = LeaseKeeper(link)
        self.tasks: TaskGroup | None = None

    def begin(self, tasks: TaskGroup) -> None:
        """Start what runs beside consumers, if it doesn't yet."""
        if self.tasks is None:
            self.tasks = tasks
            tasks.start_soon(self.answers.run)
            tasks.start_soon(self.keeper.run)


class ClientConsumer:
    """The deliveries of one group, made by ``Client.consume``.

    ``async for`` on it becomes a member of the group, and gives back what is unanswered when the loop ends in
    whatever way. Inside ``async with`` it is a member from the first line to the last, and leaving the block
    waits until the gateway has confirmed.

    What has waited here for half of its lease goes back to the group, without an attempt counted: others may
    have time for it.

    Attributes:
        key: the stream and the group.
        credit: unanswered deliveries that it has at most.
    """

    def __init__(
        self, shared: GroupConsuming, key: GroupKey, *, topic_filter: str | None, credit: int
    ) -> None:
        if not 0 <= credit <= MOST_CREDIT:
            raise ValueError(f"credit {credit!r} must be between 0 and {MOST_CREDIT:,}")
        self.key = key
        self.credit = credit
        self._shared = shared
        self._filter = topic_filter
        self._member: ClientMembership | None = None
        self._entered = False
        self._waiting: deque[ClientDelivery] = deque()
        self._arrived = anyio.Event()
        self._aging = anyio.Event()
        self._over = False
        self._failure: GatewayError | None = None
        self._tending = anyio.CancelScope()

    def __len__(self) -> int:
        """How many deliveries wait for the loop."""
        return len(self._waiting)

    async def __aenter__(self) -> Self:
        await self._join()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        done = self._leave()
        if done is not None and error is None:
            with anyio.move_on_after(self._shared.timeout):
                await done.wait()

    async def __aiter__(self) -> AsyncGenerator[ClientDelivery, None]:
        entered = self._entered
        if not entered:
            await self._join()
        try:
            while (delivery := await self._next()) is not None:
                yield delivery
        finally:
            # Nothing is awaited here: this also runs in a generator that is thrown away or cancelled.
            if not entered:
                self._leave()

    async def __anext__(self) -> ClientDelivery:
        """The next delivery, inside ``async with`` only."""
        if not self._entered:
            raise RuntimeError("use the consumer in 'async with', or iterate over it with 'async for'")
        delivery = await self._next()
        if delivery is None:
            raise StopAsyncIteration
        return delivery

    async def set_credit(self, credit: int) -> None:
        """Have ``credit`` unanswered deliveries at most from now on; with 0 nothing new comes.

        Raises:
            GatewayError: the gateway refused, or did not answer in time.
        """
        self.credit = credit
        member = self._member
        if member is not None:
            self._shared.memberships.adjust(member, credit)
            with time_limit(self._shared.timeout, "consume"):
                await member.settled.wait()
            if member.failure is not None:
                raise member.failure

    async def drain(self) -> None:
        """Take nothing new, give back what waits, and end the loop; what the loop has had stays with it.

        It stays a member, so that what is being worked on is another's at once if this process dies.
        """
        try:
            await self.set_credit(0)
        except GatewayError as error:
            log.info("no reply to a credit of 0: %s", error)
        finally:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._end_loop()
        await self._release(waiting)

    # What the connection tells

    def take_delivery(self, event: Delivery, connection: GatewayConnection, seconds: float) -> None:
        """See ``DeliveryTaker``."""
        try:
            message = message_of(event.publication)
        except ValueError as error:
            # It comes again when its lease runs out, and is a dead letter in the end.
            log.warning("ignored a delivery that this client cannot read: %s", error)
            return
        now = anyio.current_time()
        left = event.deadline / 1000 - time.time()
        lease = ClientLease(event.token, self.key, seconds, now=now, connection=connection, left=left)
        shared = self._shared
        self._waiting.append(ClientDelivery(message, event, lease, shared.answers, shared.keeper))
        self._arrived.set()
        self._aging.set()

    def end(self, failure: GatewayError | None) -> None:
        """See ``DeliveryTaker``."""
        self._failure = failure
        self._waiting.clear()
        self._end_loop()

    def _end_loop(self) -> None:
        self._over = True
        self._arrived.set()

    # The loop

    async def _join(self) -> None:
        shared = self._shared
        if self._member is not None:
            raise RuntimeError(f"the consumer of {'/'.join(self.key)!r} is already in use")
        if shared.link.failure is not None:
            raise shared.link.failure
        self._over, self._failure = False, None
        member = self._member = shared.memberships.join(
            self.key, self, topic_filter=self._filter, credit=self.credit
        )
        try:
            with time_limit(shared.timeout, f"consume from {'/'.join(self.key)!r}"):
                await member.settled.wait()
        except BaseException:
            self._leave()
            raise
        if member.failure is not None:
            self._leave()
            raise member.failure
        assert shared.tasks is not None, "the client is open"
        self._tending = anyio.CancelScope()
        shared.tasks.start_soon(self._tend, self._tending)

    def _leave(self) -> anyio.Event | None:
        member, self._member = self._member, None
        self._tending.cancel()
        self._waiting.clear()
        self._end_loop()
        return None if member is None else self._shared.memberships.leave(member)

    async def _next(self) -> ClientDelivery | None:
        while True:
            while not self._waiting:
                if self._over:
                    if self._failure is not None:
                        raise self._failure
                    return None
                self._arrived = anyio.Event()
                await self._arrived.wait()
            delivery = self._waiting.popleft()
            try:
                if delivery.lease.fresh(anyio.current_time()) or await self._refreshed(delivery):
                    return delivery
            except anyio.get_cancelled_exc_class():
                self._waiting.appendleft(delivery)
                raise

    async def _refreshed(self, delivery: ClientDelivery) -> bool:
        """Whether one that has waited, perhaps over a reconnect, is still there to be begun."""
        try:
            await delivery.extend()
        except (LeaseLost, AnswerLost, AlreadyAnswered):
            return False
        except GatewayError as error:
            log.info("%r is left to run out: %s", delivery, error)
            return False
        return True

    # What waits for too long

    async def _tend(self, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                while not self._waiting:
                    self._aging = anyio.Event()
                    await self._aging.wait()
                await anyio.sleep_until(self._waiting[0].lease.ages_at())
                now = anyio.current_time()
                old: list[ClientDelivery] = []
                while self._waiting and self._waiting[0].lease.ages_at() <= now:
                    old.append(self._waiting.popleft())
                await self._release(old)

    async def _release(self, deliveries: list[ClientDelivery]) -> None:
        if not deliveries:
            return
        try:
            await self._shared.answers.release(self.key, [each.lease.token for each in deliveries])
        except GatewayError as error:
            log.warning("%d deliveries are left to run out: %s", len(deliveries), error)
