"""What becomes of an admitted command: its use case, and the reply, now or later.

Every transport whose clients send commands hands them over here. So what a token makes of a connection, who
may consume from a group, and what a lease is worth is decided once; a new use case is a row of the table.

``ping`` is no row: the session answers it by itself, in every state.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from gateway.core.messages.commands import (
    Acknowledge,
    Authenticate,
    Consume,
    Extend,
    Reject,
    Release,
    Subscribe,
    Unsubscribe,
)
from gateway.core.messages.events import Published
from gateway.core.messages.publication import Publish
from gateway.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.core.messages.commands import Command
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Reference
    from gateway.core.session.session import Close, Reply
    from gateway.engine.acknowledging import AcknowledgeService, Answer
    from gateway.engine.appending import Receipt
    from gateway.engine.authentication import Authentication, CommandClient
    from gateway.engine.consuming import ConsumeService
    from gateway.engine.publishing import PublishService
    from gateway.engine.subscribing import SubscribeService

Outcome: TypeAlias = "list[Event] | Reply | Close"
"""What a command leads to: events to send in order, or what the session's state machine makes of it."""


class DeferredReply(NamedTuple):
    """The reply to a command that waits for something.

    Attributes:
        future: done when the reply is there. A task among them is the connection's own: it ends with it.
        exclusive: no other command of this connection may be carried out before.
        interpret: makes the outcome of the future's result.
        ref: the command's.
    """

    future: asyncio.Future[Any]
    exclusive: bool
    interpret: Callable[[Any, Reference], Outcome]
    ref: Reference

    def outcome(self) -> Outcome:
        """What the command has led to; raises what its use case did."""
        return self.interpret(self.future.result(), self.ref)


class CommandDispatcher:
    """Maps a command to its use case.

    Attributes:
        publish_plain: see ``PublishService.submit_plain``; a future that it returns is answered with
            ``published_later``.
    """

    def __init__(
        self,
        *,
        subscriber: SubscribeService,
        publisher: PublishService,
        authentication: Authentication,
        consumer: ConsumeService,
        acknowledger: AcknowledgeService,
    ) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        # Without a call in between, since it is made once per message.
        self.publish_plain = publisher.submit_plain
        self._authentication = authentication
        self._consumer = consumer
        self._acknowledger = acknowledger
        self._tasks: set[asyncio.Task[list[Event]]] = set()
        self._use_cases: dict[type, Callable[[Any, CommandClient], list[Event] | DeferredReply]] = {
            Publish: self._publish,
            Subscribe: self._subscribe,
            Unsubscribe: self._unsubscribe,
            Authenticate: self._authenticate,
            Consume: self._consume,
            Release: self._release,
            Acknowledge: self._answer,
            Reject: self._answer,
            Extend: self._answer,
        }

    def dispatch(self, command: Command, client: CommandClient) -> list[Event] | DeferredReply:
        """Carry ``command`` out for ``client``.

        Returns:
            The events to answer with, in order, to be sent at once; or where to await them.

        Raises:
            GatewayError: the command is refused, see the use case.
        """
        try:
            use_case = self._use_cases[type(command)]
        except KeyError:
            raise InternalError(f"no way to carry out {type(command).__name__}") from None
        return use_case(command, client)

    def _publish(self, command: Publish, client: CommandClient) -> list[Event] | DeferredReply:
        receipt = self._publisher.submit(command, client.principal)
        if isinstance(receipt, asyncio.Future):
            return published_later(receipt, command.ref)
        # Most publishers ask for no reply: they pay for none.
        return [] if command.ref is None else _published(receipt, command.ref)

    def _subscribe(self, command: Subscribe, client: CommandClient) -> list[Event] | DeferredReply:
        grants = client.principal.grants
        asked = self._subscriber.ask(command, grants)
        if asked is not None:
            told = self._subscriber.subscribe_when_known(asked, client.outbox, command, grants)
            return self._later(told, command.ref, exclusive=True)
        events = self._subscriber.subscribe(client.outbox, command, grants)
        if isinstance(events, list):
            return events
        return DeferredReply(events, True, _as_they_are, command.ref)

    def _unsubscribe(self, command: Unsubscribe, client: CommandClient) -> list[Event]:
        return [self._subscriber.unsubscribe(client.outbox, command)]

    def _authenticate(self, command: Authenticate, client: CommandClient) -> DeferredReply:
        # The connection is its parent: whoever dispatched the command keeps the task, and cancels it.
        task = asyncio.get_running_loop().create_task(self._authentication.renew(command, client))
        return DeferredReply(task, True, _as_they_are, command.ref)

    def _consume(self, command: Consume, client: CommandClient) -> DeferredReply:
        grants = client.principal.grants
        # In the order in which they came: a release that follows must find what it ends.
        joined = self._consumer.consume(client.outbox, client.id, command, grants)
        return self._later(joined, command.ref, exclusive=True)

    def _release(self, command: Release, client: CommandClient) -> DeferredReply:
        left = self._consumer.release(client.outbox, command, client.principal.grants)
        return self._later(left, command.ref, exclusive=True)

    def _answer(self, command: Answer, client: CommandClient) -> DeferredReply:
        # A member is as fast as its work comes: what finishes it is bounded by that, and by its credit.
        answered = self._acknowledger.answer(command, client.principal.grants, client.uncount)
        return self._later(answered, command.ref)

    def _later(
        self, events: Coroutine[Any, Any, list[Event]], ref: Reference, *, exclusive: bool = False
    ) -> DeferredReply:
        # Kept here until it is done, since what was answered counts, whether or not the connection lives on.
        task = asyncio.get_running_loop().create_task(events)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return DeferredReply(task, exclusive, _as_they_are, ref)


def published_later(receipt: asyncio.Future[Receipt], ref: Reference) -> DeferredReply:
    """The reply to a publish once ``receipt`` is there; publishes may overtake each other's answers.

    The store, and the bus, keep their order.
    """
    return DeferredReply(receipt, False, _published, ref)


def _published(receipt: Receipt, ref: Reference) -> list[Event]:
    return [] if ref is None else [Published(receipt.id, receipt.stream, receipt.offset, ref=ref)]


def _as_they_are(outcome: Outcome, _ref: Reference) -> Outcome:
    return outcome
