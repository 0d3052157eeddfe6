"""Stores of streams in Redis, as tests use them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import RedisStoreLimits
from gateway.streams.redis.store import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.core.streams.configuration import Page
    from gateway.streams.base import Appended

TIMEOUT = 0.5


@asynccontextmanager
async def running(
    url: str, prefix: str, *configurations: StreamConfiguration, **limits: float
) -> AsyncIterator[RedisStore]:
    """A node's store; stopped with everything it opened."""
    store = RedisStore(
        url,
        configurations or [StreamConfiguration("s", "s/#")],
        prefix=prefix,
        limits=RedisStoreLimits(**{"timeout": TIMEOUT, "backoff": 0.2, **limits}),  # type: ignore[arg-type]
    )
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def message(label: object) -> Publication:
    return Publication("s/t", str(label), 0, b'"%b"' % str(label).encode())


async def fill(store: RedisStore, *labels: object) -> list[Appended]:
    return await asyncio.gather(*(store.append("s", message(label)) for label in labels))


async def page_of(store: RedisStore, after: int = 0) -> Page:
    return await store.read("s", after, messages=10_000, size=10**8)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


def labels(page: Page) -> list[str]:
    return [each.id for each in page.publications]
