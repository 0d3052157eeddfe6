"""A node's following of streams over a scripted store, with clients that can be read back."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.auth.grants import EVERYTHING
from gateway.bus.local import LocalBus
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import START_NEW, Overflow, Position, Start, Subscribe
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.delivery import DeliveryService
from gateway.engine.following.following import Following
from gateway.engine.subscribing import SubscribeService
from tests.patience import HANG_SECONDS

from .model_client import ENCODER
from .model_store import ModelStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def until(condition) -> None:
    """Let everything else run until ``condition`` holds."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0)


class Reading:
    """One connection, and all that it was sent."""

    def __init__(self, world: World, messages: int) -> None:
        self.world = world
        self.frames: list[dict[str, Any]] = []
        self.outbox = Outbox(self, ENCODER, OutboxLimits(messages=messages))
        self.code: int | None = None
        world.hub.attach(self.outbox)

    def write(self, frames: bytes) -> None:
        self.frames += map(json.loads, frames.splitlines())

    def close(self, code: int, reason: str) -> None:
        self.code = code

    async def subscribe(
        self, topic_filter: str, start: Start = START_NEW, resume: dict[str, Position] | None = None
    ) -> dict[str, Any]:
        """Return the reply; the frames after it are in ``frames``."""
        command = Subscribe(topic_filter, resume, start, Overflow.SPILL)
        answer = self.world.subscriber.subscribe(self.outbox, command, EVERYTHING)
        if isinstance(answer, asyncio.Future):
            await answer
        else:
            for event in answer:
                self.world.delivery.send(self.outbox, event)
        await self.until(lambda: any(frame["op"] == "subscribed" for frame in self.frames))
        at = next(index for index, frame in enumerate(self.frames) if frame["op"] == "subscribed")
        return self.frames.pop(at)

    async def until(self, condition) -> None:
        await until(condition)

    async def ids(self, count: int) -> list[str]:
        """The labels of the messages so far, once there are ``count``."""
        await self.until(lambda: len(self.messages()) >= count)
        return [frame["id"] for frame in self.messages()]

    def messages(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["op"] == "message"]

    def other(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["op"] != "message"]


class World:
    def __init__(self, *names: str, last_values: tuple[str, ...] = (), **options: Any) -> None:
        self.store = ModelStore(*names)
        self.hub = Hub()
        self.delivery = DeliveryService(self.hub, resumed=self.resumed)
        self.bus = LocalBus()
        streams = StreamMap(
            StreamConfiguration(name, f"{name}/#", last_values=name in last_values) for name in names
        )
        self.following = Following(streams, self.store, self.hub, self.delivery, **options)
        self.subscriber = SubscribeService(
            self.hub, self.bus, topic_limits=TopicLimits(), following=self.following
        )

    def resumed(self, outbox: Outbox) -> None:
        self.following.catching_up.wake(outbox)

    def client(self, messages: int = 1000) -> Reading:
        return Reading(self, messages)

    def append(self, count: int, topic: str = "s/a") -> None:
        name = topic.split("/", maxsplit=1)[0]
        for _ in range(count):
            log = self.store.logs[name]
            number = log.last + 1
            log.append(Publication(topic, f"{name}{number}", time=number, data=b"1"))
        self.store.notify()


@asynccontextmanager
async def world(*names: str, **options: Any) -> AsyncIterator[World]:
    made = World(*(names or ("s",)), **options)
    await made.bus.start(made.delivery.deliver, made.delivery.announce_loss)
    running = asyncio.create_task(made.following.run())
    await asyncio.sleep(0)
    try:
        yield made
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])
