"""Pages of the store that readers wait for: shared, a bounded number of reads at once, none tried for ever.

A read that fails gives its place back. Its stream is then asked one question at a time, later and later,
until one is answered: a stream that can't be read costs the others nothing, however many wait for it. What
nobody waits for any more is not asked.

Where the store can't tell in the way that was asked for, the answer is no page: the reader knows another way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gateway.core.catchup.page_choice import Matching, NewestByTopic, SnapshotSource
from gateway.core.streams.pages import SelectedPage
from gateway.core.timing.backoff import Backoff
from gateway.errors import StreamUnavailable, TooMany
from gateway.supervision import is_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.catchup.page_choice import PageRequest
    from gateway.core.fanout.parked import CatchUp
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import FollowedStream
    from gateway.streams.base import Readable
    from gateway.supervision import Background

_PAGE = 512
_PAGE_BYTES = 256 * 1024
_AFTER_FAILURE = Backoff(first_seconds=0.1, limit_seconds=2.0)


class Fetch:
    """A read of the store, and who needs it; ``page`` is there once it is ``answered``, if there is one.

    It is ``doubted`` where something was removed from the log since it began: nobody may be given its page.
    """

    __slots__ = ("answered", "doubted", "page", "readers", "request")

    def __init__(self, request: PageRequest) -> None:
        self.request = request
        self.answered = self.doubted = False
        self.page: Page | SelectedPage | None = None
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
        selected: those of them that the store's index found.
        failed: reads that failed.
    """

    def __init__(
        self, store: Readable, background: Background, *, reads: int, came: Callable[[Fetch], None]
    ) -> None:
        """Read from ``store``, ``reads`` pages at once at most; ``came`` is told of each answer."""
        self._store = store
        self._background = background
        self._reads = reads
        self._came = came
        self._fetches: dict[PageRequest, Fetch] = {}
        self._wanted: deque[Fetch] = deque()
        self._failing: dict[FollowedStream, _Failing] = {}
        self.awaited: dict[CatchUp, Fetch] = {}
        self._running = 0
        self.read = self.selected = self.failed = 0

    def __len__(self) -> int:
        return len(self._fetches)

    def ask(self, reader: CatchUp, request: PageRequest) -> bool:
        """Have a page read for ``reader``; whether it is there already."""
        fetch = self._fetches.get(request)
        if fetch is None or fetch.doubted:
            fetch = self._fetches[request] = Fetch(request)
            self._wanted.append(fetch)
        self.awaited[reader] = fetch
        fetch.readers.add(reader)
        self._start()
        return fetch.answered

    def taken(self, reader: CatchUp) -> Fetch | None:
        """What ``reader`` waited for, which it waits for no longer; ``leave`` must follow."""
        return self.awaited.pop(reader, None)

    def leave(self, reader: CatchUp, fetch: Fetch) -> bool:
        """``reader`` has had its page; whether it was the last one, which makes room for another read."""
        fetch.readers.discard(reader)
        if fetch.readers or not fetch.answered:
            return False
        self._remove(fetch)
        self._running -= 1
        self._start()
        return True

    def doubt(self, stream: FollowedStream) -> None:
        """Something was removed from ``stream``: what has been read of it, or is being, is read anew."""
        for fetch in self._fetches.values():
            fetch.doubted = fetch.doubted or fetch.request.stream is stream

    def _remove(self, fetch: Fetch) -> None:
        if self._fetches.get(fetch.request) is fetch:
            del self._fetches[fetch.request]

    def _start(self) -> None:
        while self._wanted and self._running < self._reads:
            fetch = self._wanted.popleft()
            failing = self._failing.get(fetch.request.stream)
            if failing is None:
                self._begin(fetch)
            else:
                failing.waiting.append(fetch)

    def _begin(self, fetch: Fetch) -> None:
        self._running += 1
        self._background.start(self._fetch, fetch)

    async def _fetch(self, fetch: Fetch) -> None:
        stream = fetch.request.stream
        try:
            page = await self._read(fetch.request)
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
        self.selected += isinstance(page, SelectedPage)
        fetch.page, fetch.answered = page, True
        self._came(fetch)
        self._start()

    async def _read(self, request: PageRequest) -> Page | SelectedPage | None:
        store, name, after, source = self._store, request.stream.name, request.after, request.source
        match source:
            case None:
                return await store.read(name, after, messages=_PAGE, size=_PAGE_BYTES)
            case Matching(filters):
                return await store.select(name, filters, after, messages=_PAGE, size=_PAGE_BYTES)
            case SnapshotSource(topic_filter, through):
                return await store.snapshot(
                    name, topic_filter, after, through, messages=_PAGE, size=_PAGE_BYTES
                )
            case NewestByTopic(topic_filter, count, through):
                try:
                    return await store.newest_by_topic(
                        name, topic_filter, count, after, through, messages=_PAGE, size=_PAGE_BYTES
                    )
                except TooMany:
                    # There were few enough as the subscription began.
                    return None

    def _put_off(self, fetch: Fetch) -> None:
        self.failed += 1
        self._running -= 1
        stream = fetch.request.stream
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
        stream = fetch.request.stream
        if self._failing.get(stream) is failing:
            self._later(stream, failing)

    def _forget_ended(self, fetch: Fetch) -> bool:
        """Let go of readers whose client has gone; whether anybody still waits."""
        for reader in [each for each in fetch.readers if each.reader.ended]:
            fetch.readers.discard(reader)
            self.awaited.pop(reader, None)
        if not fetch.readers:
            self._remove(fetch)
        return bool(fetch.readers)
