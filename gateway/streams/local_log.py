"""What a store that has its logs for itself keeps in memory of each: newest publications, readers, shares."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import PURGED, Hole, OffsetRanges, Page
from gateway.core.streams.recent import Recent
from gateway.errors import RateLimited, StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from gateway.core.messages.publication import Publication

_MOST_DIGITS = 9


class LocalLog:
    """One log as the event loop of the process that owns it knows it: readers are answered at once.

    The publications that were appended are the very ones that readers get: no copy, no decoding, and a
    frame that was encoded for one subscriber serves all.
    """

    __slots__ = ("_readers", "epoch", "first", "open", "purged", "recent")

    def __init__(self, epoch: str = "", first: int = 1, last: int = 0) -> None:
        self.epoch = epoch
        self.first = first
        self.recent = Recent(last)
        self.purged = OffsetRanges()
        self.open = True
        self._readers: set[asyncio.Future[None]] = set()

    @property
    def bounds(self) -> Bounds:
        """The log's epoch, first and last offset."""
        return Bounds(self.epoch, self.first, self.recent.last)

    def extend(self, publications: Sequence[Publication], sizes: Sequence[int]) -> None:
        """Take what has been kept behind the last offset, and wake the readers that wait for it."""
        for publication, size in zip(publications, sizes, strict=True):
            self.recent.push(publication, size)
        # Once for all of them: a reader gets what was stored together in one page.
        self._wake()

    def trim(self, first: int) -> None:
        """Note that ``first`` is the oldest offset from now on."""
        if first > self.first:
            self.first = first
            # The newest publications may begin far behind the log's first, and lose nothing then.
            self.recent.drop_before(first)
            self.purged.forget_before(first)

    def drop(self, count: int) -> list[Publication]:
        """Let go of the oldest ``count`` of a log that is wholly at hand; return them."""
        dropped = self.recent.drop(count)
        self.first = self.recent.first
        self.purged.forget_before(self.first)
        return dropped

    def purge(self, offsets: Sequence[int]) -> list[Publication]:
        """Take out those of ``offsets`` (ascending, one at least) that are at hand; return them.

        What is missing at hand from now on is a hole.
        """
        removed = self.recent.remove(offsets)
        for each in removed:
            assert each.offset is not None, "a log numbers what it holds"
            self.purged.add(each.offset, each.offset)
        return removed

    async def reached(self, offset: int, seconds: float) -> None:
        """Wait until the log is known up to ``offset``, which is kept already.

        Raises:
            StreamUnavailable: the store stops, or that takes too long.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while self.recent.last < offset:
            left = deadline - asyncio.get_running_loop().time()
            if not self.open or left <= 0:
                raise StreamUnavailable("the store of streams does not answer")
            await self._changed(left)

    def restart(self, bounds: Bounds) -> None:
        """Begin again with what the log turned out to hold; readers that wait find out."""
        if bounds != self.bounds:
            self.epoch = bounds.epoch
            self.first = bounds.first
            # What was at hand is of another life, in which these offsets may have meant something else.
            self.recent = Recent(bounds.last)
            self.purged = OffsetRanges()
            self._wake()

    def begin_epoch(self, epoch: str) -> None:
        """Go on as another life of the log, behind its own end."""
        # What is at hand stays: the log still holds it, it is only known to have had more.
        self.epoch = epoch
        self._wake()

    def close(self) -> None:
        """Let go of the readers that wait; nothing is read any more."""
        self.open = False
        self._wake()

    def page(self, after: int, messages: int, size: int) -> Page | None:
        """What is behind ``after``; None where it is kept but not at hand."""
        # The bounds say whether it is at the end or beyond it; either way there is nothing to look for.
        if after >= self.recent.last:
            return Page(self.bounds, ())
        after = max(after, self.first - 1)
        found = self.recent.after(after, messages, size)
        if found is None or not self.purged:
            return None if found is None else Page(self.bounds, found)
        # Where no publication follows, what follows is a hole up to the end.
        last = found[-1].offset if found else after
        assert last is not None, "a log numbers what it holds"
        through = last if self.recent.after(last, 1, 0) else self.recent.last
        return Page(self.bounds, found, list(self.holes(after, through)))

    def holes(self, after: int, through: int) -> Iterator[Hole]:
        """What was purged behind ``after``, up to ``through``."""
        for first, last in self.purged.within(after + 1, through):
            yield Hole(first, last, PURGED)

    async def read(self, read: Callable[[], Page | Awaitable[Page]], after: int, wait: float) -> Page:
        """The page that ``read`` gives now, or up to ``wait`` seconds later, if there is none yet.

        Raises:
            StreamUnavailable: the store stops.
        """
        page = await self._take(read)
        # Beyond the end nothing is worth waiting for: what the reader had seen is lost.
        if page.publications or wait <= 0 or after != page.bounds.last:
            return page
        # The page at a log's end is made without awaiting anything, so no append falls between it and the
        # wait.
        await self._changed(wait)
        # Looked at once: woken for another reason than an append, an empty page with the new bounds is the
        # news.
        return await self._take(read)

    async def _take(self, read: Callable[[], Page | Awaitable[Page]]) -> Page:
        if not self.open:
            raise StreamUnavailable("the store of streams is closed")
        page = read()
        return page if isinstance(page, Page) else await page

    async def _changed(self, seconds: float) -> None:
        reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.add(reader)
        try:
            async with asyncio.timeout(seconds):
                await reader
        except TimeoutError:
            pass
        finally:
            self._readers.discard(reader)

    def _wake(self) -> None:
        # A future for each reader, not one event for all: an event would have to be cleared, and whoever
        # comes between setting and clearing would not wait.
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()


class KeyShares:
    """Idempotency keys of a stream by publisher, so that none takes the room of all.

    Each may hold as many as are still free: one alone half of them.

    What a transaction changes is undone by the next ``begin`` unless ``settle`` came before.
    """

    __slots__ = ("_held", "_most", "_pending", "_stream")

    def __init__(self, stream: str, most: int, keys: Iterable[str] = ()) -> None:
        """Count ``keys``; there may be ``most`` of them."""
        self._stream = stream
        self._most = most
        self._held = Counter(publisher_of(key) for key in keys)
        self._pending: list[tuple[str, int]] = []

    def take(self, key: str, remembered: int) -> None:
        """Count a new ``key`` beside so many that are ``remembered``.

        Raises:
            RateLimited: its publisher holds as many as are free, or more.
        """
        publisher = publisher_of(key)
        held = self._held[publisher]
        if held >= self._most - remembered:
            raise RateLimited(
                f"stream {self._stream!r} remembers {remembered} idempotency keys, {held} of them of this"
                " publisher, as many as it may"
            )
        self._change(publisher, 1)

    def give_back(self, key: str) -> None:
        """``key`` has been forgotten."""
        self._change(publisher_of(key), -1)

    def begin(self) -> None:
        """Undo what was changed in a transaction that failed."""
        pending, self._pending = self._pending, []
        for publisher, step in pending:
            self._change(publisher, -step)
        self._pending.clear()

    def settle(self) -> None:
        """What was changed is kept."""
        self._pending.clear()

    def _change(self, publisher: str, step: int) -> None:
        held = self._held[publisher] + step
        if held > 0:
            self._held[publisher] = held
        else:
            del self._held[publisher]
        self._pending.append((publisher, step))


def publisher_of(key: str) -> str:
    """The publisher in a ``Dedupe.key``: ``LENGTH:SUBJECT/KEY``, or ``/KEY`` of an anonymous one."""
    length, colon, rest = key.partition(":")
    if not colon or not length.isascii() or not length.isdigit() or len(length) > _MOST_DIGITS:
        return ""
    return rest[: int(length)]
