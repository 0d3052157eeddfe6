"""What is decided for a subject while its connections come and go.

Over real connections: tests/unit/embed/test_identity.py.
"""

from __future__ import annotations

import asyncio

from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.cluster.peers import NoPeers, Told
from gateway.engine.delivery import DeliveryService
from gateway.engine.subjects import SubjectChanges
from gateway.engine.subscribing import SubscribeService
from tests.unit.core.wire import RecordingSink
from tests.unit.engine.cluster_world import Client, make_sessions
from tests.unit.engine.test_subscribing import SlowBus


async def test_a_connection_that_ends_before_its_turn_is_not_subscribed() -> None:
    hub, bus = Hub(), SlowBus()
    subscriber = SubscribeService(hub, bus, topic_limits=TopicLimits())
    clients = [Client(name, "ann") for name in ("one", "two")]
    for client in clients:
        client.outbox = Outbox(RecordingSink(), GatewayV1(), OutboxLimits())
        hub.attach(client.outbox)
    changes = SubjectChanges(make_sessions(*clients), subscriber, DeliveryService(hub), NoPeers())
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
    changes = SubjectChanges(make_sessions(), subscriber, DeliveryService(hub), AwayPeers())
    assert await changes.change("ann", "forget") == 0
    (record,) = caplog.records
    assert "'forget'" in record.message
    assert "elsewhere" in record.message
    assert "ann" not in record.message
