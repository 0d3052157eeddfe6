"""What reads and looks at logs: one call each, answered once or not in time."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.core.streams.pages import Page, page_through
from gateway.errors import StoreFull, StreamUnavailable
from gateway.streams.redis.entries import decode_entries, ranges, with_purged
from gateway.streams.redis.scripts import DESCRIBE, READ, head_of
from gateway.streams.statistics import StreamStatistics

if TYPE_CHECKING:
    from gateway.core.messages.commands import Position
    from gateway.core.streams.configuration import Bounds
    from gateway.errors import GatewayError
    from gateway.redis.wire import CommandRefused, Reply
    from gateway.streams.redis.link import CallLink
    from gateway.streams.redis.log import RedisLog
    from gateway.streams.redis.script import Script

AGAIN_SECONDS = 0.05
"""The pause before a call goes again that was refused by a server that is not ready, or not the right one."""

_HEAD = 5

T = TypeVar("T")


def unavailable(refusal: CommandRefused) -> StreamUnavailable:
    """What a refused call means to who asked for it; Redis' words are for the log."""
    if refusal.code == "OOM":
        return StoreFull("Redis has no memory left for streams (maxmemory)")
    return StreamUnavailable(f"Redis refuses: {refusal}")


def last_seen_args(
    log: RedisLog, publish: str, seen: Position | None = None
) -> tuple[str | bytes | int, ...]:
    """The arguments by which every script begins: what this node, or ``seen``, says of the log."""
    # Scripts have no randomness of their own that differs after a failover: a header has to be unlike any
    # that another log, or another life of this one, has at the same offset.
    nonce = secrets.token_hex(5)
    if seen is not None:
        return seen.epoch, seen.offset, b"", nonce, publish
    return log.epoch, log.offset, log.header, nonce, publish


class ReadOnlyCall(Generic[T]):
    """A call that changes nothing, so it may be repeated and nothing is lost when its answer is.

    Attributes:
        notified: how often the log's signal had notified when the answer was true.
        refusals: counts it where Redis refuses it.
    """

    def __init__(self, log: RedisLog, script: Script, publish: str, *, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.script = script
        self.notified = log.signal.notified
        self._log = log
        self.refusals = log.reads
        self._publish = publish
        self._answer: asyncio.Future[T] = loop.create_future()
        self._loop = loop
        self._timeout = timeout

    @property
    def size(self) -> int:
        """Bytes that its answer may have; few where it is no page."""
        return 0

    @property
    def over(self) -> bool:
        """Nobody waits any more."""
        return self._answer.done()

    async def answer(self) -> T:
        """Submit it and wait.

        Raises:
            StreamUnavailable: no answer in time, or a refusal.
        """
        try:
            async with asyncio.timeout(self._timeout):
                self._go()
                # One time limit over all attempts: a reader is told the truth rather than kept.
                return await self._answer
        except TimeoutError:
            link = self._link()
            if link is not None and link.up:
                self.refusals.refused("it does not answer in time")
            raise StreamUnavailable("Redis does not answer") from None

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """The keys, what this node has seen, and what is asked."""
        keys = self._log.keys
        # As late as possible, since it may have waited for its turn; what came before is in the answer.
        self.notified = self._log.signal.notified
        return len(keys.all), *keys.all, *self._last_seen_args(), *self._question()

    def answered(self, reply: Reply) -> None:
        """Take the answer."""
        # The answer itself may be the news. Counted as missed, it would make each reader read twice.
        quiet = self._log.signal.notified == self.notified
        self._log.note(reply)
        self.refusals.passed()
        if quiet:  # then it can only have notified for this very answer
            self.notified = self._log.signal.notified
        if not self._answer.done():
            try:
                self._answer.set_result(self._read(reply))
            except StreamUnavailable as exc:
                self._fail(exc)

    def refused(self, refusal: CommandRefused) -> None:
        """Take the refusal for an answer."""
        self.refusals.refused(refusal)
        self._fail(unavailable(refusal))

    def lost(self, reason: str) -> None:  # noqa: ARG002 - whatever it was, it can go again
        """Ask again."""
        self.again()

    def again(self) -> None:
        """Ask again in a moment, until the time is up."""
        self._loop.call_later(AGAIN_SECONDS, self._go)

    def _go(self) -> None:
        if self._answer.done():
            return
        link = self._link()
        if link is None:
            self.again()
        elif not link.accepting:
            self._fail(StreamUnavailable("Redis is away"))
        else:
            link.submit(self)

    def _link(self) -> CallLink | None:
        return self._log.reading

    def _fail(self, error: GatewayError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            # A reader that leaves at this very moment asks nobody: that is no record in the log.
            self._answer.exception()

    def _last_seen_args(self) -> tuple[str | bytes | int, ...]:
        return last_seen_args(self._log, self._publish)

    def _question(self) -> tuple[str | bytes | int, ...]:
        raise NotImplementedError

    def _read(self, reply: Reply) -> T:
        raise NotImplementedError


class ReadCall(ReadOnlyCall[Page]):
    """Asks for the publications behind an offset."""

    def __init__(
        self, log: RedisLog, publish: str, after: int, *, messages: int, size: int, timeout: float
    ) -> None:
        super().__init__(log, READ, publish, timeout=timeout)
        self._after = after
        self._messages = messages
        self._bytes = size

    @property
    def size(self) -> int:
        """Bytes that its answer may have: pages that are asked for together wait in memory together."""
        return self._bytes

    def _question(self) -> tuple[str | bytes | int, ...]:
        return self._after, self._messages, self._bytes

    def _read(self, reply: Reply) -> Page:
        through, purged = reply[_HEAD : _HEAD + 2]
        # What no gateway wrote so, or is damaged, is missing from the page, and that tells it.
        publications = decode_entries(reply, _HEAD + 2, self._log.name)
        page = page_through(_bounds(reply), publications, after=self._after, through=through)
        if purged:
            page = replace(page, holes=with_purged(page.holes, ranges(purged)))
        return page


class DescribeCall(ReadOnlyCall[tuple[StreamStatistics, int]]):
    """Asks for a log's figures, and for the offset before a time."""

    def __init__(
        self, log: RedisLog, publish: str, *, timeout: float, time: int = 0, seen: Position | None = None
    ) -> None:
        super().__init__(log, DESCRIBE, publish, timeout=timeout)
        self._time = time
        self._seen = seen

    def _last_seen_args(self) -> tuple[str | bytes | int, ...]:
        return last_seen_args(self._log, self._publish, self._seen)

    def _question(self) -> tuple[str | bytes | int, ...]:
        return (self._time,)

    def _read(self, reply: Reply) -> tuple[StreamStatistics, int]:
        size, first, last, before, values = reply[_HEAD:]
        statistics = StreamStatistics(
            _bounds(reply),
            size,
            None if first < 0 else first,
            None if last < 0 else last,
            last_values=values if self._log.configuration.last_values else 0,
        )
        return statistics, before


def _bounds(reply: Reply) -> Bounds:
    return head_of(reply).bounds
