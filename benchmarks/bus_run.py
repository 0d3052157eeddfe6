"""``python -m benchmarks.bus_run receive|publish WAY URL DIRECTORY SECONDS RATE``: one side of B1.

Both sides are processes of their own. The receiver tells on a board how far it is, so that the publisher
never has more than ``WINDOW`` messages in flight; each writes its figures as JSON when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import redis.asyncio
import uvloop

from benchmarks.load.board import Board
from benchmarks.load.fanout import percentiles
from benchmarks.payload import Payloads
from gateway.bus.redis.bus import RedisBus
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from gateway.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

TOPIC = "bench/load"
SIZE = 128
WARM_UP = 2_000
WINDOW = 8_192
BURST = 128
"""Publications in one turn of the event loop: as many as come in one read of a stream of lines."""

UNCONFIRMED = WINDOW // BURST
"""Bursts that Redis has not confirmed yet."""

ARRIVAL_SECONDS = 15.0
_NUMBER = slice(1, 13)
_STAMP = slice(14, 34)


class Receiver:
    """Counts, checks that numbers follow one another, and keeps how long each message took."""

    def __init__(self, board: Board, *, timed: bool) -> None:
        self._board = board
        self._timed = timed
        self._last = 0
        self._began = (0.0, 0.0)
        self._ended = 0.0
        self._latencies: list[float] = []

    def take(self, data: bytes) -> None:
        number = int(data[_NUMBER])
        if number != self._last + 1:
            self._board.wrong += 1
        self._last = number
        self._board.received = number
        if number == WARM_UP:
            self._began = (time.monotonic(), time.process_time())
        elif number > WARM_UP:
            if self._timed:
                self._latencies.append((time.monotonic_ns() - int(data[_STAMP])) / 1e6)
            self._ended = time.monotonic()

    def figures(self) -> dict[str, float]:
        """Rates from the last message of the warm-up to the last one there was."""
        count = self._last - WARM_UP
        began, cpu = self._began
        return {
            "messages_per_second": count / (self._ended - began),
            "receiver_microseconds": (time.process_time() - cpu) / count * 1e6,
            **percentiles(sorted(self._latencies), "latency"),
        }


class Pace:
    """When the next message is due, and how many there are."""

    def __init__(self, board: Board, seconds: float, rate: float) -> None:
        self._board = board
        self._rate = rate
        self._seconds = seconds
        self._first = time.monotonic()
        self._payloads = Payloads(SIZE)
        self._cpu = 0.0

    @property
    def sent(self) -> int:
        return self._payloads.sent

    def make(self) -> bytes:
        if self.sent == WARM_UP:
            self._first, self._cpu = time.monotonic(), time.process_time()
        return self._payloads.make()

    def wait(self) -> float | None:
        """Seconds until the next may go; None when that was the last."""
        if self.sent < WARM_UP:
            return 0.0
        if self.sent == WARM_UP:
            return 0.0 if self._board.received >= WARM_UP else 0.001
        now = time.monotonic()
        if now - self._first >= self._seconds:
            return None
        if self._rate:
            return max(0.0, self._first + (self.sent - WARM_UP) / self._rate - now)
        return 0.001 if self.sent - self._board.received > WINDOW else 0.0

    def figures(self) -> dict[str, float]:
        """What it cost; ``sent`` is all, the warm-up too."""
        spent = time.process_time() - self._cpu
        return {"sent": self.sent, "publisher_microseconds": spent / (self.sent - WARM_UP) * 1e6}


async def bus_receive(url: str, take: Callable[[bytes], None], ready: Callable[[], None]) -> None:
    bus = RedisBus(url, node="receiver", encoder=GatewayV1())

    def deliver(publication: Publication) -> None:
        assert publication.data is not None
        take(publication.data)

    await bus.start(deliver, lambda affects, dropped: None)  # noqa: ARG005 - what is missing is seen by number
    try:
        if (wait := bus.subscribe("#")) is not None:
            await wait
        ready()
        await asyncio.Event().wait()
    finally:
        await bus.stop()


async def bus_publish(url: str, pace: Pace, *, burst: int) -> None:
    bus = RedisBus(url, node="publisher", encoder=GatewayV1())
    await bus.start(lambda publication: None, lambda affects, dropped: None)  # noqa: ARG005
    unconfirmed: deque[asyncio.Future[None]] = deque()
    while (wait := pace.wait()) is not None:
        if wait:
            await asyncio.sleep(wait)
            continue
        for _ in range(burst):
            stamp = time.time_ns() // 1_000_000
            message = Publication(TOPIC, f"bench-{pace.sent:x}", stamp, pace.make(), None, "application/json")
            with contextlib.suppress(RateLimited):
                confirmed = bus.publish(message)
        unconfirmed.append(confirmed)
        await (unconfirmed.popleft() if len(unconfirmed) > UNCONFIRMED else asyncio.sleep(0))
    for confirmed in unconfirmed:
        await confirmed
    await bus.stop()


def redis_py_receive(url: str, take: Callable[[bytes], None], ready: Callable[[], None]) -> None:
    with redis.Redis.from_url(url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(TOPIC)
        for message in pubsub.listen():
            if message["type"] == "message":
                take(message["data"])
            else:
                ready()


def redis_py_publish(url: str, pace: Pace) -> None:
    with redis.Redis.from_url(url) as client:
        while (wait := pace.wait()) is not None:
            if wait:
                time.sleep(wait)
            else:
                client.publish(TOPIC, pace.make())


async def redis_asyncio_receive(url: str, take: Callable[[bytes], None], ready: Callable[[], None]) -> None:
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(TOPIC)
        async for message in pubsub.listen():
            if message["type"] == "message":
                take(message["data"])
            else:
                ready()


async def redis_asyncio_publish(url: str, pace: Pace) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        while (wait := pace.wait()) is not None:
            if wait:
                await asyncio.sleep(wait)
            else:
                await client.publish(TOPIC, pace.make())


def receive(way: str, url: str, board: Board, *, timed: bool) -> dict[str, float]:
    receiver = Receiver(board, timed=timed)

    def ready() -> None:
        board.ready = True
        gc.collect()
        gc.freeze()

    with contextlib.suppress(KeyboardInterrupt):
        match way:
            case "gateway":
                uvloop.run(bus_receive(url, receiver.take, ready))
            case "redis-py":
                redis_py_receive(url, receiver.take, ready)
            case _:
                uvloop.run(redis_asyncio_receive(url, receiver.take, ready))
    return receiver.figures()


def publish(way: str, url: str, board: Board, seconds: float, rate: float) -> dict[str, float]:
    pace = Pace(board, seconds, rate)
    gc.collect()
    gc.freeze()
    match way:
        case "gateway":
            uvloop.run(bus_publish(url, pace, burst=1 if rate else BURST))
        case "redis-py":
            redis_py_publish(url, pace)
        case _:
            uvloop.run(redis_asyncio_publish(url, pace))
    return pace.figures()


def main(role: str, way: str, url: str, directory: Path, seconds: float, rate: float) -> None:
    # The receiver is told to end when everything has arrived.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    board = Board(directory / "board")
    if role == "receive":
        figures = receive(way, url, board, timed=rate > 0)
    else:
        figures = publish(way, url, board, seconds, rate)
    (directory / f"{role}.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    _, role, way, url, directory, seconds, rate = sys.argv
    main(role, way, url, Path(directory), float(seconds), float(rate))
