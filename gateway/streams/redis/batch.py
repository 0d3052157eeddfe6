"""What waits to be appended to one stream: gathered in batches while the last round trip is under way.

A stream has one batch on its way at a time, so its publications are kept in the order in which they were
accepted, also when a cluster moves it to another server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from gateway.codecs.record import encode_record
from gateway.errors import Conflict, GatewayError, RateLimited, StoreFull, StreamUnavailable
from gateway.redis.batch_state import FINAL, BatchState
from gateway.streams.base import Appended
from gateway.streams.redis.calls import AGAIN_SECONDS, last_seen_args, unavailable
from gateway.streams.redis.scripts import APPEND

if TYPE_CHECKING:
    from gateway.core.messages.publication import Publication
    from gateway.redis.wire import CommandRefused, Reply
    from gateway.streams.base import Dedupe
    from gateway.streams.redis.log import RedisLog

_BATCH_MESSAGES = 512
_BATCH_BYTES = 1024 * 1024
_TRIM_MESSAGES = 2_000
"""A batch lets no more of what may not be kept go: Redis does nothing else meanwhile."""

_TIDY_SECONDS = 60.0
"""What is too old is looked for this often at least."""

_HEAD = 8
_FULL = -2


class AppendBudget:
    """Counts and bounds of all appends of this node.

    Attributes:
        messages: waiting or on their way.
        bytes: of their records.
    """

    def __init__(self, *, messages: int, size: int, timeout: float, publish: str) -> None:
        """Take the bounds; ``publish`` is the command by which appends are announced."""
        self._most_messages = messages
        self._most_bytes = size
        self.timeout = timeout
        self.publish = publish
        self.messages = self.bytes = 0
        self.appended = self.repeated = self.failed = self.commits = self.evicted = 0

    def admit(self, size: int) -> None:
        """Count one more.

        Raises:
            RateLimited: too much waits.
        """
        if self.messages >= self._most_messages or self.bytes + size > self._most_bytes:
            raise RateLimited("more is published than Redis takes")
        self.messages += 1
        self.bytes += size

    def release(self, messages: int, size: int) -> None:
        """Count so many less."""
        self.messages -= messages
        self.bytes -= size


class AppendBatch:
    """Publications of one stream that are appended together.

    Attributes:
        state: how far it has come.
        size: bytes of the records.
    """

    script = APPEND

    __slots__ = (
        "_answers",
        "_items",
        "_keys",
        "_publications",
        "_queue",
        "_timer",
        "size",
        "state",
    )

    def __init__(self, queue: LogQueue) -> None:
        self._queue = queue
        self._publications: list[Publication] = []
        self._answers: list[asyncio.Future[Appended]] = []
        self._items: list[bytes | str] = []
        self._keys: list[bytes] = []
        self.size = 0
        self.state = BatchState.QUEUED
        loop = asyncio.get_running_loop()
        # One time limit for all, the oldest's: those that join later are answered no later.
        self._timer = loop.call_later(queue.budget.timeout, self._expire)

    @property
    def over(self) -> bool:
        """All of them were answered, one way or another."""
        return self.state in FINAL

    @property
    def full(self) -> bool:
        """It takes no more."""
        # Once it was sent it stays as it is, also when it comes back: what goes again must be the same.
        return (
            self.state is not BatchState.QUEUED
            or len(self._answers) >= _BATCH_MESSAGES
            or self.size >= _BATCH_BYTES
        )

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, publication: Publication, record: bytes, dedupe: Dedupe | None) -> asyncio.Future[Appended]:
        """Take ``publication`` too."""
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._publications.append(publication)
        self._answers.append(answer)
        self._items.append(record)
        self.size += len(record)
        if dedupe is None:
            self._items.append(b"")
        else:
            self._items.append(b"=" + dedupe.fingerprint)
            self._items.append(publication.id)
            self._items.append(str(dedupe.window(self._queue.log.configuration.dedupe_window)))
            self._keys.append(self._queue.log.keys.once(dedupe.key))
        return answer

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """The keys, what this node has seen, what the stream may hold, and the publications."""
        if not self.over:  # publishers may have been told meanwhile, while the server asked for the script
            self.state = self.state.to(BatchState.IN_FLIGHT)
        log = self._queue.log
        # As they are when it goes, not when it was made: what the batch before brought is known by now.
        keys, limits = log.keys, log.configuration
        return (
            len(keys.all) + len(keys.groups) + len(self._keys), *keys.all, *keys.groups, *self._keys,
            *last_seen_args(log, self._queue.budget.publish),
            limits.max_messages, limits.max_bytes, int(limits.max_age * 1000),
            _TRIM_MESSAGES,
            int(limits.last_values), limits.last_values_max_topics, int(limits.last_values_max_age * 1000),
            *self._items,
        )  # fmt: skip

    def answered(self, reply: Reply) -> None:
        """Tell all publishers."""
        queue, budget = self._queue, self._queue.budget
        # Before publishers are told: who is told of an offset finds it in the log's bounds.
        queue.log.note(reply)
        budget.commits += bool(self._answers)
        budget.evicted += reply[7]
        name, time = queue.log.name, reply[5]
        for publication, answer, result in zip(self._publications, self._answers, reply[_HEAD:], strict=True):
            if type(result) is int and result > 0:
                publication.stream, publication.offset, publication.time = name, result, time
                budget.appended += 1
                appended = Appended(publication.id, result)
            elif type(result) is list:
                budget.repeated += 1
                # Somebody may have written this label. The others of the batch were kept.
                appended = Appended(result[1].decode(errors="replace"), result[0], repeated=True)
            elif result == _FULL:
                queue.log.full = True
                _fail(answer, StoreFull("the stream is full of what a group of consumers has yet to finish"))
                continue
            else:
                _fail(answer, Conflict("this idempotency key was first used with another topic or body"))
                continue
            if not answer.done():
                answer.set_result(appended)
        self._end(BatchState.KEPT)
        queue.log.appends.passed()
        queue.ended(self, more=bool(reply[6]))

    def refused(self, refusal: CommandRefused) -> None:
        """Tell all publishers that nothing was kept."""
        self._queue.log.appends.refused(refusal)
        self._fail_all(BatchState.REFUSED, unavailable(refusal))
        self._queue.ended(self)

    def lost(self, reason: str) -> None:
        """Tell all publishers that it may have been kept."""
        self._fail_all(BatchState.UNKNOWN, StreamUnavailable(f"{reason}; it may have been kept"))
        self._queue.ended(self)

    def again(self) -> None:
        """Go again in a moment: nothing was kept."""
        # Still the queue's batch in flight: what was accepted later has to wait behind it.
        if self.state is BatchState.IN_FLIGHT:
            self.state = self.state.to(BatchState.RETURNED)
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._queue.send, self)

    def fail(self, reason: str) -> None:
        """Tell all publishers before it is on its way."""
        self._fail_all(BatchState.REFUSED, StreamUnavailable(reason))
        self._queue.ended(self)

    def _expire(self) -> None:
        link = self._queue.log.appending
        if link is not None and link.up:
            self._queue.log.appends.refused("it does not answer in time")
        if self.state is BatchState.IN_FLIGHT:
            # What becomes of it is heard later, and the next batch waits for that; the publishers don't. Sent
            # behind it now, that one could be kept in a log in which this one is still to come.
            self._fail_all(
                BatchState.UNKNOWN, StreamUnavailable("Redis does not answer; it may have been kept")
            )
        else:
            self.fail("Redis is away")

    def _fail_all(self, state: BatchState, error: GatewayError) -> None:
        if not self.over:
            for answer in self._answers:
                if not answer.done():
                    self._queue.budget.failed += 1
                    # One each: an exception that is raised in several tasks gathers all their tracebacks.
                    _fail(answer, type(error)(*error.args))
            self._end(state)

    def _end(self, state: BatchState) -> None:
        if not self.over:
            self.state = self.state.to(state)
            self._timer.cancel()
            self._queue.budget.release(len(self), self.size)


class LogQueue:
    """One stream's way in.

    Attributes:
        log: the stream's.
        budget: counts and bounds.
    """

    def __init__(self, log: RedisLog, budget: AppendBudget) -> None:
        self.log = log
        self.budget = budget
        self._batches: deque[AppendBatch] = deque()
        self._in_flight: AppendBatch | None = None
        self._tidy_due = 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is on its way."""
        return self._in_flight is None

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
        self.budget.admit(len(record))
        return self._open().add(publication, record, dedupe)

    def tidy_at(self, now: float) -> None:
        """Tidy if it is time to: the longer publications are kept, the less it matters when they go.

        While Redis refuses appends this is also how it is asked whether it still does.
        """
        if now >= self._tidy_due or self.log.appends.lasting:
            limits = self.log.configuration
            soonest = min(limits.max_age, limits.last_values_max_age or limits.max_age)
            self._tidy_due = now + min(_TIDY_SECONDS, soonest / 10)
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
        if batch is not self._in_flight:
            # Its time was up while it waited.
            if batch in self._batches:
                self._batches.remove(batch)
            return
        self._in_flight = None
        if self._batches:
            self._launch(self._batches.popleft())
        elif more:
            self.tidy()

    def discard(self, reason: str) -> None:
        """Let go of everything that waits."""
        for batch in list(self._batches):
            batch.fail(reason)
        # Last, since each batch that ends lets the next one go.
        if self._in_flight is not None:
            self._in_flight.lost(reason)

    def _open(self) -> AppendBatch:
        """The batch that takes what is appended now."""
        # The first in line too, until the connection takes its arguments: what is appended in one turn of the
        # event loop goes together, and nothing waits for company.
        newest = self._batches[-1] if self._batches else self._in_flight
        if newest is None:
            newest = AppendBatch(self)
            self._launch(newest)
        elif newest.full:
            newest = AppendBatch(self)
            self._batches.append(newest)
        return newest

    def _launch(self, batch: AppendBatch) -> None:
        self._in_flight = batch
        self.send(batch)


def _fail(answer: asyncio.Future[Appended], error: GatewayError) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Publishers that have gone ask nobody: that is no record in the log.
        answer.exception()
