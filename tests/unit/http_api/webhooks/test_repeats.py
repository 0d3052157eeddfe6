"""Deliveries that come again: what this process, the store and the other nodes know of them."""

from __future__ import annotations

import asyncio

import anyio.lowlevel
import pytest

from gateway.auth.principal import Principal
from gateway.core.messages.publication import Publish
from gateway.engine.appending import Receipt, RepeatedReceipt
from gateway.errors import BusUnavailable, RateLimited, Unavailable
from gateway.http_api.webhooks.repeats import RESERVED_SECONDS, RepeatFilter

HOOK = Principal(subject="hook:h")


class Publisher:
    """What publishes, and waits for the test where it is told to."""

    def __init__(self, *, captured: bool = False) -> None:
        self.captured = captured
        self.published: list[tuple[Publish, float | None]] = []
        self.fingerprints: list[bytes | None] = []
        self.error: Exception | None = None
        self.wait: asyncio.Event | None = None
        self.repeated = False

    def captures(self, topic: str) -> bool:
        return self.captured

    def submit(self, command, principal, *, dedupe_seconds=None, fingerprint=None):
        if self.error is not None:
            raise self.error
        self.fingerprints.append(fingerprint)
        self.published.append((command, dedupe_seconds))
        kind = RepeatedReceipt if self.repeated else Receipt
        return kind(f"m{len(self.published)}")

    async def publish(self, command, principal):
        if self.wait is not None:
            await self.wait.wait()
        return self.submit(command, principal)


class Shared:
    """What all nodes remember."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.reserved_for: list[float] = []
        self.remembered_for: list[float] = []
        self.error: Exception | None = None

    async def reserve(self, key: str, seconds: float) -> str | None:
        if self.error is not None:
            raise self.error
        if key in self.texts:
            return self.texts[key]
        self.texts[key] = ""
        self.reserved_for.append(seconds)
        return None

    async def remember(self, key: str, text: str, seconds: float) -> None:
        self.texts[key] = text
        self.remembered_for.append(seconds)

    async def release(self, key: str) -> None:
        del self.texts[key]


def command(topic: str = "a", data: bytes = b"1") -> Publish:
    return Publish(topic, data=data)


async def test_another_node_s_answer_is_given_again():
    publisher, shared = Publisher(), Shared()
    one, other = (RepeatFilter(publisher, seconds=60, shared=shared) for _ in range(2))
    assert await one.publish(command(), HOOK, identity=b"d") == (Receipt("m1"), False)
    receipt, repeated = await other.publish(command(), HOOK, identity=b"d")
    assert (receipt.id, repeated, len(publisher.published)) == ("m1", True, 1)
    assert (shared.reserved_for, shared.remembered_for) == ([RESERVED_SECONDS], [60])
    assert (one.accepted, one.repeated, other.accepted, other.repeated) == (1, 0, 0, 1)


async def test_what_another_node_publishes_right_now_is_to_come_again():
    publisher, shared = Publisher(), Shared()
    publisher.wait = asyncio.Event()
    one, other = (RepeatFilter(publisher, seconds=60, shared=shared) for _ in range(2))
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(one.publish(command(), HOOK, identity=b"d"))
        while not shared.texts:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(Unavailable):
            await other.publish(command(), HOOK, identity=b"d")
        second = tasks.create_task(one.publish(command(), HOOK, identity=b"d"))
        await anyio.lowlevel.checkpoint()
        publisher.wait.set()
    assert first.result() == (Receipt("m1"), False)
    assert second.result() == (Receipt("m1"), True)
    assert (await other.publish(command(), HOOK, identity=b"d"))[0].id == "m1"
    assert len(publisher.published) == 1


@pytest.mark.parametrize("error", [BusUnavailable("away"), RateLimited("too fast")])
async def test_what_failed_may_be_tried_again_anywhere(error):
    publisher, shared = Publisher(), Shared()
    one, other = (RepeatFilter(publisher, seconds=60, shared=shared) for _ in range(2))
    publisher.error = error
    with pytest.raises(type(error)):
        await one.publish(command(), HOOK, identity=b"d")
    publisher.error = None
    assert (await other.publish(command(), HOOK, identity=b"d"))[1] is False


async def test_a_sender_that_hangs_up_leaves_nothing_reserved():
    publisher, shared = Publisher(), Shared()
    publisher.wait = asyncio.Event()
    filter_ = RepeatFilter(publisher, seconds=60, shared=shared)
    task = asyncio.ensure_future(filter_.publish(command(), HOOK, identity=b"d"))
    while not shared.texts:
        await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shared.texts == {}
    publisher.wait.set()
    assert (await filter_.publish(command(), HOOK, identity=b"d"))[1] is False


async def test_without_what_others_know_nothing_is_published():
    publisher, shared = Publisher(), Shared()
    shared.error = Unavailable("Redis is away")
    with pytest.raises(Unavailable):
        await RepeatFilter(publisher, seconds=60, shared=shared).publish(command(), HOOK, identity=b"d")
    assert publisher.published == []


async def test_a_captured_topic_s_repeats_are_its_store_s_affair():
    publisher, shared = Publisher(captured=True), Shared()
    filter_ = RepeatFilter(publisher, seconds=3600, shared=shared)
    await filter_.publish(command(), HOOK, identity=b"d")
    [(sent, seconds)] = publisher.published
    assert (seconds, len(sent.idempotency_key), shared.texts) == (3600, 64, {})
    publisher.repeated = True
    assert (await filter_.publish(command(), HOOK, identity=b"e"))[1] is True


async def test_what_a_name_alone_makes_a_repeat_is_one_to_the_store_too():
    publisher = Publisher(captured=True)
    for topic, data in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        filter_ = RepeatFilter(publisher, seconds=3600, by_name=True)
        await filter_.publish(command(topic, data), HOOK, identity=b"d")
    assert len({sent.idempotency_key for sent, _ in publisher.published}) == 1
    [fingerprint] = set(publisher.fingerprints)
    assert fingerprint is not None


async def test_keys_differ_by_sender_name_topic_and_body():
    publisher = Publisher(captured=True)
    for principal, identity, topic, data in (
        (HOOK, b"d", "a", b"1"),
        (Principal(subject="hook:i"), b"d", "a", b"1"),
        (HOOK, b"e", "a", b"1"),
        (HOOK, b"d", "b", b"1"),
        (HOOK, b"d", "b", b"2"),
        (HOOK, b"d", "a", b"1"),
    ):
        filter_ = RepeatFilter(publisher, seconds=3600)
        await filter_.publish(command(topic, data), principal, identity=identity)
    keys = [sent.idempotency_key for sent, _ in publisher.published]
    assert len(set(keys)) == 5
    assert keys[0] == keys[-1]
