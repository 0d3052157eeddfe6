"""What is found wrong while streams are read: holes in their logs, and reads that fail.

Everything that reads a stream on this node reads through here, so an operator hears of a hole once, however
many subscribers are told of it, and readiness names the streams that can't be read.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.streams.pages import PURGED, KnownHoles
from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Hole, Page, SelectedPage
    from gateway.streams.base import Readable, TopicPage

LOG_SECONDS: Final = 10.0
"""Holes of one stream found within this time share a line of the log, failures of all streams too."""

FAILING_SECONDS: Final = 30.0
"""How long a failed read counts where nobody reads the stream again."""

_log = logging.getLogger("gateway.streams")


@dataclass(slots=True)
class _Condition:
    """One stream: its known holes, how many offsets they are, what was not logged yet, the last failure."""

    known: KnownHoles = field(default_factory=KnownHoles)
    missing: int = 0
    untold: int = 0
    told_at: float = float("-inf")
    failed_at: float | None = None


class WatchedStore:
    """The reading half of a store, with what was found wrong remembered."""

    def __init__(
        self,
        store: Readable,
        *,
        connected: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read from ``store``; ``connected`` tells whether it is there at all, ``clock`` seconds."""
        self._store = store
        self._connected = connected
        self._clock = clock
        self._conditions: dict[str, _Condition] = {}
        self._failure_told_at = float("-inf")

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1024 * 1024, wait: float = 0.0
    ) -> Page:
        """Read on behind ``after``, as the store does."""
        with self._watching(stream):
            page = await self._store.read(stream, after, messages=messages, size=size, wait=wait)
        self._has_read(stream, page)
        return page

    async def bounds(self, stream: str) -> Bounds:
        """The log's epoch, first and last offset now, as the store tells."""
        with self._watching(stream):
            return await self._store.bounds(stream)

    async def before(self, stream: str, time: int) -> int:
        """The offset before the first publication of ``time`` or later, as the store tells."""
        with self._watching(stream):
            return await self._store.before(stream, time)

    async def select(
        self, stream: str, filters: Sequence[str], after: int, *, messages: int, size: int = 1024 * 1024
    ) -> SelectedPage | None:
        """What matches one of ``filters`` behind ``after``, as the store finds it."""
        with self._watching(stream):
            page = await self._store.select(stream, filters, after, messages=messages, size=size)
        if page is not None:
            self._has_read(stream, page)
        return page

    async def at(self, stream: str, offsets: Sequence[int]) -> Sequence[Publication]:
        """Those of ``offsets`` that the store can give."""
        with self._watching(stream):
            return await self._store.at(stream, offsets)

    async def count(self, stream: str, topic_filter: str, after: int, through: int) -> int:
        """How many match behind ``after``, up to ``through``, as the store counts."""
        with self._watching(stream):
            return await self._store.count(stream, topic_filter, after, through)

    async def before_newest(self, stream: str, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` publications that match, as the store finds it."""
        with self._watching(stream):
            return await self._store.before_newest(stream, topic_filter, count)

    async def newest_by_topic(
        self,
        stream: str,
        topic_filter: str,
        count: int,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1024 * 1024,
    ) -> SelectedPage:
        """Each matching topic's newest ``count`` publications, as the store finds them."""
        with self._watching(stream):
            page = await self._store.newest_by_topic(
                stream, topic_filter, count, after, through, messages=messages, size=size
            )
        self._has_read(stream, page)
        return page

    async def snapshot(
        self,
        stream: str,
        topic_filter: str,
        after: int,
        through: int | None,
        *,
        messages: int,
        size: int = 1024 * 1024,
    ) -> SelectedPage:
        """The last values of the topics that match, as the store has them."""
        with self._watching(stream):
            return await self._store.snapshot(
                stream, topic_filter, after, through, messages=messages, size=size
            )

    async def last_value(self, stream: str, topic: str) -> tuple[Bounds, Publication | None]:
        """The last value of one topic, as the store has it."""
        with self._watching(stream):
            return await self._store.last_value(stream, topic)

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        """The topics of a log, as the store knows them."""
        with self._watching(stream):
            return await self._store.topics(stream, topic_filter, after=after, limit=limit)

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if the log ends before ``seen``, as the store does."""
        with self._watching(stream):
            return await self._store.raise_epoch(stream, seen)

    def readable(self, stream: str) -> bool:
        """Whether the last read of ``stream`` was answered, or is too long ago to tell.

        Where the whole store is away that says it all, and nothing of any stream.
        """
        if not self._connected():
            for each in self._conditions.values():
                each.failed_at = None
            return True
        condition = self._conditions.get(stream)
        if condition is None or condition.failed_at is None:
            return True
        return self._clock() - condition.failed_at > FAILING_SECONDS

    def missing(self) -> Mapping[str, int]:
        """How many offsets were found missing, by stream."""
        return {name: each.missing for name, each in self._conditions.items()}

    @contextmanager
    def _watching(self, stream: str) -> Iterator[None]:
        try:
            yield
        except StreamUnavailable as error:
            condition = self._conditions.setdefault(stream, _Condition())
            if not self._connected():
                condition.failed_at = None
                raise
            now = self._clock()
            if condition.failed_at is None and now - self._failure_told_at >= LOG_SECONDS:
                self._failure_told_at = now
                _log.error("stream %r can't be read: %s", stream, error)
            condition.failed_at = now
            raise

    def _has_read(self, stream: str, page: Page | SelectedPage) -> None:
        condition = self._conditions.get(stream)
        if condition is not None and condition.failed_at is not None:
            condition.failed_at = None
            _log.info("stream %r can be read again", stream)
        # What somebody had removed is no trouble.
        holes = [each for each in page.holes if each.reason != PURGED] if page.holes else ()
        if holes:
            self._note(stream, page.bounds.epoch, holes)

    def _note(self, stream: str, epoch: str, holes: Sequence[Hole]) -> None:
        condition = self._conditions.setdefault(stream, _Condition())
        found = sum(condition.known.add(epoch, each.first, each.last) for each in holes)
        condition.missing += found
        condition.untold += found
        now = self._clock()
        if condition.untold and now - condition.told_at >= LOG_SECONDS:
            first, last = holes[0].first, holes[-1].last
            _log.error(
                "stream %r has holes: %d publications are missing or damaged, the newest found among offsets "
                "%d to %d; readers are told",
                stream,
                condition.untold,
                first,
                last,
            )
            condition.untold, condition.told_at = 0, now
