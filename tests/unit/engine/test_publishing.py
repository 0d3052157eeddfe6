"""Which way a publication goes, and what its publisher is told; over a store in memory and a local bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gateway.auth.grants import Grants
from gateway.auth.principal import Principal
from gateway.bus.local import LocalBus
from gateway.core.messages.publication import Publication, Publish
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.core.session.rate import KeyedRates
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.appending import Appender
from gateway.engine.publishing import PublishService, Receipt
from gateway.errors import BadCommand, BadTopic, Conflict, NotPermitted, RateLimited, TooLarge, Unavailable
from gateway.streams.memory import MemoryStore

ANYONE = Principal()
STREAMS = StreamMap([StreamConfiguration("orders", "orders/#"), StreamConfiguration("audit", "audit/+")])


@dataclass
class Node:
    """A publisher, where its publications end, and a way to publish."""

    publisher: PublishService
    store: MemoryStore
    live: list[Publication] = field(default_factory=list)

    async def publish(
        self,
        topic: str,
        data: bytes = b"1",
        *,
        key: str | None = None,
        principal: Principal = ANYONE,
    ) -> Receipt:
        return await self.publisher.publish(Publish(topic, data, idempotency_key=key), principal)

    async def stored(self, stream: str) -> list[Publication]:
        return list((await self.store.read(stream, 0, messages=1000)).publications)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    store = MemoryStore(STREAMS)
    bus = LocalBus()
    publisher = PublishService(
        bus,
        answers=IdempotencyWindow(seconds=60, entries=100),
        topic_limits=TopicLimits(),
        message_bytes=100,
        appender=Appender(store, STREAMS),
    )
    made = Node(publisher, store)
    await store.start()
    await bus.start(made.live.append, lambda affects, dropped: None)
    yield made
    await store.stop()


async def test_a_captured_topic_is_stored_and_does_not_take_the_bus(node: Node) -> None:
    receipts = [await node.publish("orders/eu"), await node.publish("orders/us")]
    assert [(receipt.stream, receipt.offset) for receipt in receipts] == [("orders", 1), ("orders", 2)]
    assert [each.topic for each in await node.stored("orders")] == ["orders/eu", "orders/us"]
    assert node.live == []


async def test_a_live_topic_takes_the_bus_and_is_not_stored(node: Node) -> None:
    receipt = await node.publish("orders")
    assert receipt.stream == "orders", "a filter's parent level is captured too"
    receipt = await node.publish("audit")
    assert (receipt.stream, receipt.offset) == (None, None)
    assert [each.id for each in node.live] == [receipt.id]
    assert await node.stored("audit") == []


async def test_everything_of_a_message_is_stored(node: Node) -> None:
    command = Publish("orders/x", None, b"\0\1", "image/png", {"a": "b"}, "my-id", None, "customer-7")
    receipt = await node.publisher.publish(command, ANYONE)
    [stored] = await node.stored("orders")
    assert receipt == ("my-id", "orders", 1)
    assert (stored.binary, stored.content_type, stored.headers) == (b"\0\1", "image/png", {"a": "b"})
    assert (stored.id, stored.key, stored.stream, stored.offset) == ("my-id", "customer-7", "orders", 1)


async def test_a_delay_is_stored_and_is_no_part_of_what_makes_a_repeat(node: Node) -> None:
    first = await node.publisher.publish(Publish("orders/x", b"1", idempotency_key="k", delay=500), ANYONE)
    again = await node.publisher.publish(Publish("orders/x", b"1", idempotency_key="k", delay=9), ANYONE)
    await node.publisher.publish(Publish("orders/x", b"1", delay=0), ANYONE)
    assert again == first
    assert [each.delay for each in await node.stored("orders")] == [500, None]


async def test_what_no_stream_captures_can_not_be_delayed(node: Node) -> None:
    with pytest.raises(BadCommand, match="no stream captures 'audit'"):
        await node.publisher.publish(Publish("audit", b"1", delay=500), ANYONE)
    await node.publisher.publish(Publish("audit", b"1", delay=0), ANYONE)
    assert len(node.live) == 1


async def test_a_repeat_gets_the_first_answer_and_another_body_a_conflict(node: Node) -> None:
    first = await node.publish("orders/x", key="k")
    assert await node.publish("orders/x", key="k") == first
    with pytest.raises(Conflict):
        await node.publish("orders/x", b"2", key="k")
    with pytest.raises(Conflict):
        await node.publish("orders/y", key="k")
    assert len(await node.stored("orders")) == 1
    statistics = node.publisher.statistics()
    assert (statistics.accepted, statistics.bytes, statistics.repeated) == (1, 1, 1)


async def test_a_deletion_is_stored_without_a_body_and_is_no_repeat_of_an_empty_one(node: Node) -> None:
    deletion = Publish("orders/x", idempotency_key="k", deleted=True)
    first = await node.publisher.publish(deletion, ANYONE)
    assert await node.publisher.publish(deletion, ANYONE) == first
    [stored] = await node.stored("orders")
    assert (stored.deleted, stored.data, stored.binary) == (True, None, None)
    with pytest.raises(Conflict):
        await node.publisher.publish(Publish("orders/x", binary=b"", idempotency_key="k"), ANYONE)


async def test_a_deletion_on_a_live_topic_is_delivered_and_needs_the_grant_to_publish(node: Node) -> None:
    await node.publisher.publish(Publish("audit", deleted=True), ANYONE)
    assert [each.deleted for each in node.live] == [True]
    nobody = Principal("n", grants=Grants(publish=("other/#",)))
    with pytest.raises(NotPermitted):
        await node.publisher.publish(Publish("audit", deleted=True), nobody)


async def test_a_key_belongs_to_its_publisher_and_stream(node: Node) -> None:
    subjects = [None, "", "a", "1:a", "a/k"]
    receipts = [await node.publish("orders/x", key="k", principal=Principal(each)) for each in subjects]
    receipts.append(await node.publish("orders/x", key="/k", principal=Principal("")))
    receipts.append(await node.publish("audit/x", key="k"))
    assert [receipt.offset for receipt in receipts] == [1, 2, 3, 4, 5, 6, 1]


async def test_what_may_not_be_published_is_not_stored_either(node: Node) -> None:
    nobody = Principal("n", grants=Grants(publish=("other/#",)))
    with pytest.raises(NotPermitted):
        await node.publish("orders/x", principal=nobody)
    with pytest.raises(BadTopic):
        await node.publish("orders/+")
    with pytest.raises(TooLarge):
        await node.publish("orders/x", b"1" * 101)
    assert await node.stored("orders") == []


async def test_a_tick_s_publishes_are_stored_in_the_order_they_came(node: Node) -> None:
    answers = [node.publisher.submit(Publish("orders/x", b"%d" % number), ANYONE) for number in range(100)]
    receipts = [await each if isinstance(each, asyncio.Future) else each for each in answers]
    assert [receipt.offset for receipt in receipts] == list(range(1, 101))
    assert [each.data for each in await node.stored("orders")] == [b"%d" % number for number in range(100)]


async def test_a_plain_publish_is_accepted_or_refused_as_any_other(node: Node) -> None:
    publisher = node.publisher
    granted = Principal(grants=Grants(publish=("chat", "orders/#")))
    # Twice each: the second time the topic is known.
    for _ in range(2):
        assert publisher.submit_plain("chat", b"1", granted) is None
        with pytest.raises(NotPermitted):
            publisher.submit_plain("talk", b"1", granted)
        with pytest.raises(TooLarge):
            publisher.submit_plain("chat", b"1" * 101, granted)
        with pytest.raises(BadTopic):
            publisher.submit_plain("chat/+", b"1", ANYONE)
        with pytest.raises(BadTopic):
            publisher.submit_plain("$own", b"1", ANYONE)
        if (later := publisher.submit_plain("orders/eu", b"1", granted)) is not None:
            await later
    assert [(each.topic, each.data) for each in node.live] == [("chat", b"1")] * 2
    assert [each.topic for each in await node.stored("orders")] == ["orders/eu"] * 2
    assert len({each.id for each in node.live}) == 2
    assert (publisher.statistics().accepted, publisher.statistics().bytes) == (4, 4)
    publisher.end()
    with pytest.raises(Unavailable):
        publisher.submit_plain("chat", b"1", granted)


async def test_a_plain_publish_counts_against_its_subject_s_rate() -> None:
    bus = LocalBus()
    publisher = PublishService(
        bus,
        answers=IdempotencyWindow(seconds=60, entries=100),
        topic_limits=TopicLimits(),
        message_bytes=100,
        subject_rates=KeyedRates(0.001, 2),
    )
    await bus.start(lambda publication: None, lambda affects, dropped: None)
    ann = Principal("ann")
    assert [publisher.submit_plain("chat", b"1", ann) for _ in range(2)] == [None, None]
    with pytest.raises(RateLimited):
        publisher.submit_plain("chat", b"1", ann)
