"""The use case of reading a stream without a subscription: one page, or waiting a while for one.

A page is bounded in what it holds and in what is looked at for it: a filter that matches little returns
early, with the place to go on from. Nothing is kept between two calls; the reader has the position.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from gateway.core.messages.commands import Start, StartKind
from gateway.core.streams.pages import TRIMMED, Hole
from gateway.core.topics.grammar import matches
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import NotFound, TooMany

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import StreamMap
    from gateway.streams.base import Readable

PAGE_BYTES: Final = 1024 * 1024
SCANNED: Final = 10_000
"""How many publications are looked at for one page."""
MOST_WAITING: Final = 5_000
"""How many readers of a node may wait for something new at once."""

_PER_READ: Final = 1_000
_EARLIEST: Final = Start(StartKind.EARLIEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is to be read.

    Attributes:
        stream: a configured stream.
        filter: which of its topics; a parsed filter.
        start: where to begin.
        epoch: with an offset to start from: the epoch in which the reader got it.
        limit: how many publications at most.
        wait: seconds to wait where there is nothing yet.
        reader: who waits, a subject or an address: nobody may take all places.
    """

    stream: str
    filter: str
    start: Start = _EARLIEST
    epoch: str | None = None
    limit: int = 100
    wait: float = 0.0
    reader: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """What can't be had any more.

    Attributes:
        reason: ``epoch``: the log is another one; otherwise offsets ``first`` to ``last`` have gone, and
            why, as a hole of the log says it.
    """

    reason: str
    first: int | None = None
    last: int | None = None


@dataclass(slots=True)
class Reading:
    """What was read.

    Attributes:
        bounds: of the log, as the last look at it found them.
        publications: those that match, in stream order.
        next: the offset to go on from.
        missed: what is missing before the first publication, if anything is.
    """

    bounds: Bounds
    next: int
    missed: Missed | None = None
    publications: list[Publication] = field(default_factory=list)


class StreamReader:
    """Reads streams for all doors that have no subscription."""

    def __init__(
        self,
        store: Readable | None,
        streams: StreamMap,
        *,
        most_waiting: int = MOST_WAITING,
        refusals: Refusals | None = None,
    ) -> None:
        """Read from ``store``; None where no stream is configured."""
        self._refusals = refusals or Refusals()
        self._readers: Counter[str] = Counter()
        self._store = store
        self._streams = streams
        self._most_waiting = most_waiting
        self._patient = 0
        self._waits: set[anyio.CancelScope] = set()
        self._ending = False

    async def read(self, query: Query) -> Reading:
        """Read what ``query`` asks for.

        Raises:
            NotFound: there is no such stream.
            TooMany: as many readers wait as may, or this one has more places than it leaves to others.
            StreamUnavailable: the store can't be reached.
        """
        if query.stream not in self._streams or self._store is None:
            raise NotFound(f"no stream {query.stream[:64]!r} is configured")
        scan = _Scan(query, self._store, self)
        if query.wait <= 0:
            return await scan.run()
        # From here on, not only while there is nothing: a store that is far away would let any number pass.
        self._take_place(query.reader)
        try:
            return await scan.run()
        finally:
            self._patient -= 1
            self._readers[query.reader] -= 1
            if not self._readers[query.reader]:
                del self._readers[query.reader]

    def _take_place(self, reader: str) -> None:
        free = self._most_waiting - self._patient
        # As many as are left free: one alone gets half of all, two get a third each, and whoever has none yet
        # finds a place until all are taken.
        if self._readers[reader] >= free:
            if not self._readers[reader]:
                del self._readers[reader]
            self._refusals.count("long_polls")
            raise TooMany(
                f"{self._most_waiting} readers wait for streams already"
                if free <= 0
                else "nobody may have more readers waiting than there is room left for others"
            )
        self._patient += 1
        self._readers[reader] += 1

    def end(self) -> None:
        """Let readers wait no longer: the node is about to end."""
        self._ending = True
        for scope in self._waits:
            scope.cancel()

    async def read_or_wait(
        self, store: Readable, stream: str, after: int, *, messages: int, wait: float
    ) -> Page | None:
        """One page behind ``after``; None where the node ended before there was one."""
        if wait <= 0 or self._ending:
            return await store.read(stream, after, messages=messages, size=PAGE_BYTES)
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                return await store.read(stream, after, messages=messages, size=PAGE_BYTES, wait=wait)
            finally:
                self._waits.discard(scope)
        return None

    @property
    def waiting(self) -> int:
        """How many wait for something new."""
        return len(self._waits)

    @property
    def ending(self) -> bool:
        """Whether nobody may wait any more."""
        return self._ending


class _Scan:
    """One query's way through a log."""

    def __init__(self, query: Query, store: Readable, reader: StreamReader) -> None:
        self._query = query
        self._store = store
        self._reader = reader
        self._after = 0
        self._left = SCANNED
        self._size = 0
        self._topics: dict[str, bool] = {}

    async def run(self) -> Reading:
        query = self._query
        deadline = asyncio.get_running_loop().time() + query.wait
        bounds = await self._store.bounds(query.stream)
        missed = await self._begin(bounds)
        reading = Reading(bounds, self._after + 1, missed)
        while self._left > 0:
            wait = 0.0 if reading.publications else deadline - asyncio.get_running_loop().time()
            page = await self._reader.read_or_wait(
                self._store, query.stream, self._after, messages=min(_PER_READ, self._left), wait=wait
            )
            if page is None or not self._fits(reading, page):
                break
            told = self._take(reading, page)
            level = self._after >= page.bounds.last
            if told or self._full(reading):
                break
            found = reading.publications or reading.missed
            if level and (found or wait <= 0 or self._reader.ending):
                break
            await anyio.lowlevel.checkpoint()
        return reading

    async def _begin(self, bounds: Bounds) -> Missed | None:
        """Set where to begin; return what is missing there."""
        query, start = self._query, self._query.start
        oldest = bounds.first - 1
        if start.kind is StartKind.OFFSET:
            wanted = start.value - 1
            if query.epoch is not None and (query.epoch != bounds.epoch or wanted > bounds.last):
                self._after = oldest
                return Missed("epoch")
            self._after = min(max(oldest, wanted), bounds.last)
            return Missed(TRIMMED, start.value, oldest) if wanted < oldest else None
        if start.kind is StartKind.NEW:
            self._after = bounds.last
        elif start.kind is StartKind.LAST:
            self._after = max(oldest, bounds.last - start.value)
        elif start.kind is StartKind.TIME:
            self._after = max(oldest, await self._store.before(query.stream, start.value))
        else:
            self._after = oldest
        return None

    def _fits(self, reading: Reading, page: Page) -> bool:
        """Whether ``page`` goes on where the reading is; what is lost is told if nothing stands before it."""
        bounds = page.bounds
        changed = bounds.epoch != reading.bounds.epoch
        if not changed and bounds.first <= self._after + 1:
            return bounds.last >= self._after
        if reading.publications or reading.missed is not None:
            # Told to whoever goes on from here.
            return False
        if changed:
            reading.missed = Missed("epoch")
        elif self._left < SCANNED or self._query.start.kind in {StartKind.OFFSET, StartKind.NEW}:
            # The others asked for what there is, not for a place.
            reading.missed = Missed(TRIMMED, self._after + 1, bounds.first - 1)
        reading.bounds = bounds
        self._after = bounds.first - 1
        reading.next = bounds.first
        return True

    def _take(self, reading: Reading, page: Page) -> bool:
        """Take over what follows; whether the answer ends here, since more is missing than it can tell."""
        reading.bounds = page.bounds
        ends = False
        # Empty where the page was read before the log changed: read again from where it begins now.
        while not ends and (following := page.behind(self._after, page.bounds.last)):
            if isinstance(following, Hole):
                ends = not self._pass(reading, following)
            else:
                ends = self._take_publications(reading, following)
        reading.next = self._after + 1
        return ends

    def _take_publications(self, reading: Reading, publications: Sequence[Publication]) -> bool:
        for publication in publications:
            self._after += 1
            self._left -= 1
            if self._matches(publication.topic):
                reading.publications.append(publication)
                body = publication.data if publication.data is not None else publication.binary
                self._size += len(body or b"") + len(publication.topic)
            if self._full(reading):
                return True
        return False

    def _pass(self, reading: Reading, hole: Hole) -> bool:
        """Go behind ``hole``; not where it is told to whoever goes on from here: an answer tells one."""
        if reading.publications or reading.missed is not None:
            return False
        reading.missed = Missed(hole.reason, hole.first, hole.last)
        self._after = hole.last
        self._left -= 1
        return True

    def _full(self, reading: Reading) -> bool:
        return self._left <= 0 or len(reading.publications) >= self._query.limit or self._size >= PAGE_BYTES

    def _matches(self, topic: str) -> bool:
        found = self._topics.get(topic)
        if found is None:
            found = self._topics[topic] = matches(self._query.filter, topic)
        return found
