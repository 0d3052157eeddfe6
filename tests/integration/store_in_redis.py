"""Stores of streams in Redis, as tests use them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.streams.limits import RedisStoreLimits
from gateway.streams.redis.store import RedisStore
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.core.streams.configuration import Page
    from gateway.streams.base import Appended

TIMEOUT = 0.5
"""For stores whose Redis gives no answer; all others may take as long as a busy machine needs."""


@asynccontextmanager
async def running(
    url: str, prefix: str, *configurations: StreamConfiguration, **limits: float
) -> AsyncIterator[RedisStore]:
    """A node's store; stopped with everything it opened."""
    store = RedisStore(
        url,
        configurations or [StreamConfiguration("s", "s/#")],
        prefix=prefix,
        limits=RedisStoreLimits(**{"timeout": HANG_SECONDS / 2, "backoff": 0.2, **limits}),  # type: ignore[arg-type]
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
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


def labels(page: Page) -> list[str]:
    return [each.id for each in page.publications]
