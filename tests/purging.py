"""Purging a store without a look at its steps."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.streams.base import Store


async def purge(store: Store, stream: str, topic_filter: str, before: int | None = None) -> int:
    """Remove what matches, and return how many publications that were."""
    async with aclosing(store.purge(stream, topic_filter, before)) as steps:
        return sum([removed async for removed in steps])
