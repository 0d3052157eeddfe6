"""What keeps streams: append-only logs of publications with consecutive offsets.

A log is the only source of order. Publishers append to it; every node with an interest reads it from where
it left off, so a wake-up that is lost or comes twice does no harm. Whatever a store is made of, it promises:

* offsets are consecutive from 1 and never reused within an epoch;
* an append is answered only once it is kept, as durably as the store is configured;
* an append with an idempotency key takes effect once within the stream's dedupe window, in one atomic step;
* a publication's ``time`` is the store's and never goes back within a log;
* what has been trimmed is always the oldest; whatever else is missing is known as a hole;
* a publication that isn't what was appended, bit by bit, is never given: it is a hole;
* which publications a topic has is known from an index that changes in the same atomic step as the log, so
  that what a filter matches is found at the price of what is found.

Spec: docs/streams.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.core.streams.pages import SelectedPage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Sequence

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Page
    from gateway.streams.groups.base import GroupStore
    from gateway.streams.statistics import Extent, StoreStatistics, StreamStatistics

__all__ = [
    "Appended",
    "Dedupe",
    "Readable",
    "SelectedPage",
    "Store",
    "TopicPage",
    "TopicSummary",
]


@dataclass(frozen=True, slots=True)
class Dedupe:
    """What makes an append effective once.

    Attributes:
        key: the publisher and the idempotency key, in one text of the caller's making.
        fingerprint: a digest of topic and body; the same key with another one is a conflict.
        seconds: how long it is remembered, where that is longer than the stream's dedupe window.
    """

    key: str
    fingerprint: bytes
    seconds: float | None = None

    def window(self, stream_seconds: float) -> int:
        """How many milliseconds it is remembered by a stream with this dedupe window; 1 at least."""
        return max(1, int(max(stream_seconds, self.seconds or 0.0) * 1000))


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of an append: the first answer, where ``repeated``.

    Attributes:
        id: the publication's label.
        offset: its number in the stream.
        repeated: an earlier append with the same key had done it already.
    """

    id: str
    offset: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class TopicSummary:
    """What a log holds of one topic.

    Attributes:
        topic: its name.
        first: the oldest offset kept.
        last: the newest; both are those of the last value where nothing else is kept.
        time: milliseconds since 1970 of the newest.
        last_value: whether a last value is kept.
    """

    topic: str
    first: int
    last: int
    time: int
    last_value: bool = False


@dataclass(frozen=True, slots=True)
class TopicPage:
    """Some of the topics that a log holds, in the order of ``core/streams/topic_keys.py``.

    Attributes:
        topics: what was found.
        next: the topic to go on behind; None where there are no more.
    """

    topics: Sequence[TopicSummary]
    next: str | None = None


class Readable(Protocol):
    """The reading half of a store."""

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1024 * 1024, wait: float = 0.0
    ) -> Page:
        """Read on behind offset ``after``.

        Never raises the epoch for what the caller says. Starts with the oldest publication kept where
        ``after`` is before it, and is empty where ``after`` is the log's end or beyond; beyond it there is
        no waiting either. What can't be given of the log any more, since it was removed or is damaged, is a
        hole of the page, and no error: reading on behind a page always leads on.

        Args:
            stream: a configured stream.
            after: the last offset already had; 0 for none.
            messages: how many publications at most.
            size: about how many bytes at most; one publication at least is read.
            wait: where there is nothing yet, seconds to wait for something; returns early with an empty page
                when the log's epoch or bounds have changed so that waiting on would be wrong.

        Raises:
            StreamUnavailable: the store can't be reached, or stopped meanwhile.
        """
        ...

    async def bounds(self, stream: str) -> Bounds:
        """The log's epoch, first and last offset now.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...

    async def before(self, stream: str, time: int) -> int:
        """The offset before the first publication kept whose time is ``time`` (ms since 1970) or later.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...

    async def select(
        self, stream: str, filters: Sequence[str], after: int, *, messages: int, size: int = 1024 * 1024
    ) -> SelectedPage | None:
        """Read what matches one of ``filters`` behind offset ``after``, by the index of topics.

        Begins with the oldest publication kept where ``after`` is before it, and tells nothing where it is
        the log's end or beyond. It costs what is found, and a look at each topic that matches; so where much
        of a log matches, ``read`` is the better way.

        Args:
            stream: a configured stream.
            filters: parsed filters.
            after: the last offset already had; 0 for none.
            messages: how many publications at most.
            size: about how many bytes at most; one publication at least is read.

        Returns:
            None where only ``read`` can tell: more topics than ``topics_per_read`` match, or the index does
            not reach back to ``after`` yet.

        Raises:
            StreamUnavailable: the store can't be reached, or stopped meanwhile.
        """
        ...

    async def at(self, stream: str, offsets: Sequence[int]) -> Sequence[Publication]:
        """Those publications of ``offsets``, which ascend, that the log can give.

        Raises:
            StreamUnavailable: the store can't be reached, or stopped meanwhile.
        """
        ...

    async def count(self, stream: str, topic_filter: str, after: int, through: int) -> int:
        """How many publications behind ``after``, up to ``through``, match and can be given.

        Raises:
            StreamUnavailable: the store can't be reached, or its index isn't complete yet.
        """
        ...

    async def before_newest(self, stream: str, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` publications that match: reading on behind it gives those.

        Returns:
            The offset before the oldest one kept where fewer match; None as ``select`` does.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...

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
        """Read each matching topic's newest ``count`` publications, all topics together in stream order.

        Args:
            stream: a configured stream.
            topic_filter: a parsed filter.
            count: how many of each topic, counted back from ``through``.
            after: the last offset already had; 0 for none.
            through: as of which offset; None for the log's end now, which the page's bounds tell.
            messages: how many publications at most.
            size: about how many bytes at most; one publication at least is read.

        Raises:
            TooMany: more topics than ``topics_per_read`` match.
            StreamUnavailable: the store can't be reached, or its index isn't complete yet.
        """
        ...

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
        """Read the last values of the topics that match, in offset order, page by page.

        One page is of one moment. A topic whose value changes between two pages is missing in the later one,
        and has its new value behind ``through``: whoever reads on from there misses nothing.

        Args:
            stream: a configured stream; without last values it has none.
            topic_filter: a parsed filter.
            after: the offset of the last value already had; 0 for none.
            through: values with larger offsets are left out; None for the first page, whose bounds say where
                the log ended.
            messages: how many publications at most.
            size: about how many bytes at most; one publication at least is read.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...

    async def last_value(self, stream: str, topic: str) -> tuple[Bounds, Publication | None]:
        """The last value of one topic, and the log's bounds at that moment.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...

    async def topics(self, stream: str, topic_filter: str, *, after: str | None, limit: int) -> TopicPage:
        """The topics of which the log holds something, in order, behind topic ``after``.

        A page may hold less than ``limit`` although there are more: it ends where enough was looked at.

        Raises:
            StreamUnavailable: the store can't be reached, or its index isn't complete yet.
        """
        ...

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if the log is still of ``seen``'s epoch and ends before its offset.

        For a node that has itself read ``seen`` from the store: what it saw has been lost since. Never to be
        called with what a client says.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...


class Store(Readable, Protocol):
    """All configured streams' logs, as one node uses them. Everything runs on one event loop."""

    @property
    def groups(self) -> GroupStore:
        """The groups that work the logs off."""
        ...

    async def start(self) -> None:
        """Open, making what isn't there yet.

        Returns once usable; a store that is away (Redis) starts all the same and reports it by its
        statistics and by refusing.

        Raises:
            StoreUnusable: what is there can't be opened, isn't a store, or is another process'.
        """
        ...

    async def stop(self) -> None:
        """Finish what was accepted, and let go of everything that was opened; bounded in time."""
        ...

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        """Keep ``publication`` at the end of ``stream``'s log; calls of one tick share a transaction.

        The store sets ``stream``, ``offset`` and ``time`` of the publication, which the caller gives up.

        Returns:
            A future, done once it is kept. Cancelling it does not undo anything.

        Raises:
            RateLimited: at once or from the future, where more waits to be appended, or more idempotency
                keys are remembered, than may be.
            Conflict: from the future: the key was used with another fingerprint.
            StreamUnavailable: from the future or at once; it may have been kept all the same.
            StoreFull: from the future: there is no room; nothing was kept.
        """
        ...

    def purge(self, stream: str, topic_filter: str, before: int | None = None) -> AsyncGenerator[int, None]:
        """Remove what matches, last values included, for good; in bounded steps, each of them atomic.

        Offsets stay: what was removed is a hole with the reason ``purged`` until retention passes it, also
        for idempotency keys, which remember their offset. Copies that groups have (dead letters) are gone
        once it has ended; who leaves it before leaves them, and what is removed by then stays removed.

        Args:
            stream: a configured stream.
            topic_filter: a parsed filter.
            before: only publications with smaller offsets go; None for all that there are now.

        Yields:
            How many publications were removed by each step.

        Raises:
            StreamUnavailable: the store can't be reached, or its index isn't complete yet; a part may be
                removed.
        """
        ...

    async def measure(self, stream: str, topic_filter: str, before: int | None = None) -> Extent:
        """What ``purge`` would remove from the log; found in bounded steps, as that is.

        Raises:
            StreamUnavailable: the store can't be reached, or its index isn't complete yet.
        """
        ...

    async def describe(self, stream: str) -> StreamStatistics:
        """What the log holds, for people.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        ...

    def statistics(self) -> StoreStatistics:
        """A snapshot for metrics, health and tests."""
        ...
