from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.events import Pong
from gateway.core.messages.publication import Publication
from gateway.engine import delivery as delivery_module
from gateway.engine.delivery import DeliveryService

if TYPE_CHECKING:
    import pytest

    from gateway.core.messages.events import Event


class Words:
    """A wire format of words."""

    def encode_message(self, publication: Publication) -> bytes:
        return publication.id.encode() + b" "

    def encode(self, event: Event) -> bytes:
        return type(event).__name__.encode() + b" "


class Written:
    """A sink that keeps what it was given, and takes its time for it."""

    def __init__(self, order: list[Written], seconds: float) -> None:
        self.frames = b""
        self._order = order
        self._seconds = seconds

    def write(self, frames: bytes) -> None:
        self._order.append(self)
        self.frames += frames
        until = monotonic() + self._seconds
        while monotonic() < until:
            pass

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError(reason)


class Node:
    """A hub with a crowd and a chat, and what was written in which order."""

    def __init__(self, count: int, *, seconds: float = 0.0) -> None:
        self.hub = Hub()
        self.delivery = DeliveryService(self.hub)
        self.order: list[Written] = []
        self.codec = Words()
        self.crowd = [self.connect("news", seconds) for _ in range(count)]
        self.chat = self.connect("chat", 0.0)

    def connect(self, topic_filter: str, seconds: float) -> Outbox:
        outbox = Outbox(Written(self.order, seconds), self.codec, OutboxLimits())
        self.hub.attach(outbox)
        self.hub.subscribe(outbox, topic_filter)
        return outbox

    def publish(self, topic: str, name: str) -> None:
        self.delivery.deliver(Publication(topic, name, 0, b"1"))

    async def finish(self) -> None:
        while self.hub.unwritten:  # noqa: ASYNC110 - each of the loop's turns writes a slice
            await asyncio.sleep(0)


def written(outbox: Outbox) -> bytes:
    assert isinstance(outbox.sink, Written)
    return outbox.sink.frames


async def test_what_was_due_before_a_large_fan_out_does_not_wait_for_it() -> None:
    node = Node(5000)
    node.delivery.send(node.chat, Pong())
    node.publish("news", "one")
    await asyncio.sleep(0)

    assert written(node.chat) == b"Pong "
    assert len(node.order) < 100
    await node.finish()
    assert [written(each) for each in node.crowd] == [b"one "] * 5000


async def test_writes_that_take_long_leave_turns_to_others() -> None:
    node = Node(150, seconds=0.001)
    node.publish("news", "one")
    await asyncio.sleep(0)
    assert 0 < len(node.order) < 150
    node.publish("chat", "two")
    node.publish("news", "three")
    await asyncio.sleep(0)

    assert written(node.chat) == b"two "
    assert node.hub.unwritten
    await node.finish()
    assert {written(each) for each in node.crowd} == {b"one three "}
    assert node.order[-1] is not node.chat.sink


async def test_what_is_pending_waits_for_a_reader_that_has_more_and_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery_module, "_GATHER_SECONDS", 1000.0)
    node = Node(3)
    for turn in range(5):
        node.publish("news", f"n{turn}")
        node.delivery.gather()
        await asyncio.sleep(0)
    assert node.order == []
    node.publish("news", "last")  # and nothing more at hand
    await asyncio.sleep(0)
    await node.finish()
    assert [written(each) for each in node.crowd] == [b"n0 n1 n2 n3 n4 last "] * 3
    assert len(node.order) == 3


async def test_a_reader_that_always_has_more_keeps_nobody_waiting_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery_module, "_GATHER_SECONDS", -1.0)
    node = Node(3)
    node.publish("news", "one")
    node.delivery.gather()
    await asyncio.sleep(0)
    assert [written(each) for each in node.crowd] == [b"one "] * 3


async def test_a_flush_writes_everything_at_once() -> None:
    node = Node(1000)
    node.publish("news", "one")
    node.delivery.flush()

    assert [written(each) for each in node.crowd] == [b"one "] * 1000
    assert node.hub.unwritten == 0


async def test_a_connection_that_fails_to_be_written_is_ended_and_the_others_are_written() -> None:
    node = Node(100)
    closed: list[int] = []

    class Failing(Written):
        def write(self, frames: bytes) -> None:
            raise RuntimeError("the handler is closed")

        def close(self, code: int, reason: str = "") -> None:
            closed.append(code)

    for number in (0, 50):
        broken = Outbox(Failing(node.order, 0.0), node.codec, OutboxLimits())
        node.hub.attach(broken)
        node.hub.subscribe(broken, "news")
        node.crowd.insert(number, broken)
    node.publish("news", "a")
    await asyncio.sleep(0)
    await node.finish()
    assert closed == [1011, 1011]
    assert [written(each) for each in node.crowd if type(each.sink) is Written] == [b"a "] * 100
    node.publish("news", "b")
    await asyncio.sleep(0)
    await node.finish()
    assert all(written(each) == b"a b " for each in node.crowd if type(each.sink) is Written)
