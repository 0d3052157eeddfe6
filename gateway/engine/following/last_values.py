"""The use case of last values: one topic's, and those of all topics that a filter matches.

A snapshot says as of which position it is. Whoever resumes from there gets what has happened since, so nobody
needs to be subscribed while it is read: a page may be rendered from it on a server, and go on in a browser.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.messages.commands import Position
from gateway.errors import NotFound, SnapshotTooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.stream import StreamMap
    from gateway.streams.base import Readable

WHOLE_MESSAGES: Final = 4096
WHOLE_BYTES: Final = 1024 * 1024
"""What a snapshot may hold that is asked for as a whole, of bodies and topics."""

_PAGE_MESSAGES: Final = 1000
_PAGE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class TopicValue:
    """One topic's last value.

    Attributes:
        stream: that captures the topic.
        bounds: of its log at the moment of reading.
        publication: the value; None where there is none, or it was deleted.
    """

    stream: str
    bounds: Bounds
    publication: Publication | None

    @property
    def position(self) -> Position:
        """From where to resume, to get what comes after this value."""
        return Position(self.bounds.epoch, self.bounds.last)


@dataclass(frozen=True, slots=True)
class WholeSnapshot:
    """The last values of all topics that a filter matches.

    Attributes:
        publications: stream by stream, of each in offset order.
        positions: as of which they are, of every stream under the filter: to be resumed from.
    """

    publications: Sequence[Publication]
    positions: dict[str, Position]


class LastValueReader:
    """Reads last values for all doors that have no subscription."""

    def __init__(self, store: Readable | None, streams: StreamMap) -> None:
        """Read from ``store``; None where no stream is configured."""
        self._store = store
        self._streams = streams

    async def value(self, topic: str) -> TopicValue:
        """The last value of ``topic``.

        Raises:
            NotFound: no stream captures the topic, or that keeps no last values.
            StreamUnavailable: the store can't be reached.
        """
        stream = self._streams.capturing(topic)
        if stream is None or self._store is None:
            raise NotFound(f"topic {topic[:128]!r} is live: no stream keeps what is published to it")
        if not self._streams[stream].last_values:
            raise NotFound(f"stream {stream!r} keeps no last values: see its setting last_values")
        bounds, publication = await self._store.last_value(stream, topic)
        return TopicValue(stream, bounds, publication)

    async def whole(self, topic_filter: str) -> WholeSnapshot:
        """All last values that match, as far as they are few.

        Raises:
            SnapshotTooLarge: there are more, to be read page by page.
            Unavailable: see ``pages``.
        """
        found: list[Publication] = []
        positions: dict[str, Position] = {}
        size = 0
        # One more than may be: what fits is read at one moment then, and what doesn't is known at once.
        every = self.pages(topic_filter, positions, messages=WHOLE_MESSAGES + 1, size=WHOLE_BYTES + 1)
        async with aclosing(every) as pages:
            async for page in pages:
                found += page
                size += sum(map(_size, page))
                if len(found) > WHOLE_MESSAGES or size > WHOLE_BYTES:
                    raise SnapshotTooLarge(
                        f"more than {WHOLE_MESSAGES} last values, or {WHOLE_BYTES} bytes of them: ask with "
                        "'Accept: application/x-ndjson' for any number, or for a narrower filter"
                    )
        return WholeSnapshot(found, positions)

    async def pages(
        self,
        topic_filter: str,
        positions: dict[str, Position],
        *,
        messages: int = _PAGE_MESSAGES,
        size: int = _PAGE_BYTES,
    ) -> AsyncGenerator[Sequence[Publication], None]:
        """All last values that match, page by page, stream by stream.

        A page is of one moment. A value that is replaced before its page is read is left out, and found by
        resuming from the position, as what is deleted and what is new is.

        Args:
            topic_filter: a parsed filter.
            positions: gets, of every stream under the filter, the position that its values are as of; all are
                there once the last page was read.
            messages: how many are read at once.
            size: about how many bytes are.

        Raises:
            Unavailable: the store can't be reached, or a stream's epoch has changed meanwhile.
        """
        if self._store is None:
            return
        for stream in self._streams.under(topic_filter):
            if not self._streams[stream].last_values:
                bounds = await self._store.bounds(stream)
                positions[stream] = Position(bounds.epoch, bounds.last)
                continue
            page = await self._store.snapshot(stream, topic_filter, 0, None, messages=messages, size=size)
            began = positions[stream] = Position(page.bounds.epoch, page.bounds.last)
            yield page.publications
            while page.through < began.offset:
                page = await self._store.snapshot(
                    stream, topic_filter, page.through, began.offset, messages=messages, size=size
                )
                if page.bounds.epoch != began.epoch:
                    raise Unavailable(f"stream {stream!r} has begun a new epoch meanwhile: begin anew")
                yield page.publications


def _size(publication: Publication) -> int:
    body = publication.data if publication.data is not None else publication.binary
    return len(body or b"") + len(publication.topic)
