"""Which groups this client consumes from, and what is to be said of that on each connection.

As with subscriptions, what is wanted and what is on the wire are kept apart: ``join``, ``adjust`` and
``leave`` change what is wanted, ``serve`` says it on one connection, and after a reconnect all is said anew.
A connection is a member of a group once, so a client is too.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from gateway.client.errors import ConnectionLost, refusal
from gateway.core.messages.commands import Consume, Release
from gateway.core.messages.events import Consuming, Delivery, Released
from gateway.errors import Conflict, GatewayError, RateLimited, TokenExpired

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.client.connection import GatewayConnection
    from gateway.client.replies import Answer
    from gateway.core.messages.events import Failure

log = logging.getLogger(__name__)

GroupKey: TypeAlias = tuple[str, str]
"""A stream and one of its groups."""

ASK_AGAIN_SECONDS: Final = 1.0
"""How long to wait after a group could not be joined for now."""


class DeliveryTaker(Protocol):
    """Who takes the deliveries of one group. None of it waits."""

    def take_delivery(self, event: Delivery, connection: GatewayConnection, seconds: float) -> None:
        """One has come on ``connection``, with a lease of ``seconds``."""
        ...

    def end(self, failure: GatewayError | None) -> None:
        """No more comes, because of ``failure`` if there is one."""
        ...


class ClientMembership:
    """One group as this client consumes from it.

    Attributes:
        key: stream and group.
        credit: unanswered deliveries that are wanted at most.
        settled: set when the gateway has answered to what was asked last, or never will.
        failure: why it was refused.
        asked: whether ``consume`` was sent on this connection.
        connection: the one on which it is a member now.
        seconds: how long a lease lasts.
    """

    def __init__(self, key: GroupKey, taker: DeliveryTaker, topic_filter: str | None, credit: int) -> None:
        self.key = key
        self.taker = taker
        self.credit = credit
        self.settled = anyio.Event()
        self.failure: GatewayError | None = None
        self.asked = False
        self.wanted = True
        self.connection: GatewayConnection | None = None
        self.seconds = 0.0
        self._filter = topic_filter

    def ask(self, ref: int) -> Consume:
        """The command that makes it a member, or changes the credit."""
        return Consume(*self.key, self._filter, self.credit, ref=ref)

    def want(self) -> None:
        """It is to be asked for, or again with other credit."""
        if self.settled.is_set():
            self.settled = anyio.Event()
        self.wanted = True

    def end(self, failure: GatewayError | None) -> None:
        """It is a member no more, and won't be again."""
        self.connection = None
        self.failure = failure
        self.settled.set()
        self.taker.end(failure)


class Memberships:
    """The memberships of one client; all but ``serve`` is synchronous."""

    def __init__(self) -> None:
        self._members: dict[GroupKey, ClientMembership] = {}
        self._leaving: dict[GroupKey, anyio.Event] = {}
        self._releasing: set[GroupKey] = set()
        self._changed = anyio.Event()
        self._postponed: list[ClientMembership] = []
        self._postponed_leaving: dict[GroupKey, anyio.Event] = {}
        self._ask_again_at = math.inf
        self._told: Failure | None = None

    def __len__(self) -> int:
        return len(self._members)

    def join(
        self, key: GroupKey, taker: DeliveryTaker, *, topic_filter: str | None, credit: int
    ) -> ClientMembership:
        """Want to be a member.

        Raises:
            Conflict: this client is one already.
        """
        if key in self._members:
            raise Conflict(
                f"this client consumes from {'/'.join(key)!r} already: "
                "ask for more credit, or use another client"
            )
        member = self._members[key] = ClientMembership(key, taker, topic_filter, credit)
        self._changed.set()
        return member

    def adjust(self, member: ClientMembership, credit: int) -> None:
        """Want other credit; ``member.settled`` is set once the gateway has it."""
        member.credit = credit
        if self._members.get(member.key) is member:
            member.want()
            self._changed.set()

    def leave(self, member: ClientMembership) -> anyio.Event | None:
        """Be a member no more: what is unanswered goes back.

        Returns:
            An event that is set when the gateway has confirmed it; None where nothing is to wait for.
        """
        if self._members.get(member.key) is not member:
            return None
        del self._members[member.key]
        if not member.asked:
            return None
        member.connection = None
        self._changed.set()
        return self._leaving.setdefault(member.key, anyio.Event())

    async def serve(self, connection: GatewayConnection, renew: Callable[[], None]) -> None:
        """Say on ``connection`` what is wanted, again and again as that changes.

        Where the token has expired, ``renew`` is called.
        """
        try:
            while True:
                self._changed = anyio.Event()
                await self._release(connection, renew)
                for member in [each for each in self._members.values() if each.wanted]:
                    await self._consume(connection, member, renew)
                with anyio.CancelScope(deadline=self._ask_again_at):
                    await self._changed.wait()
                self._ask_again()
        except ConnectionLost:
            pass  # The reader sees it too, and says how it ended.

    def receive(self, event: Delivery | Released) -> None:
        """What came without having been asked for."""
        if isinstance(event, Released):
            told, self._told = self._told, None
            member = self._members.pop((event.stream, event.group), None)
            if member is not None:
                member.end(None if told is None else refusal(told))
            return
        stream = event.publication.stream
        if stream is None:
            return
        member = self._members.get((stream, event.group))
        if member is not None and member.connection is not None:
            member.taker.take_delivery(event, member.connection, member.seconds)
            return
        # Of a membership that has ended: the release behind it gives it back, if there is one.
        log.debug("a delivery of %s/%s that nobody takes", stream, event.group)
        key = (stream, event.group)
        if member is None and key not in self._releasing and key not in self._postponed_leaving:
            self._leaving.setdefault(key, anyio.Event())
            self._changed.set()

    def told(self, failure: Failure) -> None:
        """An error that answers nothing: it says why the ``released`` comes that may follow."""
        self._told = failure

    def disconnected(self) -> None:
        """Nothing is on the wire any more; everything is wanted."""
        for leaving in (self._leaving, self._postponed_leaving):
            for done in leaving.values():
                done.set()
            leaving.clear()
        self._releasing.clear()
        self._postponed.clear()
        self._ask_again_at = math.inf
        self._told = None
        for member in self._members.values():
            member.asked = False
            member.connection = None
            member.want()

    def close(self, failure: GatewayError | None) -> None:
        """End every membership, with ``failure`` if there is one."""
        self.disconnected()
        members = list(self._members.values())
        self._members.clear()
        for member in members:
            member.end(failure)

    async def _release(self, connection: GatewayConnection, renew: Callable[[], None]) -> None:
        while self._leaving:
            key, done = self._leaving.popitem()
            self._releasing.add(key)
            ref = connection.replies.expect(partial(self._released, key, done, renew))
            await connection.send(Release(*key, ref=ref))

    def _released(self, key: GroupKey, done: anyio.Event, renew: Callable[[], None], answer: Answer) -> None:
        self._releasing.discard(key)
        if isinstance(answer, TokenExpired | RateLimited) and key not in self._members:
            # It is a member still, and gets what nobody takes.
            if isinstance(answer, TokenExpired):
                renew()
            self._postponed_leaving.setdefault(key, done)
            self._ask_later()
        else:
            done.set()

    async def _consume(
        self, connection: GatewayConnection, member: ClientMembership, renew: Callable[[], None]
    ) -> None:
        member.wanted = False
        member.asked = True
        ref = connection.replies.expect(partial(self._answered, member, connection, renew))
        await connection.send(member.ask(ref))

    def _answered(
        self,
        member: ClientMembership,
        connection: GatewayConnection,
        renew: Callable[[], None],
        answer: Answer,
    ) -> None:
        if self._members.get(member.key) is not member:
            return
        if isinstance(answer, Consuming):
            member.connection = connection
            member.seconds = answer.ack_wait / 1000
            if not member.wanted:
                member.settled.set()
        elif isinstance(answer, TokenExpired):
            renew()
            self._postpone(member)
        elif isinstance(answer, ConnectionLost):
            pass  # It is asked for anew on the next one.
        elif isinstance(answer, GatewayError):
            if answer.retry:
                self._postpone(member)
            else:
                del self._members[member.key]
                member.end(answer)
        else:
            log.warning("the gateway answered a consume with %r", answer)

    def _postpone(self, member: ClientMembership) -> None:
        self._postponed.append(member)
        self._ask_later()

    def _ask_later(self) -> None:
        self._ask_again_at = min(self._ask_again_at, anyio.current_time() + ASK_AGAIN_SECONDS)
        self._changed.set()

    def _ask_again(self) -> None:
        if anyio.current_time() >= self._ask_again_at:
            self._ask_again_at = math.inf
            for member in self._postponed:
                member.wanted = True
            self._postponed.clear()
            for key, done in self._postponed_leaving.items():
                if key in self._members:
                    done.set()
                else:
                    self._leaving[key] = done
            self._postponed_leaving.clear()
