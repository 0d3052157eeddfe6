"""The use case purge: what matches goes from a stream for good, and from what every node holds of it."""

from __future__ import annotations

import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

import anyio

from gateway.core.cluster.control import ForgetStream
from gateway.engine.group_administration import Progress
from gateway.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from gateway.engine.cluster.administration import ClusterAdministration, Reach
    from gateway.streams.base import Store
    from gateway.streams.statistics import Extent

_log: Final = logging.getLogger("gateway.streams")


class Purge:
    """One purge, which goes on as ``steps`` is read.

    Attributes:
        count: publications that were removed so far.
        reach: which nodes hold nothing of them any more, once it has ended; the others let go with time.
    """

    def __init__(  # noqa: PLR0917 - of one place
        self,
        store: Store,
        stream: str,
        topic_filter: str,
        before: int | None,
        forget: Callable[[ForgetStream], None],
        administration: ClusterAdministration,
        subject: str | None,
    ) -> None:
        self._store = store
        self._stream = stream
        self._filter = topic_filter
        self._before = before
        self._forget = forget
        self._administration = administration
        self._subject = subject
        self.count = 0
        self.reach: Reach | None = None

    async def steps(self) -> AsyncGenerator[Progress, None]:
        """Remove it, told as it goes on; what is removed when this is left stays removed.

        Raises:
            StreamUnavailable: the store can't be reached, or its index isn't complete; a part may be removed.
        """
        store, stream = self._store, self._stream
        # The end of now, for both: what is published meanwhile stays.
        end = (await store.bounds(stream)).last + 1
        before = end if self._before is None else min(self._before, end)
        total = (await store.measure(stream, self._filter, before)).messages
        yield Progress(0, total)
        async with aclosing(self._remove(before, total)) as steps:
            async for step in steps:
                yield step

    async def at_once(self) -> None:
        """Remove it; raises as ``steps``."""
        async with aclosing(self._remove(self._before, 0)) as steps:
            async for _ in steps:
                pass

    async def _remove(self, before: int | None, total: int) -> AsyncGenerator[Progress, None]:
        try:
            async with aclosing(self._store.purge(self._stream, self._filter, before)) as steps:
                async for removed in steps:
                    self.count += removed
                    yield Progress(self.count, max(self.count, total))
        finally:
            # What has gone by then is gone, whoever has left.
            with anyio.CancelScope(shield=True):
                purged = await self._purged()
            self._forget(purged)
            # Not of what: the topics may be what had to go.
            _log.warning(
                "%d publications of stream %r were purged by %r", self.count, self._stream, self._subject
            )
            with anyio.CancelScope(shield=True):
                self.reach = await self._administration.forget_stream(purged)

    async def _purged(self) -> ForgetStream:
        """What all nodes are told."""
        if not self.count:
            return ForgetStream(self._stream)
        end = 0
        # A node that reads the stream knows its end well enough by itself.
        with suppress(Unavailable):
            end = (await self._store.bounds(self._stream)).last
        return ForgetStream(self._stream, self._filter, end)


class PurgeService:
    """Removes for administrators."""

    def __init__(
        self,
        store: Store | None,
        administration: ClusterAdministration,
        *,
        forget: Callable[[ForgetStream], None],
    ) -> None:
        """Remove from ``store``, None where there are no streams.

        Args:
            store: keeps the streams.
            administration: reaches the other nodes.
            forget: lets go of what this node holds of a stream, and tells whose views it concerns.
        """
        self._store = store
        self._administration = administration
        self._forget = forget

    def purge(self, stream: str, topic_filter: str, before: int | None, *, subject: str | None) -> Purge:
        """What removes what matches and has a smaller offset than ``before``; all that there is, if None.

        Raises:
            NotFound: there are no streams.
        """
        return Purge(
            self._kept(stream),
            stream,
            topic_filter,
            before,
            self._forget,
            self._administration,
            subject,
        )

    async def measure(self, stream: str, topic_filter: str, before: int | None) -> Extent:
        """What that would remove.

        Raises:
            NotFound: there are no streams.
            StreamUnavailable: the store can't be reached, or its index isn't complete.
        """
        return await self._kept(stream).measure(stream, topic_filter, before)

    def _kept(self, stream: str) -> Store:
        if self._store is None:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        return self._store
