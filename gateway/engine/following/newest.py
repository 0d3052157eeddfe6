"""Where the newest publications that a filter matches begin in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.topics.grammar import matches

if TYPE_CHECKING:
    from gateway.core.streams.configuration import Bounds
    from gateway.streams.base import Readable

LOOKED_BACK: Final = 16_384
"""Offsets looked through, where no index tells which of them match."""

_PER_READ: Final = 1_024


async def before_newest(store: Readable, stream: str, topic_filter: str, count: int, bounds: Bounds) -> int:
    """The offset before the newest ``count`` publications that match.

    Where fewer match, or no index tells and fewer are found among the newest ``LOOKED_BACK`` offsets, the
    offset before all that was looked through.

    Args:
        store: has the log.
        stream: which.
        topic_filter: a parsed filter.
        count: at least 1.
        bounds: of the log, read before. It may have grown since.

    Raises:
        StreamUnavailable: the store can't be reached.
    """
    before = await store.before_newest(stream, topic_filter, count)
    if before is not None:
        return max(before, bounds.first - 1)
    end, least = bounds.last, max(bounds.first - 1, bounds.last - LOOKED_BACK)
    while end > least:
        begin = max(least, end - _PER_READ)
        found = await _matching(store, stream, topic_filter, begin, end)
        if len(found) >= count:
            return found[-count] - 1
        count -= len(found)
        end = begin
    return end


async def _matching(store: Readable, stream: str, topic_filter: str, begin: int, end: int) -> list[int]:
    """The offsets behind ``begin`` up to ``end`` that match."""
    found: list[int] = []
    while begin < end:
        page = await store.read(stream, begin, messages=end - begin)
        for each in page.publications:
            offset = each.offset or 0
            if offset <= end and matches(topic_filter, each.topic):
                found.append(offset)
        if page.last <= begin:
            break
        begin = page.last
    return found
