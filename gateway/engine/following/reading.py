"""The use case of reading a stream without a subscription: one page, or waiting a while for one.

A page is bounded in what it holds. What it costs is what a filter matches, by the store's index of topics;
where that can't tell, a bounded number of publications is looked at, and the answer has the place to go on
from. Nothing is kept between two calls; the reader has the position.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from gateway.core.catchup.page_choice import Matching, PageChoice
from gateway.core.messages.commands import Start, StartKind
from gateway.core.streams.pages import TRIMMED, Hole, SelectedPage
from gateway.core.topics.grammar import matches
from gateway.engine.following.newest import before_newest
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import NotFound, TooMany

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds, StreamConfiguration
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import StreamMap
    from gateway.streams.base import Readable, TopicPage

PAGE_BYTES: Final = 1024 * 1024
SCANNED: Final = 10_000
"""How many publications are looked at for one page, where all are read to find what matches."""
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
            TooMany: as many readers wait as may, or this one has more places than it leaves to others; or
                the newest of each topic are asked for, and the filter matches too many topics.
            StreamUnavailable: the store can't be reached.
        """
        scan = _Scan(query, *self._known(query.stream))
        if query.wait <= 0:
            return await scan.run(self)
        # From here on, not only while there is nothing: a store that is far away would let any number pass.
        with self.waiting_place(query.reader):
            return await scan.run(self)

    @contextmanager
    def waiting_place(self, reader: str) -> Iterator[None]:
        """Let one more wait, of the readers of streams and whoever else waits for them.

        Raises:
            TooMany: as many wait as may, or this one has more places than it leaves to others.
        """
        self._take_place(reader)
        try:
            yield
        finally:
            self._patient -= 1
            self._readers[reader] -= 1
            if not self._readers[reader]:
                del self._readers[reader]

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        """The topics of which a stream holds something, behind topic ``after``.

        Raises:
            NotFound: there is no such stream.
            StreamUnavailable: the store can't be reached, or can't tell yet.
        """
        _, store = self._known(stream)
        return await store.topics(stream, topic_filter, after=after, limit=limit)

    def _known(self, stream: str) -> tuple[StreamConfiguration, Readable]:
        if stream not in self._streams or self._store is None:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        return self._streams[stream], self._store

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

    def __init__(self, query: Query, configuration: StreamConfiguration, store: Readable) -> None:
        self._query = query
        self._configuration = configuration
        self._store = store
        self._choice = PageChoice()
        self._after = 0
        self._left = SCANNED
        self._begun = False
        self._size = 0
        self._topics: dict[str, bool] = {}

    async def run(self, reader: StreamReader) -> Reading:
        """Read; where there is nothing yet, wait as ``reader`` lets it."""
        deadline = asyncio.get_running_loop().time() + self._query.wait
        reading = await self._begin()
        if reading.publications:
            return reading
        level = self._after >= reading.bounds.last
        while not self._full(reading):
            wait = 0.0 if reading.publications else deadline - asyncio.get_running_loop().time()
            page = await self._next_page(reader, reading, level=level, wait=wait)
            if page is None or not self._fits(reading, page):
                break
            told = self._take(reading, page)
            level = self._after >= page.bounds.last
            found = reading.publications or reading.missed
            if told or (level and (found or wait <= 0 or reader.ending)):
                break
            await anyio.lowlevel.checkpoint()
        return reading

    async def _next_page(
        self, reader: StreamReader, reading: Reading, *, level: bool, wait: float
    ) -> Page | SelectedPage | None:
        stream, limit = self._query.stream, self._query.limit - len(reading.publications)
        source = None if level else self._choice.source(self._configuration, (self._query.filter,))
        if source is not None:
            selected = await self._store.select(
                stream, source.filters, self._after, messages=limit, size=PAGE_BYTES
            )
            if selected is not None:
                return selected
            self._choice.refuse(self._configuration)
        return await reader.read_or_wait(
            self._store, stream, self._after, messages=min(_PER_READ, self._left), wait=wait
        )

    async def _begin(self) -> Reading:
        """Set where to begin, and say what is missing there."""
        query, start = self._query, self._query.start
        if start.kind is StartKind.LAST_PER_TOPIC:
            return await self._newest_by_topic()
        bounds = await self._store.bounds(query.stream)
        oldest, missed = bounds.first - 1, None
        match start.kind:
            case StartKind.OFFSET:
                wanted = start.value - 1
                if query.epoch is not None and (query.epoch != bounds.epoch or wanted > bounds.last):
                    wanted, missed = oldest, Missed("epoch")
                elif wanted < oldest:
                    missed = Missed(TRIMMED, start.value, oldest)
                self._after = min(max(oldest, wanted), bounds.last)
            case StartKind.NEW:
                self._after = bounds.last
            case StartKind.LAST:
                self._after = await before_newest(
                    self._store, query.stream, query.filter, start.value, bounds
                )
            case StartKind.TIME:
                self._after = max(oldest, await self._store.before(query.stream, start.value))
            case _:
                self._after = oldest
        return Reading(bounds, self._after + 1, missed)

    async def _newest_by_topic(self) -> Reading:
        """Take what there is of each topic; what doesn't fit in is behind the place to go on from."""
        query = self._query
        page = await self._store.newest_by_topic(
            query.stream, query.filter, query.start.value, 0, None, messages=query.limit, size=PAGE_BYTES
        )
        reading = Reading(page.bounds, 1)
        self._take(reading, page)
        return reading

    def _fits(self, reading: Reading, page: Page | SelectedPage) -> bool:
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
        elif self._begun or self._query.start.kind in {StartKind.OFFSET, StartKind.NEW}:
            # The others asked for what there is, not for a place.
            reading.missed = Missed(TRIMMED, self._after + 1, bounds.first - 1)
        self._after = bounds.first - 1
        reading.next = bounds.first
        return True

    def _take(self, reading: Reading, page: Page | SelectedPage) -> bool:
        """Take over what follows; whether the answer ends here, since more is missing than it can tell."""
        changed = page.bounds.epoch != reading.bounds.epoch
        reading.bounds = page.bounds
        begin, had, source = self._after, len(reading.publications), None
        if not isinstance(page, SelectedPage):
            ends = self._take_shared(reading, page)
        elif changed:
            # Selected behind a place of the log before: read again from where this one begins.
            return False
        else:
            source = Matching((self._query.filter,))
            ends = self._take_selected(reading, page)
        self._choice.count(
            self._configuration,
            source,
            passed=self._after - begin,
            wanted=len(reading.publications) - had,
        )
        self._begun = True
        reading.next = self._after + 1
        return ends

    def _take_shared(self, reading: Reading, page: Page) -> bool:
        # Empty where the page was read before the log changed: read again from where it begins now.
        while following := page.behind(self._after, page.bounds.last):
            if isinstance(following, Hole):
                if not self._pass(reading, following):
                    return True
                self._left -= 1
                continue
            for publication in following:
                self._after += 1
                self._left -= 1
                if self._matches(publication.topic):
                    self._add(reading, publication)
                if self._full(reading):
                    return True
        return False

    def _take_selected(self, reading: Reading, page: SelectedPage) -> bool:
        while self._after < page.through:
            following = page.behind(self._after, page.through)
            if isinstance(following, Hole):
                if not self._pass(reading, following):
                    return True
                continue
            for publication in following.publications:
                self._after = publication.offset or 0
                self._add(reading, publication)
                if self._size >= PAGE_BYTES:
                    return True
            self._after = following.through
        return False

    def _add(self, reading: Reading, publication: Publication) -> None:
        reading.publications.append(publication)
        body = publication.data if publication.data is not None else publication.binary
        self._size += len(body or b"") + len(publication.topic)

    def _pass(self, reading: Reading, hole: Hole) -> bool:
        """Go behind ``hole``; not where it is told to whoever goes on from here: an answer tells one."""
        if reading.publications or reading.missed is not None:
            return False
        reading.missed = Missed(hole.reason, hole.first, hole.last)
        self._after = hole.last
        return True

    def _full(self, reading: Reading) -> bool:
        return self._left <= 0 or len(reading.publications) >= self._query.limit or self._size >= PAGE_BYTES

    def _matches(self, topic: str) -> bool:
        found = self._topics.get(topic)
        if found is None:
            found = self._topics[topic] = matches(self._query.filter, topic)
        return found
