"""Serves those who are behind their streams: no task per reader, a bounded number of reads in flight.

Readers that can go on stand in one queue and are served in turn, each a slice at a time, so that live
traffic and the other readers aren't kept waiting. A reader whose connection takes no more leaves the queue
until it is direct again. One that needs a page of the store shares the read with all that need the same page.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.core.catchup.readers import HistoryReader
from gateway.core.messages.events import CaughtUp
from gateway.core.session.close_codes import CloseCode
from gateway.core.timing.backoff import Backoff
from gateway.engine.following.page_fetches import PageFetches

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.catchup.readers import Reader, Step
    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.following.page_fetches import Fetch, Key
    from gateway.engine.runtime.background import Background
    from gateway.streams.base import Readable

_TURN_SECONDS = 0.002
_SLICE_BYTES = 64 * 1024
_KEPT_PAGES = 16
_AHEAD = Backoff(first_seconds=0.05, limit_seconds=1.0)


@dataclass(frozen=True, slots=True)
class CatchUpStatistics:
    """Counts since the start, and sizes now.

    Attributes:
        ready: readers that could go on at once.
        reading: reads of the store in flight or wanted.
        caught_up: subscriptions that have had their history.
        pages: read from the store.
        failed: reads that failed, and were tried again.
    """

    ready: int
    reading: int
    caught_up: int
    pages: int
    failed: int


class CatchingUp:
    """All readers of this node."""

    def __init__(
        self,
        store: Readable,
        hub: Hub,
        delivery: DeliveryService,
        background: Background,
        *,
        reads: int = 16,
        note_bounds: Callable[[FollowedStream, Bounds], None],
    ) -> None:
        """Read from ``store``.

        Args:
            store: has the pages.
            hub: readers join it.
            delivery: writes what they give, and says when a connection is direct again.
            background: the parent of the reads' tasks.
            reads: reads in flight at most, and pages held for readers at most.
            note_bounds: told of the bounds that were read.
        """
        self._hub = hub
        self._delivery = delivery
        self._background = background
        self._note_bounds = note_bounds
        self._ready: deque[Reader] = deque()
        self._scheduled = False
        self._fetches = PageFetches(store, background, reads=reads, came=self._came)
        self._pages: OrderedDict[Key, Page] = OrderedDict()
        self._caught_up = 0
        delivery.resumed = self.wake

    def begin(self, reader: Reader) -> None:
        """``reader`` can go on: it is served in its turn."""
        self._ready.append(reader)
        self._schedule()

    def wake(self, outbox: Outbox) -> None:
        """``outbox`` is direct again: its parked readers go on."""
        parked, outbox.parked = outbox.parked, None
        for reader in parked or ():
            self.begin(reader)

    def statistics(self) -> CatchUpStatistics:
        """A snapshot for metrics, health and tests."""
        fetches = self._fetches
        return CatchUpStatistics(
            len(self._ready), len(fetches), self._caught_up, fetches.read, fetches.failed
        )

    # Turns

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        end = perf_counter() + _TURN_SECONDS
        while self._ready:
            reader = self._ready.popleft()
            try:
                self._serve(reader)
            except Exception as error:  # noqa: BLE001 - it must not keep the others from their turn
                self._fail(reader, error)
            if perf_counter() >= end:
                break
        if self._ready:
            self._schedule()

    def _serve(self, reader: Reader) -> None:
        fetch = self._fetches.taken(reader)
        if not reader.ended and not reader.outbox.direct:
            reader.park()
        elif not reader.ended and fetch is not None and fetch.page is not None:
            self._take(reader, fetch.key[0], fetch.page)
        elif not reader.ended:
            self._step(reader)
        if fetch is not None and self._fetches.leave(reader, fetch):
            self._keep(fetch)

    def _fail(self, reader: Reader, error: Exception) -> None:
        """Send a client away that nobody would serve any more: it can resume, and is not kept waiting."""
        self._background.supervision.failed("catch_up", error)
        reader.outbox.sink.close(CloseCode.INTERNAL, CloseCode.INTERNAL.reason)

    def _take(self, reader: Reader, path: FollowedStream, page: Page) -> None:
        frames = reader.take(path, page, _SLICE_BYTES)
        if frames is None:
            self._later(reader)
            return
        reader.delays = 0
        self._delivery.write_now(reader.outbox, frames)
        self._ready.append(reader)

    def _step(self, reader: Reader) -> None:
        step = reader.step(_SLICE_BYTES)
        outbox = reader.outbox
        if step.frames:
            self._delivery.write_now(outbox, step.frames)
        if reader.ended or (step.level and self._join(reader, step)):
            return
        if step.frames:
            reader.delays = 0
            self._ready.append(reader)
        elif step.needed is not None:
            self._need(reader, *step.needed)
        elif outbox.spill is not None and outbox.spill is not reader:
            # The connection's own arrears come first; whoever ends them wakes the others.
            reader.park()
        else:
            self._later(reader)

    def _join(self, reader: Reader, step: Step) -> bool:
        """Have what is level join the live path; return whether the reader is done."""
        if isinstance(reader, HistoryReader):
            if not reader.may_join(step):
                return False
            self._hub.join(reader.outbox, reader.subscription)
            self._delivery.send(reader.outbox, CaughtUp(reader.subscription.filter))
            self._caught_up += 1
            return True
        for path in step.level:
            self._hub.rejoin(reader.outbox, path)
        if reader.ended and reader.outbox.direct:
            self.wake(reader.outbox)
        return reader.ended

    def _later(self, reader: Reader) -> None:
        """The reader is ahead of the tail, or they differ in epoch: the tail will move."""
        reader.delays += 1
        asyncio.get_running_loop().call_later(_AHEAD.ceiling(reader.delays), self.begin, reader)

    # Pages

    def _need(self, reader: Reader, path: FollowedStream, after: int) -> None:
        key = (path, reader.positions[path].epoch, after)
        page = self._kept(key)
        if page is not None:
            self._take(reader, path, page)
            return
        if self._fetches.ask(reader, key):
            self.begin(reader)

    def _kept(self, key: Key) -> Page | None:
        path, epoch, after = key
        if epoch != path.tail.epoch:
            return None
        for (kept_path, kept_epoch, begin), page in self._pages.items():
            if kept_path is path and kept_epoch == epoch and begin <= after < page.last:
                return page
        return None

    def _came(self, fetch: Fetch, page: Page) -> None:
        self._note_bounds(fetch.key[0], page.bounds)
        for reader in list(fetch.readers):
            self.begin(reader)

    def _keep(self, fetch: Fetch) -> None:
        """Keep a page that all who waited for it have had: others may come to it."""
        path, page = fetch.key[0], fetch.page
        if page is not None and page.last:
            self._pages[path, page.bounds.epoch, page.first - 1] = page
        while len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)
