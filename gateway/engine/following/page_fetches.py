"""Pages of the store that readers wait for: shared, a bounded number of reads at once, none tried for ever.

A read that fails gives its place back. Its stream is then asked one question at a time, later and later,
until one is answered: a stream that can't be read costs the others nothing, however many wait for it. What
nobody waits for any more is not asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gateway.core.timing.backoff import Backoff
from gateway.errors import StreamUnavailable
from gateway.supervision import is_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.fanout.parked import CatchUp
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import FollowedStream
    from gateway.streams.base import Readable
    from gateway.supervision import Background

_PAGE = 512
_PAGE_BYTES = 256 * 1024
_AFTER_FAILURE = Backoff(first_seconds=0.1, limit_seconds=2.0)

Key = tuple["FollowedStream", str, int]
"""A stream, an epoch, and the offset before the page."""


class Fetch:
    """A read of the store, and who needs it; ``page`` is there once it has come."""

    __slots__ = ("key", "page", "readers")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.page: Page | None = None
        self.readers: set[CatchUp] = set()


class _Failing:
    """A stream whose last read failed: what waits to be read of it, and how often in a row it failed."""

    __slots__ = ("failures", "waiting")

    def __init__(self) -> None:
        self.failures = 0
        self.waiting: deque[Fetch] = deque()


class PageFetches:
    """The reads of the store under way or wanted.

    Attributes:
        awaited: by reader, the page that it waits for; changed here alone.
        read: pages that came.
        failed: reads that failed.
    """

    def __init__(
        self, store: Readable, background: Background, *, reads: int, came: Callable[[Fetch, Page], None]
    ) -> None:
        """Read from ``store``, ``reads`` pages at once at most; ``came`` is told of each."""
        self._store = store
        self._background = background
        self._reads = reads
        self._came = came
        self._fetches: dict[Key, Fetch] = {}
        self._wanted: deque[Fetch] = deque()
        self._failing: dict[FollowedStream, _Failing] = {}
        self.awaited: dict[CatchUp, Fetch] = {}
        self._running = 0
        self.read = self.failed = 0

    def __len__(self) -> int:
        return len(self._fetches)

    def ask(self, reader: CatchUp, key: Key) -> bool:
        """Have the page behind ``key`` read for ``reader``; whether it is there already."""
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = Fetch(key)
            self._wanted.append(fetch)
        self.awaited[reader] = fetch
        fetch.readers.add(reader)
        self._start()
        return fetch.page is not None

    def taken(self, reader: CatchUp) -> Fetch | None:
        """What ``reader`` waited for, which it waits for no longer; ``leave`` must follow."""
        return self.awaited.pop(reader, None)

    def leave(self, reader: CatchUp, fetch: Fetch) -> bool:
        """``reader`` has had its page; whether it was the last one, which makes room for another read."""
        fetch.readers.discard(reader)
        if fetch.readers or fetch.page is None:
            return False
        del self._fetches[fetch.key]
        self._running -= 1
        self._start()
        return True

    def _start(self) -> None:
        while self._wanted and self._running < self._reads:
            fetch = self._wanted.popleft()
            failing = self._failing.get(fetch.key[0])
            if failing is None:
                self._begin(fetch)
            else:
                failing.waiting.append(fetch)

    def _begin(self, fetch: Fetch) -> None:
        self._running += 1
        self._background.start(self._fetch, fetch)

    async def _fetch(self, fetch: Fetch) -> None:
        stream, _, after = fetch.key
        try:
            page = await self._store.read(stream.name, after, messages=_PAGE, size=_PAGE_BYTES)
        except StreamUnavailable:
            self._put_off(fetch)
            return
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            self._background.supervision.failed("catch_up", error)
            self._put_off(fetch)
            return
        if (failing := self._failing.pop(stream, None)) is not None:
            self._wanted.extend(failing.waiting)
        self.read += 1
        fetch.page = page
        self._came(fetch, page)
        self._start()

    def _put_off(self, fetch: Fetch) -> None:
        self.failed += 1
        self._running -= 1
        stream = fetch.key[0]
        failing = self._failing.get(stream)
        if failing is None:
            failing = self._failing[stream] = _Failing()
            self._later(stream, failing)
        failing.waiting.append(fetch)
        self._start()

    def _later(self, stream: FollowedStream, failing: _Failing) -> None:
        failing.failures += 1
        wait = _AFTER_FAILURE.wait(failing.failures)
        asyncio.get_running_loop().call_later(wait, self._try_again, stream, failing)

    def _try_again(self, stream: FollowedStream, failing: _Failing) -> None:
        if self._failing.get(stream) is not failing:
            return
        while failing.waiting:
            fetch = failing.waiting.popleft()
            if self._forget_ended(fetch):
                # At once, whether there is a place or not, so that nothing keeps it from its turn.
                self._background.start(self._probe, fetch, failing)
                return
        del self._failing[stream]

    async def _probe(self, fetch: Fetch, failing: _Failing) -> None:
        self._running += 1
        await self._fetch(fetch)
        stream = fetch.key[0]
        if self._failing.get(stream) is failing:
            self._later(stream, failing)

    def _forget_ended(self, fetch: Fetch) -> bool:
        """Let go of readers whose client has gone; whether anybody still waits."""
        for reader in [each for each in fetch.readers if each.reader.ended]:
            fetch.readers.discard(reader)
            self.awaited.pop(reader, None)
        if not fetch.readers:
            del self._fetches[fetch.key]
        return bool(fetch.readers)
