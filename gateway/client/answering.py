"""What a member says of deliveries: done, failed, not begun, still at it.

Tokens are good on every connection, so what could not be said on one is said again on the next. A token names
one lease: said twice, it changes nothing the second time. Where the reply was lost and the second time the
lease has ended, nobody can tell whether the first was taken, and that is what the caller is told.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from gateway.client.delivery_errors import AnswerLost, LeaseLost
from gateway.client.errors import ClientClosed, CommandTimeout, ConnectionLost
from gateway.client.time_limit import time_limit
from gateway.core.messages.commands import Acknowledge, Extend, Reject, Release
from gateway.core.messages.events import Acked, Released
from gateway.errors import GatewayError, InternalError, RateLimited, TokenExpired, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.client.connection import GatewayConnection
    from gateway.client.lease import ClientLease
    from gateway.client.link import Link
    from gateway.core.messages.commands import Command
    from gateway.core.messages.events import Event

    GroupKey = tuple[str, str]

_MOST: Final = 500
"""Deliveries that one command acknowledges at most."""

_AGAIN_SECONDS: Final = 0.25
"""How long to wait after the gateway could not take an answer for now."""


class _Asked:
    """How a command was asked.

    Attributes:
        at: when, the last time; by the event loop's clock.
        connection: on which, the last time.
        doubtful: an earlier try may have been taken.
    """

    def __init__(self) -> None:
        self.at = 0.0
        self.connection: GatewayConnection | None = None
        self.doubtful = False


class _PendingAck:
    """A delivery to be acknowledged, and who waits for that."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.answered = anyio.Event()
        self.failure: GatewayError | None = None
        self.given_up = False

    def settle(self, failure: GatewayError | None) -> None:
        self.failure = failure
        self.answered.set()


class DeliveryAnswers:
    """The answers of one client; each takes ``timeout`` seconds at most, reconnecting included.

    Acknowledgements that come while another is under way travel together: a connection may send only so many
    commands a second, and the gateway makes them durable at the price of one.
    """

    def __init__(self, link: Link, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._pending: defaultdict[GroupKey, list[_PendingAck]] = defaultdict(list)
        self._arrived = anyio.Event()

    async def ack(self, key: GroupKey, token: str) -> None:
        """It is done.

        Raises:
            LeaseLost: it had run out; AnswerLost: perhaps it was taken before that.
            GatewayError: the gateway refused, or could not be asked in time.
        """
        if self._link.failure is not None:
            raise self._link.failure
        pending = _PendingAck(token)
        self._pending[key].append(pending)
        self._arrived.set()
        try:
            with time_limit(self._timeout, "ack"):
                await pending.answered.wait()
        except CommandTimeout:
            pending.given_up = True
            raise
        if pending.failure is not None:
            raise pending.failure

    async def nack(self, token: str, *, delay: float | None, dead: bool) -> None:
        """It has failed; ``delay`` in seconds, None for the group's backoff. Raises as ``ack`` does."""
        milliseconds = None if delay is None else round(delay * 1000)
        await self._one(token, "nack", lambda ref: Reject((token,), milliseconds, dead, ref=ref))

    async def extend(self, lease: ClientLease, seconds: float) -> None:
        """It takes ``seconds`` from now. Raises as ``ack`` does."""
        by = max(1, round(seconds * 1000))
        asked = await self._one(lease.token, "extend", lambda ref: Extend((lease.token,), by, ref=ref))
        if asked.connection is not None and (asked.at + seconds > lease.ends or lease.doubtful()):
            lease.confirm(asked.at, asked.connection, seconds)

    async def release(self, key: GroupKey, tokens: Iterable[str]) -> None:
        """They have not been begun: others get them at once, and no attempt is counted.

        Raises:
            GatewayError: the gateway refused, or could not be asked in time.
        """
        named = tuple(tokens)
        with time_limit(self._timeout, "release"):
            for first in range(0, len(named), _MOST):
                some = named[first : first + _MOST]
                reply = await self._ask(partial(Release, *key, deliveries=some), _Asked())
                if not isinstance(reply, Released):
                    raise InternalError(f"a release was answered with {type(reply).__name__}")

    async def run(self) -> None:
        """Send acknowledgements, until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived = anyio.Event()
                while self._pending:
                    key, waiting = self._pending.popitem()
                    if waiting[_MOST:]:
                        self._pending[key] = waiting[_MOST:]
                    await self._send(waiting[:_MOST])
        finally:
            for waiting in self._pending.values():
                for each in waiting:
                    each.settle(ClientClosed("the client is closed"))
            self._pending.clear()

    async def _send(self, waiting: list[_PendingAck]) -> None:
        asked = _Asked()

        def command(ref: int) -> Command:
            return Acknowledge(tuple(each.token for each in waiting if not each.given_up), ref=ref)

        def wanted() -> bool:
            return not all(each.given_up for each in waiting)

        failure: GatewayError | None = ClientClosed("the client is closed")
        stale: frozenset[str] = frozenset()
        try:
            stale = _stale(await self._ask(command, asked, wanted))
            failure = None
        except GatewayError as error:
            failure = error
        finally:
            # Also where it is cancelled: whoever waits is to hear of it.
            for each in waiting:
                each.settle(_lost(asked) if each.token in stale else failure)

    async def _one(self, token: str, what: str, command: Callable[[int], Command]) -> _Asked:
        asked = _Asked()
        with time_limit(self._timeout, what):
            if token in _stale(await self._ask(command, asked)):
                raise _lost(asked)
        return asked

    async def _ask(
        self, command: Callable[[int], Command], asked: _Asked, wanted: Callable[[], bool] = lambda: True
    ) -> Event:
        """The reply, on this connection or a later one; not said again once it is not ``wanted``."""
        renewed = False
        while True:
            if not wanted():
                raise CommandTimeout("nobody waits for it any more")
            connection = await self._link.connected()
            asked.at, asked.connection = anyio.current_time(), connection
            try:
                return await connection.request(command)
            except ConnectionLost:
                asked.doubtful = True
                await connection.ended.wait()
            except TokenExpired:
                if renewed or not await self._link.renewed():
                    raise
                renewed = True
            except RateLimited:
                await anyio.sleep(_AGAIN_SECONDS)
            except Unavailable:
                # The store could not tell: some of it may have been done.
                asked.doubtful = True
                await anyio.sleep(_AGAIN_SECONDS)


def _stale(reply: Event) -> frozenset[str]:
    if not isinstance(reply, Acked):
        raise InternalError(f"an answer was answered with {type(reply).__name__}")
    return frozenset(reply.stale)


def _lost(asked: _Asked) -> GatewayError:
    if asked.doubtful:
        return AnswerLost("the reply was lost, and the lease has ended: taken or not, nobody knows")
    return LeaseLost("the lease had ended: somebody else may have the message")
