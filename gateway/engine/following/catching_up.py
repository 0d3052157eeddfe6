"""Serves those who are behind their streams: no task per reader, a bounded number of reads in flight.

Readers that can go on stand in one queue and are served in turn, each a slice at a time, so that live
traffic and the other readers aren't kept waiting. A reader whose connection takes no more leaves the queue
until it is direct again. One that needs a page of the store shares the read with all that need the same page.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.core.catchup.readers import HistoryReader
from gateway.core.messages.events import CaughtUp
from gateway.core.session.close_codes import CloseCode
from gateway.core.streams.pages import Page
from gateway.core.timing.backoff import Backoff
from gateway.engine.following.page_fetches import PageFetches

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.catchup.page_choice import PageRequest
    from gateway.core.catchup.readers import Step
    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.parked import CatchUp
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import SelectedPage
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.following.page_fetches import Fetch
    from gateway.streams.base import Readable
    from gateway.supervision import Background

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
        selected: those of them that the index of topics found.
        failed: reads that failed, and were tried again.
    """

    ready: int
    reading: int
    caught_up: int
    pages: int
    selected: int
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
            delivery: writes what they give; its ``resumed`` calls ``wake``.
            background: the parent of the reads' tasks.
            reads: reads in flight at most, and pages held for readers at most.
            note_bounds: told of the bounds that were read.
        """
        self._hub = hub
        self._delivery = delivery
        self._background = background
        self._note_bounds = note_bounds
        self._ready: deque[CatchUp] = deque()
        self._scheduled = False
        self._fetches = PageFetches(store, background, reads=reads, came=self._came)
        # Apart, so that the many selected pages, each for few, leave the shared ones alone.
        self._pages: OrderedDict[PageRequest, Page] = OrderedDict()
        self._selected: OrderedDict[PageRequest, SelectedPage] = OrderedDict()
        self._caught_up = 0

    def begin(self, catch_up: CatchUp) -> None:
        """A reader can go on: it is served in its turn."""
        self._ready.append(catch_up)
        self._schedule()

    def wake(self, outbox: Outbox) -> None:
        """``outbox`` is direct again: its parked readers go on."""
        for catch_up in self._hub.take_parked(outbox):
            self.begin(catch_up)

    def forget(self, stream: FollowedStream) -> None:
        """Keep no page of ``stream``, nor those that are being read: what they hold may be gone."""
        for pages in (self._pages, self._selected):
            for request in [each for each in pages if each.stream is stream]:
                del pages[request]
        self._fetches.doubt(stream)

    def statistics(self) -> CatchUpStatistics:
        """A snapshot for metrics, health and tests."""
        fetches = self._fetches
        return CatchUpStatistics(
            len(self._ready), len(fetches), self._caught_up, fetches.read, fetches.selected, fetches.failed
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
            catch_up = self._ready.popleft()
            try:
                self._serve(catch_up)
            except Exception as error:  # noqa: BLE001 - it must not keep the others from their turn
                self._fail(catch_up, error)
            if perf_counter() >= end:
                break
        if self._ready:
            self._schedule()

    def _serve(self, catch_up: CatchUp) -> None:
        outbox, reader = catch_up
        # Whom the window serves waits for no page.
        fetch = self._fetches.taken(catch_up) if catch_up in self._fetches.awaited else None
        if not reader.ended and not outbox.direct:
            self._hub.park(outbox, reader)
        elif not reader.ended and fetch is not None and fetch.doubted:
            self.begin(catch_up)
        elif not reader.ended and fetch is not None and fetch.answered:
            self._take(catch_up, fetch.request, fetch.page)
        elif not reader.ended:
            self._step(catch_up)
        if fetch is not None and self._fetches.leave(catch_up, fetch):
            self._keep(fetch)

    def _fail(self, catch_up: CatchUp, error: Exception) -> None:
        """Send a client away that nobody would serve any more: it can resume, and is not kept waiting."""
        self._background.supervision.failed("catch_up", error)
        catch_up.outbox.sink.close(CloseCode.INTERNAL, CloseCode.INTERNAL.reason)

    def _take(self, catch_up: CatchUp, request: PageRequest, page: Page | SelectedPage | None) -> None:
        outbox, reader = catch_up
        frames = reader.take(request, page, _SLICE_BYTES)
        if frames is None:
            self._later(catch_up)
            return
        reader.delays = 0
        self._delivery.write_now(outbox, frames)
        self._ready.append(catch_up)

    def _step(self, catch_up: CatchUp) -> None:
        outbox, reader = catch_up
        step = reader.step(_SLICE_BYTES)
        if step.frames:
            self._delivery.write_now(outbox, step.frames)
        # A write may end the connection, and its subscriptions are no longer under their filters then.
        if reader.ended or outbox.closed or (step.level and self._join(catch_up, step)):
            return
        if step.frames:
            reader.delays = 0
            self._ready.append(catch_up)
        elif step.needed is not None:
            self._need(catch_up, step.needed)
        elif self._hub.spill_reader(outbox) not in {None, reader}:
            # The connection's own arrears come first; whoever ends them wakes the others.
            self._hub.park(outbox, reader)
        else:
            self._later(catch_up)

    def _join(self, catch_up: CatchUp, step: Step) -> bool:
        """Have what is level join the live path; return whether the reader is done."""
        outbox, reader = catch_up
        if isinstance(reader, HistoryReader):
            if not self._hub.may_join(outbox, reader, step):
                return False
            self._hub.join(outbox, outbox.subscriptions[reader.filter])
            self._delivery.send(outbox, CaughtUp(reader.filter))
            self._caught_up += 1
            return True
        for stream in step.level:
            self._hub.rejoin(outbox, stream)
        if reader.ended and outbox.direct:
            self.wake(outbox)
        return reader.ended

    def _later(self, catch_up: CatchUp) -> None:
        """The reader is ahead of the tail, or they differ in epoch: the tail will move."""
        catch_up.reader.delays += 1
        wait = _AHEAD.ceiling(catch_up.reader.delays)
        asyncio.get_running_loop().call_later(wait, self.begin, catch_up)

    # Pages

    def _need(self, catch_up: CatchUp, request: PageRequest) -> None:
        page = self._kept(request)
        if page is not None:
            self._take(catch_up, request, page)
            return
        if self._fetches.ask(catch_up, request):
            self.begin(catch_up)

    def _kept(self, request: PageRequest) -> Page | SelectedPage | None:
        if request.epoch != request.stream.tail.epoch:
            return None
        if request.source is None:
            for kept, page in self._pages.items():
                if _is_same_log(kept, request) and kept.after <= request.after < page.last:
                    return page
            return None
        for kept, selected in self._selected.items():
            same = _is_same_log(kept, request) and kept.source == request.source
            if same and kept.after <= request.after < selected.through:
                return selected
        return None

    def _came(self, fetch: Fetch) -> None:
        if fetch.page is not None:
            self._note_bounds(fetch.request.stream, fetch.page.bounds)
        for catch_up in list(fetch.readers):
            self.begin(catch_up)

    def _keep(self, fetch: Fetch) -> None:
        """Keep a page that all who waited for it have had: others may come to it."""
        request, page = fetch.request, fetch.page
        if fetch.doubted:
            return
        if isinstance(page, Page):
            if page.last:
                self._pages[replace(request, epoch=page.bounds.epoch, after=page.first - 1)] = page
        elif page is not None and page.bounds.epoch == request.epoch and page.publications:
            self._selected[request] = page
        for pages in (self._pages, self._selected):
            while len(pages) > _KEPT_PAGES:
                pages.popitem(last=False)


def _is_same_log(one: PageRequest, other: PageRequest) -> bool:
    return one.stream is other.stream and one.epoch == other.epoch
