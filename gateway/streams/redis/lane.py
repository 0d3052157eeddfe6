"""What waits to be appended to one stream: gathered while the last round trip is under way.

A stream has one batch on its way at a time, so its publications are kept in the order in which they were
accepted, also when a cluster moves it to another server.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.codecs.record import encode_record
from gateway.errors import StreamUnavailable
from gateway.streams.redis.batch import AppendBatch

if TYPE_CHECKING:
    import asyncio

    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Appended, Dedupe
    from gateway.streams.redis.batch import AppendBudget
    from gateway.streams.redis.log import RedisLog

_TIDY_SECONDS = 60.0
"""What is too old is looked for this often at least."""


class LogQueue:
    """One stream's way in.

    Attributes:
        log: the stream's.
        outbound: counts and bounds.
    """

    def __init__(self, log: RedisLog, outbound: AppendBudget) -> None:
        self.log = log
        self.outbound = outbound
        self._batches: deque[AppendBatch] = deque()
        self._travelling: AppendBatch | None = None
        self._tidy_due = 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is on its way."""
        return self._travelling is None

    def append(self, publication: Publication, dedupe: Dedupe | None) -> asyncio.Future[Appended]:
        """Queue ``publication``.

        Raises:
            StreamUnavailable: its server is away, and has been for a while.
            RateLimited: too much waits.
        """
        link = self.log.appending
        if link is None or not link.accepting:
            raise StreamUnavailable("Redis is away")
        record = encode_record(publication)
        self.outbound.admit(len(record))
        return self._open().add(publication, record, dedupe)

    def tidy_at(self, now: float) -> None:
        """Tidy if it is time to: the longer publications are kept, the less it matters when they go.

        While Redis refuses appends this is also how it is asked whether it still does.
        """
        if now >= self._tidy_due or self.log.appends.lasting:
            self._tidy_due = now + min(_TIDY_SECONDS, self.log.configuration.max_age / 10)
            self.tidy()

    def tidy(self) -> None:
        """Let what is too old go, though nobody appends."""
        link = self.log.appending
        if self.idle and link is not None and link.up:
            self._open()

    def send(self, batch: AppendBatch) -> None:
        """Let ``batch`` go, which has been waiting for its turn or for a server."""
        if batch.over:
            self.ended(batch)
        elif self.log.appending is None:
            batch.again()
        else:
            self.log.appending.submit(batch)

    def ended(self, batch: AppendBatch, *, more: bool = False) -> None:
        """``batch`` is through; let the next one go, or trim on if there is ``more`` that may not be kept."""
        if batch is not self._travelling:
            if batch in self._batches:
                self._batches.remove(batch)
            return
        self._travelling = None
        if self._batches:
            self._depart(self._batches.popleft())
        elif more:
            self.tidy()

    def give_up(self, reason: str) -> None:
        """Let go of everything that waits."""
        for batch in list(self._batches):
            batch.fail(reason)
        if self._travelling is not None:
            self._travelling.lost(reason)

    def _open(self) -> AppendBatch:
        """The batch that takes what is appended now."""
        newest = self._batches[-1] if self._batches else self._travelling
        if newest is None:
            newest = AppendBatch(self)
            self._depart(newest)
        elif newest.full:
            newest = AppendBatch(self)
            self._batches.append(newest)
        return newest

    def _depart(self, batch: AppendBatch) -> None:
        self._travelling = batch
        self.send(batch)
