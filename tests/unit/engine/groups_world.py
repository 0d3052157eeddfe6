"""A node's groups over a store in memory, in virtual time, and members that read what they are sent."""

from __future__ import annotations

import asyncio
import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from gateway.auth.grants import EVERYTHING
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.websocket_frames import iter_payloads
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.groups.configuration import GroupConfiguration
from gateway.core.messages.commands import START_NEW, Acknowledge, Consume, Extend, Reject, Release
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits
from gateway.engine.acknowledging import AcknowledgeService, Answered
from gateway.engine.consuming import ConsumeService
from gateway.engine.delivery import DeliveryService
from gateway.engine.following.reading import StreamReader
from gateway.engine.group_administration import GroupAdministration
from gateway.engine.groups import Groups
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.pulling import PullService
from gateway.streams.memory import MemoryStore
from gateway.supervision import Background

from .virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from gateway.auth.grants import Grants
    from gateway.core.messages.events import Event

STREAMS = StreamMap([StreamConfiguration("s", "s/#"), StreamConfiguration("t", "t/#")])
GROUP = GroupConfiguration("g", ack_wait=10.0, max_deliver=3, backoff=(1.0, 2.0))


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test where waiting takes no time."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*arguments, **named))

    return run


class Sink:
    """Takes everything, or nothing more once ``room`` bytes are there."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.room: int | None = None
        self.full: Callable[[], None] = bool

    def write(self, frames: bytes) -> None:
        self.written += frames
        self.writes += 1
        if self.room is not None and len(self.written) > self.room:
            self.full()

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError(reason)


class GroupMemberConnection:
    """One connection that consumes."""

    def __init__(self, node: GroupsNode, name: str) -> None:
        self.node = node
        self.name = name
        self.sink = Sink()
        self.sink.full = self.block
        self.outbox = Outbox(self.sink, GatewayV1(), OutboxLimits())
        node.hub.attach(self.outbox)

    async def consume(
        self,
        stream: str = "s",
        group: str = "g",
        *,
        credit: int = 10,
        grants: Grants = EVERYTHING,
        **more: Any,
    ) -> list[Event]:
        command = Consume(stream, group, credit=credit, **more)
        told = await self.node.consumer.consume(self.outbox, self.name, command, grants)
        await self.node.quiet()
        return told

    async def release(
        self,
        stream: str = "s",
        group: str = "g",
        grants: Grants = EVERYTHING,
        deliveries: tuple[str, ...] = (),
    ) -> list[Event]:
        command = Release(stream, group, deliveries=deliveries)
        told = await self.node.consumer.release(self.outbox, command, grants)
        await self.node.quiet()
        return told

    async def end(self, *, lost: bool) -> None:
        self.node.consumer.end(self.outbox, lost=lost)
        self.node.hub.detach(self.outbox)
        await self.node.quiet()

    def block(self) -> None:
        self.node.hub.block(self.outbox, 0, now=0.0)

    async def unblock(self) -> None:
        self.sink.room = None
        self.node.delivery.resume(self.outbox)
        await self.node.quiet()

    def events(self) -> list[dict[str, Any]]:
        self.node.delivery.flush()
        return [orjson.loads(payload) for payload in iter_payloads(self.sink.written)]

    def deliveries(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["op"] == "delivery"]

    def offsets(self) -> list[int]:
        return [event["offset"] for event in self.deliveries()]

    def tokens(self) -> tuple[str, ...]:
        return tuple(event["delivery"] for event in self.deliveries())


class GroupsNode:
    """One node, as far as groups go."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.store = MemoryStore(STREAMS, clock=self.clock)
        self.refusals = Refusals()
        self.hub = Hub()
        self.delivery = DeliveryService(self.hub)
        self.background = Background()
        self.groups = Groups(self.store.groups, self.refusals)
        self.reader = StreamReader(self.store, STREAMS, most_waiting=4, refusals=self.refusals)
        self.consumer = ConsumeService(
            self.groups, self.delivery, self.background, node="n", clock=self.clock
        )
        self.puller = PullService(self.groups, self.reader, self.background, node="n", clock=self.clock)
        self.acknowledger = AcknowledgeService(self.groups, [self.consumer, self.puller])
        self.administration = GroupAdministration(
            self.groups, STREAMS, topic_limits=TopicLimits(), clock=loop.time
        )
        self._members = 0

    def clock(self) -> int:
        return round(self.now() * 1000)

    def member(self) -> GroupMemberConnection:
        self._members += 1
        return GroupMemberConnection(self, f"session{self._members}")

    async def publish(self, count: int = 1, topic: str = "s/a", data: bytes = b"1", **fields: Any) -> None:
        for _ in range(count):
            await self.store.append(topic[0], Publication(topic, "m", 0, data, **fields))
        await self.quiet()

    async def ack(self, *tokens: str, grants: Grants = EVERYTHING) -> Answered:
        return await self._settle(Acknowledge(tokens), grants)

    async def nack(self, *tokens: str, delay: int | None = None, dead: bool = False) -> Answered:
        return await self._settle(Reject(tokens, delay, dead), EVERYTHING)

    async def extend(self, *tokens: str, by: int) -> Answered:
        return await self._settle(Extend(tokens, by), EVERYTHING)

    async def _settle(self, answer: Any, grants: Grants) -> Answered:
        answered = await self.acknowledger.settle(answer, grants)
        await self.quiet()
        return answered

    async def quiet(self) -> None:
        """Return once nothing is left to do but to wait."""
        await asyncio.sleep(0.001)

    async def figures(self, stream: str = "s", group: str = "g") -> Any:
        return await self.store.groups.figures(stream, group)


@asynccontextmanager
async def groups_node(group: GroupConfiguration = GROUP) -> AsyncIterator[GroupsNode]:
    assert group.start == START_NEW
    node = GroupsNode()
    await node.store.start()
    await node.store.groups.put("s", group)
    running = asyncio.create_task(node.background.run())
    await asyncio.sleep(0)
    try:
        yield node
        assert node.background.supervision.statistics() == {}
    finally:
        running.cancel()
        await asyncio.wait([running])
        await node.store.stop()
