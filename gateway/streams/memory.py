"""Streams in memory: everything a store promises, except that it outlives the process."""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway.codecs.record import encode_record
from gateway.core.streams.recent import surplus
from gateway.errors import Conflict, StreamUnavailable
from gateway.streams.base import Appended, StoreStatistics, StreamStatistics
from gateway.streams.limits import StoreLimits
from gateway.streams.local_log import KeyShares, LocalLog
from gateway.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.messages.commands import Position
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds, StreamConfiguration
    from gateway.core.streams.pages import Page
    from gateway.streams.base import Dedupe


class _First(NamedTuple):
    """The first append with a key."""

    fingerprint: bytes
    answer: Appended
    time: int


class _Log:
    """One stream: its publications, and the keys of the dedupe window, the oldest first.

    Keys that are remembered for longer than the window are apart, since they end in another order.
    """

    __slots__ = ("configuration", "ends", "keys", "log", "long_keys", "shares", "time")

    def __init__(self, configuration: StreamConfiguration, most_keys: int) -> None:
        self.configuration = configuration
        self.shares = KeyShares(configuration.name, most_keys)
        self.log = LocalLog(secrets.token_hex(8))
        self.keys: OrderedDict[str, _First] = OrderedDict()
        self.long_keys: dict[str, _First] = {}
        self.ends: list[tuple[int, str]] = []
        self.time = 0

    def advance(self, now: int) -> None:
        """Let time pass, never back, and forget the keys whose window has passed."""
        self.time = max(self.time, now)
        expired = self.time - self.configuration.dedupe_window * 1000
        while self.keys and next(iter(self.keys.values())).time <= expired:
            self.shares.give_back(self.keys.popitem(last=False)[0])
        while self.ends and self.ends[0][0] <= self.time:
            key = heapq.heappop(self.ends)[1]
            del self.long_keys[key]
            self.shares.give_back(key)
        self.shares.settle()

    def first(self, dedupe: Dedupe) -> Appended | None:
        """The first answer to a key that is still remembered.

        Raises:
            Conflict: it was another publication's.
            RateLimited: its publisher can have no more of them remembered.
        """
        known = self.keys.get(dedupe.key) or self.long_keys.get(dedupe.key)
        if known is None:
            self.shares.take(dedupe.key, len(self.keys) + len(self.long_keys))
            return None
        if known.fingerprint != dedupe.fingerprint:
            raise Conflict("this idempotency key was first used with another topic or body")
        return Appended(known.answer.id, known.answer.offset, repeated=True)

    def remember(self, dedupe: Dedupe, answer: Appended) -> None:
        """Keep the first answer to a key."""
        first = _First(dedupe.fingerprint, answer, self.time)
        window = dedupe.window(self.configuration.dedupe_window)
        if window <= self.configuration.dedupe_window * 1000:
            self.keys[dedupe.key] = first
        else:
            self.long_keys[dedupe.key] = first
            heapq.heappush(self.ends, (self.time + window, dedupe.key))

    def trim(self) -> None:
        """Let go of what may not be kept any longer."""
        recent = self.log.recent
        gone = surplus(
            self.configuration, recent.oldest(), messages=len(recent), size=recent.bytes, now=self.time
        )
        if gone.messages:
            self.log.trim(recent.first + gone.messages)


class MemoryStore:
    """Keeps streams for as long as the process lives; each start begins new epochs."""

    def __init__(
        self,
        configurations: Iterable[StreamConfiguration],
        *,
        limits: StoreLimits | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        supervision: Supervision | None = None,
    ) -> None:
        """Make the logs; ``clock`` tells milliseconds since 1970."""
        self._limits = limits or StoreLimits()
        self._supervision = supervision or Supervision()
        self._clock = clock
        self._logs = {each.name: _Log(each, self._limits.dedupe_keys) for each in configurations}
        self._sweeping: asyncio.Task[None] | None = None
        self._appended = self._repeated = self._read = self._raised = 0

    async def start(self) -> None:
        """Begin to let go of what is too old."""
        self._sweeping = asyncio.create_task(
            self._supervision.keep("store_upkeep", self._sweep), name="store"
        )

    async def stop(self) -> None:
        """Forget everything; readers that wait are told."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
            self._sweeping = None
        for each in self._logs.values():
            each.log.close()

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        """Keep ``publication``, at once."""
        if self._sweeping is None:
            raise StreamUnavailable("the store of streams is closed")
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(self._append(self._logs[stream], stream, publication, dedupe))
        except Conflict as conflict:
            answer.set_exception(conflict)
        return answer

    async def read(
        self, stream: str, after: int, *, messages: int, size: int = 1024 * 1024, wait: float = 0.0
    ) -> Page:
        """Read on behind ``after``."""
        log = self._logs[stream].log

        def read() -> Page:
            page = log.page(after, messages, size)
            assert page is not None, "everything kept is at hand"
            return page

        page = await log.read(read, after, wait)
        self._read += len(page.publications)
        return page

    async def bounds(self, stream: str) -> Bounds:
        """The log's bounds."""
        return self._open(stream).log.bounds

    async def before(self, stream: str, time: int) -> int:
        """The offset before the first publication of ``time`` or later."""
        return self._open(stream).log.recent.before(time)

    async def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        """Begin a new epoch if this one ended before ``seen``; nothing here can have lost it."""
        log = self._open(stream).log
        if log.epoch == seen.epoch and log.recent.last < seen.offset:
            log.begin_epoch(secrets.token_hex(8))
            self._raised += 1
        return log.bounds

    async def describe(self, stream: str) -> StreamStatistics:
        """What the log holds."""
        log = self._open(stream).log
        first_time, last_time = log.recent.times() or (None, None)
        return StreamStatistics(log.bounds, log.recent.bytes, first_time, last_time)

    def statistics(self) -> StoreStatistics:
        """A snapshot."""
        return StoreStatistics(
            connected=self._sweeping is not None,
            appended=self._appended,
            repeated=self._repeated,
            commits=self._appended,
            read=self._read,
            epochs_raised=self._raised,
        )

    def _open(self, stream: str) -> _Log:
        if self._sweeping is None:
            raise StreamUnavailable("the store of streams is closed")
        return self._logs[stream]

    def _append(self, log: _Log, stream: str, publication: Publication, dedupe: Dedupe | None) -> Appended:
        log.advance(self._clock())
        if dedupe is not None:
            first = log.first(dedupe)
            if first is not None:
                self._repeated += 1
                return first
        answer = Appended(publication.id, log.log.recent.last + 1)
        publication.stream = stream
        publication.offset = answer.offset
        publication.time = log.time
        # The record's size, although no record is kept: retention counts alike in every store.
        log.log.extend((publication,), (len(encode_record(publication)),))
        if dedupe is not None:
            log.remember(dedupe, answer)
        log.trim()
        self._appended += 1
        return answer

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._limits.sweep_seconds)
            for each in self._logs.values():
                each.advance(self._clock())
                each.trim()
