"""What every bus promises, over each of them: local, one server, a cluster; Valkey and Redis."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gateway.bus.local import LocalBus
from gateway.bus.redis.bus import RedisBus, RedisLimits
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from gateway.errors import BusUnavailable
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.bus.base import Bus

CODEC = GatewayV1()
PATIENT = RedisLimits(timeout=HANG_SECONDS, silence=HANG_SECONDS)
"""With a server that shares a busy machine."""


@dataclass
class Node:
    bus: Bus
    received: list[Publication] = field(default_factory=list)
    losses: list[int | None] = field(default_factory=list)

    async def publish(self, *publications: Publication) -> None:
        waits = [wait for each in publications if (wait := self.bus.publish(each)) is not None]
        if waits:
            await asyncio.gather(*waits)

    async def subscribe(self, topic_filter: str) -> None:
        wait = self.bus.subscribe(topic_filter)
        if wait is not None:
            await wait

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not condition():  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.002)


@dataclass
class Gateway:
    """Makes nodes of one gateway; a local one has only one."""

    make: Callable[[], Bus]
    nodes: int

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[Node]]:
        buses = [self.make() for _ in range(self.nodes)]
        nodes = [Node(bus) for bus in buses]
        for node in nodes:
            await node.bus.start(
                node.received.append, lambda affects, dropped, n=node: n.losses.append(dropped)
            )
        try:
            yield nodes
        finally:
            for node in nodes:
                await node.bus.stop()


def redis_gateway(url: str) -> Gateway:
    prefix = secrets.token_hex(4)

    def make() -> Bus:
        return RedisBus(url, node=secrets.token_hex(4), encoder=CODEC, prefix=prefix, limits=PATIENT)

    return Gateway(make, 3)


@pytest.fixture(params=["local", "valkey", "redis", "valkey-cluster", "redis-cluster"])
def gateway(request: pytest.FixtureRequest, servers: Callable[[str], str]) -> Gateway:
    return Gateway(LocalBus, 1) if request.param == "local" else redis_gateway(servers(request.param))


def message(topic: str, number: int) -> Publication:
    return Publication(topic, f"m{number}", 1_700_000_000_000 + number, b"%d" % number)


async def test_a_publication_reaches_every_node_its_own_too(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        for node in nodes:
            await node.subscribe("a/#")
        await nodes[0].publish(message("a/b", 1))
        for node in nodes:
            await node.until(lambda n=node: len(n.received) == 1)
            assert (node.received[0].topic, node.received[0].id) == ("a/b", "m1")


async def test_every_field_of_a_publication_arrives(gateway: Gateway) -> None:
    sent = [
        Publication("a", "1", 5, b'{"x": [1, "\xc3\xa9"]}', None, "application/json", {"h": "v"}, "k"),
        Publication("a", "2", 6, None, b"\x00\xff", "image/png"),
        Publication("a", "3", 7, None, b""),
        Publication("a", "4", 8, b'"' + b"x" * 70_000 + b'"'),
    ]
    names = ("topic", "id", "time", "data", "binary", "content_type", "headers", "key", "stream", "offset")
    async with gateway.running() as nodes:
        await nodes[-1].subscribe("a")
        await nodes[0].publish(*sent)
        await nodes[-1].until(lambda: len(nodes[-1].received) == len(sent))
        for one, other in zip(nodes[-1].received, sent, strict=True):
            assert one.frame(CODEC) == other.frame(CODEC)
            assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


async def test_every_node_sees_a_topic_in_one_order(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        for node in nodes:
            await node.subscribe("#")

        async def publish(node: Node, first: int) -> None:
            for number in range(200):
                wait = node.bus.publish(message("order/one", first + number))
                if number % 7 == 0 and wait is not None:
                    await wait

        await asyncio.gather(*(publish(node, 1000 * index) for index, node in enumerate(nodes)))
        for node in nodes:
            await node.until(lambda n=node: len(n.received) == 200 * len(nodes))
        orders = [[each.id for each in node.received] for node in nodes]
        assert all(order == orders[0] for order in orders)
        assert [node.losses for node in nodes] == [[] for _ in nodes]


async def test_subscribed_means_subscribed(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        for number in range(100):
            topic = f"t{number}/x"
            await nodes[0].subscribe(topic)
            assert nodes[0].bus.hears(topic)
            await nodes[-1].publish(message(topic, number))
        await nodes[0].until(lambda: len({each.topic for each in nodes[0].received}) == 100)


async def test_a_wildcard_at_the_first_level_hears_every_topic(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        await nodes[-1].subscribe("+/x")
        topics = [f"{number}/x" for number in range(100)]
        await nodes[0].publish(*(message(topic, 1) for topic in topics))
        await nodes[-1].until(lambda: len(nodes[-1].received) == 100)
        assert {each.topic for each in nodes[-1].received} == set(topics)


async def test_interest_can_end_and_come_back(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        node = nodes[0]
        for number in range(20):
            await node.subscribe("a/#")
            await node.subscribe("a/b")
            node.bus.unsubscribe("a/#")
            await nodes[-1].publish(message("a/b", number))
            await node.until(lambda n=number: len(node.received) == n + 1)
            node.bus.unsubscribe("a/b")
            node.bus.unsubscribe("a/b")


async def test_a_stopped_bus_takes_nothing(gateway: Gateway) -> None:
    async with gateway.running() as nodes:
        pass
    with pytest.raises(BusUnavailable):
        nodes[0].bus.publish(message("a", 1))
