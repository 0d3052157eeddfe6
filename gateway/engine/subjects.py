"""What somebody else decides for a subject: its subscriptions begun and ended, its permissions forgotten.

An application around the gateway decides what a client hears, whatever the client asks for, and on whichever
node it is connected.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.auth.grants import EVERYTHING
from gateway.core.cluster.control import Changed, ChangeKind, ChangeSubject
from gateway.core.messages.commands import Subscribe, Unsubscribe
from gateway.core.messages.events import Failure
from gateway.errors import GatewayError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.auth.grants import Action, Grants
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.events import Event
    from gateway.engine.authentication import CommandClient
    from gateway.engine.cluster.peers import Peers
    from gateway.engine.consuming import ConsumeService
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.sessions import Sessions
    from gateway.engine.subscribing import SubscribeService

_ASKED_AT_ONCE: Final = 32
"""Questions where many subjects are looked at anew: asked all at once, some would get no answer in time."""


_log = logging.getLogger("gateway.cluster")


class SubjectChanges:
    """Changes what the connections of a subject hear, here and on the other nodes.

    Attributes:
        forget: is told of each subject whose permissions are to be looked at anew.
    """

    def __init__(
        self,
        sessions: Sessions,
        subscriber: SubscribeService,
        consumer: ConsumeService,
        delivery: DeliveryService,
        peers: Peers,
    ) -> None:
        self._sessions = sessions
        self._subscriber = subscriber
        self._consumer = consumer
        self._delivery = delivery
        self._peers = peers
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_ASKED_AT_ONCE)
        self.forget: Callable[[str], None] = _forget_nothing

    async def change(self, subject: str, kind: ChangeKind, topic_filter: str = "") -> int:
        """Carry a ``ChangeSubject`` out on all nodes; return how many connections it concerns.

        Raises:
            BadFilter: the filter is not valid.
        """
        if kind != "forget":
            self._subscriber.streams(topic_filter)  # here, where somebody hears of it
        change = ChangeSubject(subject, kind, topic_filter)
        done = await self.change_here(change)
        told = await self._peers.ask(change)
        if told.missing:
            missing = ", ".join(told.missing)
            _log.warning("not all nodes have carried out %r for a subject; missing: %s", kind, missing)
        return done + sum(answer.count for answer in told.answers.values() if isinstance(answer, Changed))

    async def change_here(self, change: ChangeSubject) -> int:
        """Carry ``change`` out on this node; a connection that has no room for it doesn't count."""
        clients = self._connections(change.subject)
        if change.kind == "forget":
            self.forget(change.subject)
            for client in clients:
                self._start(self._look_again(client))
            return len(clients)
        act = self._subscribe if change.kind == "subscribe" else self._unsubscribe
        return sum([await act(client, change.filter) for client in clients])

    def _connections(self, subject: str) -> list[CommandClient]:
        # HTTP requests that last are sessions too, but hear nothing.
        found: list[Any] = [each for each in self._sessions.open.values() if each.subject == subject]
        return [each for each in found if hasattr(each, "outbox")]

    async def _subscribe(self, client: CommandClient, topic_filter: str) -> bool:
        outbox = client.outbox
        if outbox.closed:
            return False  # it went while those before it were waited for
        if (held := outbox.subscriptions.get(topic_filter)) is not None:
            # Begun anew, it would lose what it has yet to get of its history.
            held.given = True
            return True
        try:
            events = self._subscriber.subscribe(outbox, Subscribe(topic_filter), EVERYTHING)
            outbox.subscriptions[topic_filter].given = True
            if not isinstance(events, list):
                await asyncio.wait([events])
                if events.cancelled():  # it has ended meanwhile
                    return False
                events = events.result()
        except GatewayError:
            return False
        self._send(outbox, events)
        return True

    async def _unsubscribe(self, client: CommandClient, topic_filter: str) -> bool:
        with suppress(NotFound):
            ended = self._subscriber.unsubscribe(client.outbox, Unsubscribe(topic_filter))
            self._send(client.outbox, [ended])
            return True
        return False

    async def _look_again(self, client: CommandClient) -> None:
        """End what a client hears, and consumes, that is not allowed any more."""
        grants, outbox = client.principal.grants, client.outbox
        for stream, group in self._consumer.groups_of(outbox):
            await self._when_known(grants, "consume", f"{stream}/{group}")
        self._send(outbox, self._consumer.restrict(outbox, grants))
        for topic_filter in [each.filter for each in outbox.subscriptions.values() if not each.given]:
            await self._when_known(grants, "subscribe", topic_filter)
            held = outbox.subscriptions.get(topic_filter)
            if held is not None and not held.given and not grants.may_subscribe(topic_filter):
                await self._unsubscribe(client, topic_filter)
                reason = f"the subscription to {topic_filter!r} has ended: it is not allowed any more"
                self._send(outbox, [Failure("forbidden", reason)])

    async def _when_known(self, grants: Grants, action: Action, name: str) -> None:
        # Whoever can't be asked has not allowed it.
        async with self._turns:
            with suppress(GatewayError):
                await grants.when_known(action, name)

    def _send(self, outbox: Outbox, events: list[Event]) -> None:
        for event in events:
            self._delivery.send(outbox, event)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _forget_nothing(_subject: str) -> None:
    """What is done where nothing is remembered."""
