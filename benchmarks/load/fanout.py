"""Publishing to a crowd: with a bound on what is in flight, or at a fixed rate; and the figures of both."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.load.crowd import StallError
from benchmarks.load.feed import Feed
from benchmarks.payload import Payloads, latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench import Running
    from benchmarks.load.crowd import Crowd

ARRIVAL_SECONDS = 15.0


@dataclass(slots=True)
class Usage:
    """What the clocks of server, load and wall say at one time, in seconds."""

    server: float
    load: float
    wall: float

    @classmethod
    def now(cls, running: Running) -> Usage:
        return cls(running.server.cpu_seconds(), time.process_time(), time.monotonic())


@dataclass(slots=True)
class Publisher:
    """Publishes to ``topics`` in turn.

    Attributes:
        receivers: how many subscribers each topic has.
        published: the place in ``topics`` of each message so far.
    """

    running: Running
    feed: Feed
    payloads: Payloads
    topics: Sequence[str]
    receivers: Sequence[int]
    next_topic: Callable[[int], int]
    published: list[int]
    expected: int = 0

    @classmethod
    async def open(
        cls,
        running: Running,
        topics: Sequence[str],
        receivers: Sequence[int],
        *,
        size: int = 128,
        next_topic: Callable[[int], int] = lambda number: 0,  # noqa: ARG005
    ) -> Publisher:
        """``next_topic`` chooses the topic of each message by its number, from 0; all go to the first."""
        feed = await Feed.open(running.peer, running.ports)
        return cls(running, feed, Payloads(size), topics, receivers, next_topic, [])

    def send(self, count: int) -> None:
        """Publish ``count`` messages in one write."""
        publish, make = self.running.peer.publish, self.payloads.make
        frames = []
        for _ in range(count):
            place = self.next_topic(self.payloads.sent)
            self.published.append(place)
            self.expected += self.receivers[place]
            frames.append(publish(self.topics[place], make()))
        self.feed.write(b"".join(frames))

    async def arrival(self) -> None:
        """Wait until all that was sent has arrived."""
        await self.running.crowd.reach(self.expected, seconds=ARRIVAL_SECONDS)

    def restart(self) -> None:
        """Begin a new measurement: number messages from 1 again."""
        self.running.crowd.restart()
        self.payloads.sent = self.expected = 0
        self.published = []

    def close(self) -> None:
        self.feed.close()


async def warm_up(publisher: Publisher) -> None:
    """Let the server settle, and see every path once."""
    publisher.restart()
    await asyncio.sleep(publisher.running.peer.settle_seconds)
    for _ in range(3):
        publisher.send(8)
        await publisher.arrival()
    publisher.restart()


async def in_flight(publisher: Publisher, window: int, seconds: float) -> None:
    """Publish ``window`` messages, the next when all have arrived, for ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        publisher.send(window)
        await publisher.arrival()


async def at_rate(publisher: Publisher, per_second: float, seconds: float) -> None:
    """Publish one message at a time, ``per_second``; late ones are sent at once, none is left out."""
    begin = time.monotonic()
    for number in range(round(per_second * seconds)):
        wait = begin + number / per_second - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        publisher.send(1)
    await publisher.arrival()


async def measured(publisher: Publisher, work: Callable[[], object]) -> tuple[dict[str, float], list[str]]:
    """Await ``work()`` and return the figures and problems of what it published."""
    running = publisher.running
    publisher.restart()
    problems: list[str] = []
    before = Usage.now(running)
    try:
        await work()  # type: ignore[misc]
    except StallError as error:
        problems.append(str(error))
    after = Usage.now(running)
    figures = usage_figures(before, after, delivered=running.crowd.total, published=publisher.payloads.sent)
    return figures | latency_figures(running.crowd), problems + publisher.feed.problems()


def usage_figures(before: Usage, after: Usage, *, delivered: int, published: int) -> dict[str, float]:
    """Rates by wall and by the server's CPU, and how busy both sides were."""
    wall, cpu = after.wall - before.wall, max(after.server - before.server, 0.01)
    return {
        "deliveries_per_cpu_second": delivered / cpu,
        "deliveries_per_second": delivered / wall,
        "messages_per_cpu_second": published / cpu,
        "messages_per_second": published / wall,
        "server_cpu": cpu / wall * 100,
        "load_cpu": (after.load - before.load) / wall * 100,
        "messages": published,
        "deliveries": delivered,
    }


def latency_figures(crowd: Crowd) -> dict[str, float]:
    """Percentiles in milliseconds, over the recorded subscribers."""
    found = sorted(
        value
        for subscriber in crowd.recorded()
        if subscriber.recording is not None
        for value in latencies(subscriber.recording.stream, subscriber.recording.arrivals)
    )
    return percentiles(found, "latency")


def percentiles(ordered: Sequence[float], prefix: str) -> dict[str, float]:
    """p50, p99, p99.9 and the largest of ascending values."""
    if not ordered:
        return {}
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {f"{prefix}_{name}": ordered[round(last * share)] for name, share in shares.items()}
