"""What a subscriber is answered while the bus has yet to confirm."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.auth.grants import EVERYTHING, NOTHING, Grants
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import Subscribe
from gateway.core.messages.events import Subscribed
from gateway.core.topics.grammar import TopicLimits
from gateway.engine import subscribing
from gateway.engine.subscribing import InterestRegistry, SubscribeService
from gateway.errors import NotPermitted
from tests.unit.core.wire import RecordingSink
from tests.unit.engine.following_world import world


class SlowBus:
    """Confirms an interest when the test says so; a real one can't be made to wait."""

    def __init__(self) -> None:
        self.asked: dict[str, asyncio.Future[None]] = {}

    def subscribe(self, topic_filter):
        self.asked[topic_filter] = asyncio.get_running_loop().create_future()
        return self.asked[topic_filter]

    def unsubscribe(self, topic_filter):
        pass

    def hears(self, topic_filter):
        return True


class Client:
    def __init__(self) -> None:
        self.bus, self.hub = SlowBus(), Hub()
        self.subscriber = SubscribeService(self.hub, self.bus, topic_limits=TopicLimits())
        self.outbox = Outbox(RecordingSink(), GatewayV1(), OutboxLimits())
        self.hub.attach(self.outbox)

    def subscribe(self, topic_filter: str, grants: Grants = EVERYTHING):
        return self.subscriber.subscribe(self.outbox, Subscribe(topic_filter), grants)


async def test_a_subscription_that_new_grants_end_is_never_confirmed() -> None:
    client = Client()
    answer = client.subscribe("a/b")
    other = client.subscribe("a/c")
    assert await client.subscriber.restrict(client.outbox, Grants(subscribe=("a/c",))) == ["a/b"]
    for asked in client.bus.asked.values():
        asked.set_result(None)
    with pytest.raises(NotPermitted, match="a/b"):
        await answer
    assert await other == [Subscribed("a/c")]
    assert list(client.outbox.subscriptions) == ["a/c"]


async def test_what_the_application_has_begun_no_grants_end() -> None:
    client = Client()
    for topic_filter in ("a/b", "a/c"):
        answer = client.subscribe(topic_filter)
        client.bus.asked[topic_filter].set_result(None)
        await answer
    client.outbox.subscriptions["a/b"].given = True
    client.subscribe("a/b")  # with other options: it stays the application's
    assert await client.subscriber.restrict(client.outbox, NOTHING) == ["a/c"]
    assert list(client.outbox.subscriptions) == ["a/b"]


async def test_the_same_filter_can_be_asked_for_again_meanwhile() -> None:
    client = Client()
    first = client.subscribe("a/b")
    await client.subscriber.restrict(client.outbox, NOTHING)
    again = client.subscribe("a/b")
    client.bus.asked["a/b"].set_result(None)
    with pytest.raises(NotPermitted):
        await first
    assert await again == [Subscribed("a/b")]


@pytest.mark.parametrize("topic_filter", ["$gateway/nodes", "$gateway/#", "$gateway-ab/told", "$gateway"])
def test_what_nodes_tell_each_other_is_for_no_client(topic_filter: str) -> None:
    client = Client()
    with pytest.raises(NotPermitted):
        client.subscribe(topic_filter)
    assert client.bus.asked == client.outbox.subscriptions == {}


async def test_new_grants_after_the_confirmation_change_no_answer() -> None:
    client = Client()
    answer = client.subscribe("a/b")
    client.bus.asked["a/b"].set_result(None)
    assert await answer == [Subscribed("a/b")]
    assert await client.subscriber.restrict(client.outbox, NOTHING) == ["a/b"]
    assert client.outbox.subscriptions == {}


async def test_many_subscriptions_of_a_connection_that_has_gone_end_in_portions() -> None:
    client = Client()
    for number in range(200):
        client.subscribe(f"a/{number}")
    left: list[str] = []
    client.bus.unsubscribe = left.append
    client.subscriber.end(client.outbox)
    client.subscriber.end(client.outbox)
    steps = [len(left)]
    while client.hub.leaving:
        await asyncio.sleep(0)
        steps.append(len(left))
    assert max(after - before for before, after in itertools.pairwise([0, *steps])) <= 32
    assert sorted(left) == sorted(f"a/{number}" for number in range(200))
    assert client.hub.statistics().subscriptions == client.hub.statistics().filters == 0


async def test_new_grants_are_held_to_many_subscriptions_in_many_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscribing, "_TURN_SECONDS", -1.0)
    client = Client()
    for number in range(50):
        client.subscribe(f"a/{number}")
    restricting = asyncio.ensure_future(client.subscriber.restrict(client.outbox, Grants(subscribe=("a/7",))))
    turns = 0
    while not restricting.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 50
    assert len(restricting.result()) == 49
    assert list(client.outbox.subscriptions) == ["a/7"]


class CountingBus:
    def __init__(self) -> None:
        self.filters: list[str] = []

    def subscribe(self, topic_filter: str) -> None:
        self.filters.append(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        self.filters.remove(topic_filter)

    def hears(self, topic_filter: str) -> bool:
        return False


async def test_a_filter_that_a_stream_covers_is_no_business_of_the_bus() -> None:
    async with world("s") as node:
        bus = CountingBus()
        interests = InterestRegistry(bus, node.following.tails)
        for topic_filter in ("s/a", "s/#", "#", "live"):
            interests.enter(topic_filter)
        assert bus.filters == ["#", "live"]
        assert interests.hears("s/+")
        assert not interests.hears("#")
        assert node.following.tails._tails["s"].interest_count == 3
        for topic_filter in ("s/a", "s/#", "#", "live"):
            interests.leave(topic_filter)
        assert bus.filters == []
        assert node.following.tails._tails["s"].interest_count == 0


async def test_without_streams_everything_is_the_bus_s() -> None:
    bus = CountingBus()
    interests = InterestRegistry(bus)
    interests.enter("s/a")
    assert (bus.filters, interests.streams("s/a")) == (["s/a"], ())
