"""``python -m benchmarks.redis_store_run WAY URL SECONDS PUBLISHERS KEYS``: the node of S2, which appends.

Prints its figures as JSON. Everything that was answered is looked for afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import TYPE_CHECKING

import redis
import redis.asyncio
import uvloop

from benchmarks.load.fanout import percentiles
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.base import Dedupe
from gateway.streams.redis.store import RedisStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BODY = b'"' + b"x" * 254 + b'"'
KEPT = 200_000
PAGE = 1_000


class Clients:
    """Publishers that append one message after another."""

    def __init__(self, url: str, append: Callable[[int], Awaitable[object]]) -> None:
        self._append = append
        self._redis = redis.Redis.from_url(url)
        self._number = 0
        self.latencies: list[float] = []

    async def run(self, publishers: int, seconds: float) -> dict[str, float]:
        """Let ``publishers`` of them work for so long."""
        gc.collect()
        gc.freeze()
        redis_cpu = self._redis_cpu()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(self._publish(began + seconds) for _ in range(publishers)))
        passed, spent = time.perf_counter() - began, time.process_time() - cpu
        count = len(self.latencies)
        return {
            "messages_per_second": count / passed,
            "node_microseconds": spent / count * 1e6,
            "redis_microseconds": (self._redis_cpu() - redis_cpu) / count * 1e6,
            **percentiles(sorted(self.latencies), "latency"),
        }

    def _redis_cpu(self) -> float:
        told = self._redis.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    async def _publish(self, until: float) -> None:
        while (now := time.perf_counter()) < until:
            self._number += 1
            await self._append(self._number)
            self.latencies.append((time.perf_counter() - now) * 1000)


async def gateway(url: str, seconds: float, publishers: int, *, keys: bool) -> dict[str, float]:
    store = RedisStore(url, [StreamConfiguration("bench", "bench/#", max_messages=KEPT)], prefix="bench")
    await store.start()

    def append(number: int) -> Awaitable[object]:
        publication = Publication("bench/load", f"bench-{number:x}", 0, BODY)
        return store.append("bench", publication, Dedupe(f"key-{number}", b"f") if keys else None)

    clients = Clients(url, append)
    figures = await clients.run(publishers, seconds)
    bounds = await store.bounds("bench")
    began, after, read = time.perf_counter(), bounds.first - 1, 0
    while publications := (await store.read("bench", after, messages=PAGE)).publications:
        read += len(publications)
        after = publications[-1].offset or 0
    figures["read_per_second"] = read / (time.perf_counter() - began)
    figures["per_call"] = store.statistics().appended / store.statistics().commits
    figures["missing"] = abs(bounds.last - len(clients.latencies)) + abs(bounds.last - after)
    await store.stop()
    return figures


async def redis_asyncio(url: str, seconds: float, publishers: int) -> dict[str, float]:
    async with redis.asyncio.Redis.from_url(url) as client:

        def append(number: int) -> Awaitable[object]:
            return client.xadd("plain", {"n": number, "r": BODY})

        clients = Clients(url, append)
        figures = await clients.run(publishers, seconds)
        figures["missing"] = abs(await client.xlen("plain") - len(clients.latencies))
        return figures


def main(way: str, url: str, seconds: float, publishers: int, *, keys: bool) -> dict[str, float]:
    """Append for ``seconds``."""
    if way == "gateway":
        return uvloop.run(gateway(url, seconds, publishers, keys=keys))
    return uvloop.run(redis_asyncio(url, seconds, publishers))


if __name__ == "__main__":
    _, way, url, seconds, publishers, keys = sys.argv
    print(json.dumps(main(way, url, float(seconds), int(publishers), keys=keys == "keys")))
