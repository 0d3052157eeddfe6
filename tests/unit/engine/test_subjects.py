"""What is decided for a subject while its connections come and go.

Over real connections: tests/unit/embed/test_identity.py.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.cluster.control import ChangeSubject
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.fanout.subscription import Subscription
from gateway.core.messages.commands import Overflow
from gateway.core.messages.events import Subscribed
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.cluster.peers import NoPeers, Told
from gateway.engine.delivery import DeliveryService
from gateway.engine.subjects import SubjectChanges
from gateway.engine.subscribing import SubscribeService
from tests.unit.core.wire import RecordingSink
from tests.unit.engine.cluster_world import Client, make_sessions
from tests.unit.engine.test_subscribing import SlowBus

FILTER = "news/#"
NOBODY: Any = None
"""Consumes nothing."""


async def test_a_connection_that_ends_before_its_turn_is_not_subscribed() -> None:
    hub, bus = Hub(), SlowBus()
    subscriber = SubscribeService(hub, bus, topic_limits=TopicLimits())
    clients = [Client(name, "ann") for name in ("one", "two")]
    for client in clients:
        client.outbox = Outbox(RecordingSink(), GatewayV1(), OutboxLimits())
        hub.attach(client.outbox)
    changes = SubjectChanges(make_sessions(*clients), subscriber, NOBODY, DeliveryService(hub), NoPeers())
    changing = asyncio.create_task(changes.change("ann", "subscribe", "news/#"))
    await asyncio.sleep(0)  # the bus is asked
    subscriber.end(clients[1].outbox)
    bus.asked["news/#"].set_result(None)
    assert await changing == 1
    assert hub.statistics().subscriptions == 1


class AwayPeers(NoPeers):
    """One other node, which does not answer."""

    async def ask(self, question, *, enough=None):
        return Told({}, ("elsewhere",), complete=False)


async def test_what_did_not_reach_all_nodes_is_logged(caplog) -> None:
    hub = Hub()
    subscriber = SubscribeService(hub, SlowBus(), topic_limits=TopicLimits())
    changes = SubjectChanges(make_sessions(), subscriber, NOBODY, DeliveryService(hub), AwayPeers())
    assert await changes.change("ann", "forget") == 0
    (record,) = caplog.records
    assert "'forget'" in record.message
    assert "elsewhere" in record.message
    assert "ann" not in record.message


class SlowSubscriber:
    """Takes each subscription at once, and confirms it when told to."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[list[Any]]] = []
        self.asked_again = asyncio.Event()

    def subscribe(self, outbox: Any, command: Any, grants: Any) -> asyncio.Future[list[Any]]:
        assert not outbox.closed, "nobody would ever take it out again"
        outbox.subscriptions[command.filter] = Subscription(command.filter, Overflow.SPILL)
        self.answers.append(asyncio.get_running_loop().create_future())
        if len(self.answers) > 1:
            self.asked_again.set()
        return self.answers[-1]


class TwoConnections:
    """Two connections of one subject."""

    def __init__(self) -> None:
        self.subscriber = SlowSubscriber()
        self.sent: list[Any] = []
        self.outboxes = [SimpleNamespace(closed=False, subscriptions={}) for _ in range(2)]
        clients = {
            str(number): SimpleNamespace(id=str(number), subject="ann", outbox=outbox)
            for number, outbox in enumerate(self.outboxes)
        }
        delivery = SimpleNamespace(send=lambda outbox, event: self.sent.append((outbox, event)))
        parts: list[Any] = [SimpleNamespace(open=clients), self.subscriber, None, delivery, None]
        self.changes = SubjectChanges(*parts)

    async def begin(self) -> asyncio.Task[int]:
        change = ChangeSubject("ann", "subscribe", FILTER)
        asked = asyncio.create_task(self.changes.change_here(change))
        await asyncio.sleep(0)
        return asked


async def test_one_that_ends_its_subscription_meanwhile_does_not_count() -> None:
    subjects = TwoConnections()
    asked = await subjects.begin()
    subjects.subscriber.answers[0].cancel()  # as the subscriber does where there is nothing to answer
    await subjects.subscriber.asked_again.wait()
    subjects.subscriber.answers[1].set_result([Subscribed(FILTER)])
    assert await asked == 1


async def test_one_that_has_the_subscription_keeps_it_as_it_is() -> None:
    subjects = TwoConnections()
    held = Subscription(FILTER, Overflow.LATEST)
    subjects.outboxes[0].subscriptions[FILTER] = held
    asked = await subjects.begin()
    subjects.subscriber.answers[0].set_result([Subscribed(FILTER)])
    assert await asked == 2
    assert subjects.outboxes[0].subscriptions == {FILTER: held}
    assert held.given
