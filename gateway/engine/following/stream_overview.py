"""What there is to say about each stream: how it is configured, and what its log holds."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from gateway.errors import NotFound, StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.core.streams.stream import StreamMap
    from gateway.streams.base import Store
    from gateway.streams.statistics import StreamStatistics

REFRESH_SECONDS: Final = 1.0
"""How long metrics wait for the store, and how old what they show may be."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream."""

    configuration: StreamConfiguration
    statistics: StreamStatistics


class StreamOverview:
    """Describes streams to administrators and to metrics."""

    def __init__(
        self, store: Store | None, streams: StreamMap, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Describe ``streams`` as ``store`` holds them; None where there are none."""
        self._store = store
        self._streams = streams
        self._clock = clock
        self._latest: dict[str, StreamStatistics] = {}
        self._unseen: deque[str] = deque()
        self._refreshed = float("-inf")

    async def describe(self, name: str) -> StreamFacts:
        """Describe one stream.

        Raises:
            NotFound: none is configured with this name.
            StreamUnavailable: the store can't be reached.
        """
        if name not in self._streams or self._store is None:
            raise NotFound(f"no stream {name[:64]!r} is configured")
        statistics = self._latest[name] = await self._store.describe(name)
        return StreamFacts(self._streams[name], statistics)

    async def describe_all(self) -> list[StreamFacts]:
        """Describe all streams, in configured order.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        return [await self.describe(each.name) for each in self._streams]

    async def refresh(self) -> None:
        """Look at all streams again, unless that was done a moment ago; gives up after a moment.

        What it has not come to is looked at first the next time.
        """
        if self._clock() - self._refreshed < REFRESH_SECONDS:
            return
        # Where the store is away, what was known last is the best there is to show; another metric tells why.
        with anyio.move_on_after(REFRESH_SECONDS), suppress(StreamUnavailable):
            self._unseen = self._unseen or deque(each.name for each in self._streams)
            while self._unseen:
                name = self._unseen.popleft()
                try:
                    await self.describe(name)
                except BaseException:
                    self._unseen.append(name)
                    raise
        self._refreshed = self._clock()

    def latest(self) -> Mapping[str, StreamStatistics]:
        """What was found last, by name; without those that were never looked at."""
        return self._latest
