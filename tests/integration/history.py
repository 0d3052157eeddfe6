"""What was published and answered, and what each subscriber got: nothing may be missing without a gap."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.patience import HANG_SECONDS, PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.integration.conftest import RunningGateway

ANSWER_SECONDS = 2.0 * PATIENCE  # two seconds are promised
PUBLISH_SECONDS = 1.5  # redis.timeout
TOPICS = ("red/1", "green/2", "blue/3", "white/4", "black/5")


@dataclass
class Subscriber:
    """One connection's record, with the time of each entry."""

    node: RunningGateway
    received: dict[str, float] = field(default_factory=dict)
    order: dict[str, list[str]] = field(default_factory=dict)
    gaps: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    closed: bool = False

    async def subscribe(self, websocket: ClientConnection, topic_filter: str) -> None:
        await websocket.send(json.dumps({"op": "subscribe", "filter": topic_filter}))
        async with asyncio.timeout(HANG_SECONDS):
            while (frame := json.loads(await websocket.recv()))["op"] != "subscribed":
                assert frame["op"] != "error", frame
                self._note(frame)

    async def run(self, websocket: ClientConnection) -> None:
        try:
            async for text in websocket:
                self._note(json.loads(text))
        except ConnectionClosed:
            pass
        self.closed = True

    def _note(self, frame: dict[str, Any]) -> None:
        now = time.monotonic()
        if frame["op"] == "gap":
            self.gaps.append((now, frame))
        elif frame["op"] == "message":
            if frame["id"] in self.received:
                self.twice.append(frame["id"])
            self.received[frame["id"]] = now
            self.order.setdefault(frame["topic"], []).append(frame["id"])


@dataclass
class History:
    """Everything that happened while a fault was tried."""

    subscribers: list[Subscriber] = field(default_factory=list)
    answered: dict[str, float] = field(default_factory=dict)
    publishing: set[str] = field(default_factory=set)
    refused: int = 0
    slowest: float = 0.0

    async def until(self, condition: Callable[[], bool], seconds: float = HANG_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - frames come from other processes
                await asyncio.sleep(0.02)

    async def steady(self, count: int = 50, *, seconds: float = HANG_SECONDS) -> None:
        """Wait until everyone has got ``count`` more, and some of every publisher, from now on."""
        since = time.monotonic()

        def enough() -> bool:
            fresh = {each for each, sent in self.answered.items() if sent > since}
            heard_of = {name: sum(each.startswith(f"{name}-") for each in fresh) for name in self.publishing}
            return min(heard_of.values(), default=0) >= count / 10 and all(
                len(fresh & each.received.keys()) >= count for each in self.subscribers if not each.closed
            )

        await self.until(enough, seconds)

    async def all_settled(self) -> None:
        """Wait for what was answered and is on its way still.

        What a gap tells of may never come: for that a second at most, once all else is there.
        """
        with suppress(TimeoutError):
            await self.until(lambda: not any(map(self.untold, self.subscribers)))
            await self.until(lambda: not any(map(self.missing, self.subscribers)), 1.0)

    def missing(self, subscriber: Subscriber) -> list[str]:
        return [each for each in self.answered if each not in subscriber.received]

    def untold(self, subscriber: Subscriber) -> list[str]:
        """Those missing that no gap tells of; a closed connection gets no more."""
        if subscriber.closed:
            return []
        told = max((when for when, _ in subscriber.gaps), default=0.0)
        return [name for name in self.missing(subscriber) if self.answered[name] > told]

    @property
    def refused_early(self) -> bool:
        """Somebody was refused, and nobody had waited as long as a publisher may have to.

        On a machine that stands still for so long refusals are what is promised.
        """
        return self.refused > 0 and self.slowest < PUBLISH_SECONDS

    def check(self, *, gaps: Callable[[Subscriber], bool] = lambda _: True) -> None:
        """Assert the promises; ``gaps`` says who may have some."""
        assert self.slowest <= ANSWER_SECONDS, f"an answer took {self.slowest} s"
        for each in self.subscribers:
            assert not each.closed, "a client was disconnected"
            assert each.twice == [], f"{each.twice} came twice"
            assert {frame["reason"] for _, frame in each.gaps} <= {"bus"}, each.gaps
            assert gaps(each) or not each.gaps, each.gaps
            untold = self.untold(each)
            assert untold == [], f"{len(untold)} lost without a gap, of {len(self.answered)}"
        self._check_order()

    def _check_order(self) -> None:
        first = self.subscribers[0]
        for other in self.subscribers[1:]:
            for topic, order in first.order.items():
                theirs = other.order.get(topic, [])
                both = set(order) & set(theirs)
                assert [each for each in order if each in both] == [each for each in theirs if each in both]


def no_gaps(_: Subscriber) -> bool:
    return False


async def _publish(history: History, node: RunningGateway, name: str, pause: float) -> None:
    """Publish one message after the other until cancelled, each when the one before was answered."""
    history.publishing.add(name)
    with suppress(ConnectionClosed, OSError):
        async with connect(node.ws_url) as websocket:
            await websocket.recv()
            number = 0
            while True:
                number += 1
                label = f"{name}-{number}"
                began = time.monotonic()
                topic = TOPICS[number % len(TOPICS)]
                await websocket.send(
                    json.dumps({"op": "publish", "topic": topic, "data": number, "id": label, "ref": number})
                )
                reply = json.loads(await websocket.recv())
                history.slowest = max(history.slowest, time.monotonic() - began)
                if reply["op"] == "published":
                    history.answered[label] = began
                else:
                    assert reply["code"] == "unavailable", reply
                    history.refused += 1
                await asyncio.sleep(pause)
    history.publishing.discard(name)


@asynccontextmanager
async def history(nodes: Sequence[RunningGateway], *, pause: float = 0.005) -> AsyncIterator[History]:
    """Two subscribers and two publishers on each node, from here to the end of the block."""
    record = History()
    run = secrets.token_hex(2)  # histories overlap: no two messages bear one id
    async with AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
        running = []
        for node in nodes:
            for filters in (["#"], [f"{topic.partition('/')[0]}/#" for topic in TOPICS]):
                websocket = await opened.enter_async_context(connect(node.ws_url, ping_interval=None))
                await websocket.recv()
                subscriber = Subscriber(node)
                record.subscribers.append(subscriber)
                for each in filters:
                    await subscriber.subscribe(websocket, each)
                running.append(tasks.create_task(subscriber.run(websocket)))
        publishers = [
            tasks.create_task(_publish(record, node, f"{run}-{index}{letter}", pause))
            for index, node in enumerate(nodes)
            for letter in "ab"
        ]
        try:
            yield record
        finally:
            # Once, and until they have gone: one that is cancelled twice doesn't close its connection.
            for task in publishers:
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(publishers)
            await record.all_settled()
            for task in running:
                task.cancel()
