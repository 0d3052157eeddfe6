"""A message that one member of a group has, until it has answered."""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from gateway.client.delivery_errors import AlreadyAnswered, AnswerLost, GiveUp, LeaseLost, Retry
from gateway.errors import GatewayError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from gateway.client.answering import DeliveryAnswers
    from gateway.client.lease import ClientLease
    from gateway.client.lease_keeper import LeaseKeeper
    from gateway.client.message import Message
    from gateway.core.messages.events import Delivery

log = logging.getLogger(__name__)

RELEASE_SECONDS: Final = 1.0
"""How long a block that is cancelled waits for what it had to go back."""


class DeliveryOutcome(Enum):
    """What has become of a delivery, as far as this member knows."""

    OPEN = "open"
    ACKED = "acked"
    NACKED = "nacked"
    RELEASED = "released"
    LOST = "lost"
    UNKNOWN = "unknown"
    """It was answered, and whether that was taken nobody knows."""


class ClientDelivery:
    """A message of a group, which nobody else has while its lease lasts.

    ``async with delivery`` acknowledges it when the block ends, and rejects it when the block raises. Until
    then the lease is kept alive. Outside a block nothing is done by itself.

    Attributes:
        message: what was published.
        stream: the stream that holds it.
        group: the group that this client consumes from.
        attempt: from 1; one more than the deliveries so far that failed.
        fence: larger with every lease of the group, for what the work is written to.
        deadline_ms: when the lease ended as it was given, milliseconds since 1970, by the gateway's clock.
        outcome: what has become of it.
    """

    def __init__(
        self,
        message: Message,
        event: Delivery,
        lease: ClientLease,
        answers: DeliveryAnswers,
        keeper: LeaseKeeper,
    ) -> None:
        self.message = message
        self.stream, self.group = lease.key
        self.attempt = event.attempt
        self.fence = event.fence
        self.deadline_ms = event.deadline
        self.outcome = DeliveryOutcome.OPEN
        self.lease = lease
        self._answers = answers
        self._keeper = keeper
        self._answering = False

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.stream}/{self.group} offset={self.message.offset} "
            f"topic={self.message.topic!r} attempt={self.attempt} {self.outcome.value}>"
        )

    @property
    def topic(self) -> str:
        """The message's."""
        return self.message.topic

    @property
    def data(self) -> Any:  # noqa: ANN401 - what was published
        """The message's."""
        return self.message.data

    @property
    def id(self) -> str:
        """The message's: the same each time that it is delivered."""
        return self.message.id

    @property
    def key(self) -> str | None:
        """The message's."""
        return self.message.key

    @property
    def headers(self) -> Mapping[str, str]:
        """The message's."""
        return self.message.headers

    @property
    def offset(self) -> int:
        """The message's, in its stream: with the stream's name it is known by that."""
        return self.message.offset or 0

    @property
    def lost(self) -> bool:
        """Whether the lease has ended against the member's will: somebody else may be at it."""
        return self.lease.lost

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have ``call`` called in the event loop when the lease is lost; at once where it is already."""
        self.lease.on_lost(call)

    async def ack(self) -> None:
        """It is done: it never comes again.

        Raises:
            LeaseLost: the lease had ended: this changed nothing.
            AnswerLost, CommandTimeout: it was taken or not, nobody knows; it may be said again.
            AlreadyAnswered: this was answered before.
            GatewayError: the gateway's refusals.
        """
        lease = self.lease
        await self._answer(lambda: self._answers.ack(lease.key, lease.token), DeliveryOutcome.ACKED)

    async def nack(self, delay: float | None = None, *, dead: bool = False) -> None:
        """It has failed, and comes again; after ``max_deliver`` times it is a dead letter.

        Args:
            delay: seconds until it comes again; None: the group's backoff.
            dead: it is a dead letter at once.

        Raises:
            GatewayError: as ``ack``.
        """
        token = self.lease.token
        await self._answer(lambda: self._answers.nack(token, delay=delay, dead=dead), DeliveryOutcome.NACKED)

    async def release(self) -> None:
        """It has not been begun: another member gets it at once, and no attempt is counted.

        Raises:
            GatewayError: as ``ack``, but for ``LeaseLost``: it is another one's either way.
        """
        lease = self.lease
        await self._answer(lambda: self._answers.release(lease.key, [lease.token]), DeliveryOutcome.RELEASED)

    async def extend(self, seconds: float | None = None) -> None:
        """Have it for ``seconds`` from now, if it wasn't for longer already; None: what the group gives.

        Raises:
            GatewayError: as ``ack``.
        """
        self._check_open()
        try:
            await self._answers.extend(self.lease, self.lease.seconds if seconds is None else seconds)
        except AnswerLost as error:
            # Whether an earlier try extended it doesn't matter: it is over now.
            self._lose()
            raise LeaseLost(str(error)) from error
        except LeaseLost:
            self._lose()
            raise

    async def __aenter__(self) -> Self:
        self._check_open()
        self._keeper.keep(self.lease)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._keeper.forget(self.lease)
        if self.outcome is not DeliveryOutcome.OPEN:
            return isinstance(error, (Retry, GiveUp))
        match error:
            case None:
                await self._say(self.ack())
            case Retry():
                await self._say(self.nack(error.after))
            case LeaseLost() if self.lost:
                self.outcome = DeliveryOutcome.LOST
            case GiveUp():
                await self._say(self.nack(dead=True))
            case Exception():
                await self._say(self.nack())
            case _:
                # Cancelled: what was begun didn't fail.
                with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                    await self._say(self.release())
        return isinstance(error, (Retry, GiveUp))

    async def _say(self, answer: Awaitable[None]) -> None:
        # The work is over either way, and the next message is none the worse for it: told, not raised.
        try:
            await answer
        except GatewayError as error:
            log.warning("%r: %s", self, error)

    async def _answer(self, answer: Callable[[], Awaitable[None]], done: DeliveryOutcome) -> None:
        self._check_open()
        self._answering = True
        self._keeper.forget(self.lease)
        try:
            await answer()
        except LeaseLost:
            self._lose()
            raise
        except Unavailable:
            self.outcome = DeliveryOutcome.UNKNOWN
            raise
        finally:
            self._answering = False
        self.outcome = done

    def _lose(self) -> None:
        self.outcome = DeliveryOutcome.LOST
        self._keeper.forget(self.lease)
        self.lease.lose()

    def _check_open(self) -> None:
        if self.outcome is DeliveryOutcome.LOST:
            raise LeaseLost(f"the lease of offset {self.offset} has ended")
        if self._answering or self.outcome not in {DeliveryOutcome.OPEN, DeliveryOutcome.UNKNOWN}:
            told = "is being answered" if self._answering else f"was {self.outcome.value}"
            raise AlreadyAnswered(f"the delivery of offset {self.offset} {told} before")
