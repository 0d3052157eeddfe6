"""Appends that wait for a transaction, in order, bounded, none of them for long."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.errors import RateLimited, StreamUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Appended, Dedupe
    from gateway.streams.limits import StoreLimits


class Waiting:
    """One append: what is to be kept, and who waits for the answer since when (the loop's seconds)."""

    __slots__ = ("answer", "dedupe", "publication", "record", "since", "stream")

    def __init__(  # noqa: PLR0917 - one is made per message
        self,
        stream: str,
        publication: Publication,
        record: bytes,
        dedupe: Dedupe | None,
        answer: asyncio.Future[Appended],
        since: float,
    ) -> None:
        self.stream = stream
        self.publication = publication
        self.record = record
        self.dedupe = dedupe
        self.answer = answer
        self.since = since

    def fail(self, error: Exception) -> bool:
        """Answer with ``error``, unless there is an answer; whether there was none."""
        if self.answer.done():
            return False
        self.answer.set_exception(error)
        return True


class AppendQueue:
    """What waits to be taken into a transaction, and what is in the one under way."""

    __slots__ = ("_limits", "_taken", "_taken_bytes", "_waiting", "_waiting_bytes")

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._taken: list[Waiting] = []
        self._taken_bytes = 0

    def __len__(self) -> int:
        """How many wait to be taken."""
        return len(self._waiting)

    @property
    def messages(self) -> int:
        """How many are not yet done, those in the transaction too."""
        return len(self._waiting) + len(self._taken)

    @property
    def bytes(self) -> int:
        """Of the records of those."""
        return self._waiting_bytes + self._taken_bytes

    def put(self, waiting: Waiting) -> None:
        """Queue an append.

        Raises:
            RateLimited: as many or as large ones wait as may.
        """
        # What is in the transaction counts too: its records are in memory until it has ended.
        size = self._waiting_bytes + self._taken_bytes + len(waiting.record)
        if self.messages >= self._limits.waiting_messages or size > self._limits.waiting_bytes:
            raise RateLimited("more waits to be stored than may")
        self._waiting.append(waiting)
        self._waiting_bytes += len(waiting.record)

    def take(self) -> list[Waiting]:
        """The next transaction's appends, in order; they count as waiting until ``finish``."""
        waiting, limits = self._waiting, self._limits
        taken, size = self._taken, 0
        while waiting and len(taken) < limits.transaction_messages:
            size += len(waiting[0].record)
            # The first one goes whatever its size: it would never fit.
            if taken and size > limits.transaction_bytes:
                size -= len(waiting[0].record)
                break
            taken.append(waiting.popleft())
        self._waiting_bytes -= size
        self._taken_bytes = size
        return taken

    def finish(self) -> None:
        """Note that the transaction has ended, one way or the other."""
        self._taken = []
        self._taken_bytes = 0

    def expire(self, before: float) -> tuple[int, float | None]:
        """Fail what has waited since before that time, taken or not.

        Returns:
            How many were failed, and since when the oldest waits that is left.
        """
        error = "the store did not confirm the append in time; it may have been kept all the same"
        failed = 0
        # Those taken stay in the transaction: they can only be answered, not withdrawn. The others are.
        for each in self._taken:
            if each.since <= before:
                failed += each.fail(StreamUnavailable(error))
        while self._waiting and self._waiting[0].since <= before:
            failed += self._pop().fail(StreamUnavailable(error))
        return failed, next((each.since for each in self._unanswered()), None)

    def abandon(self, error: str) -> int:
        """Fail everything, taken or not; how many had no answer yet."""
        failed = sum(each.fail(StreamUnavailable(error)) for each in self._taken)
        while self._waiting:
            failed += self._pop().fail(StreamUnavailable(error))
        return failed

    def _pop(self) -> Waiting:
        waiting = self._waiting.popleft()
        self._waiting_bytes -= len(waiting.record)
        return waiting

    def _unanswered(self) -> Iterable[Waiting]:
        yield from (each for each in self._taken if not each.answer.done())
        yield from self._waiting
