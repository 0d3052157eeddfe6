"""The log is the bus: a tail follows each stream that somebody on this node subscribes to.

A tail long-polls the store behind the last offset it has, hands each publication to the hub in offset order,
and keeps the newest of them in a window, for those who are a little late. A lost wake-up or an outage of the
store does no harm: the tail stays where it is and reads on. Where it can't, since the log was trimmed past
it, has a hole or has begun a new epoch, everyone who was live reads on from where the tail was, and is told
what is missing. A new epoch may still hold what the window does: then all go on where the two lives part.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from gateway.core.cluster.stream_agreement import StreamAgreement
from gateway.core.messages.commands import Position
from gateway.core.streams.recent import TailWindow
from gateway.core.streams.shared_prefix import SharedPrefix
from gateway.core.streams.stream import FollowedStream
from gateway.core.timing.backoff import Backoff
from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.parked import CatchUp
    from gateway.core.streams.configuration import Bounds
    from gateway.core.streams.pages import Page
    from gateway.core.streams.stream import StreamMap
    from gateway.engine.delivery import DeliveryService
    from gateway.streams.base import Readable
    from gateway.supervision import Background

_PAGE = 1024
_TURN_SECONDS = 0.001
"""How long publications are fanned out before other work gets its turn."""

_WAIT_SECONDS = 10.0
_LINGER_SECONDS = 30.0
"""How long a tail goes on after the last interest, for those who come back."""

_AFTER_FAILURE = Backoff(first_seconds=0.1, limit_seconds=2.0)
_REMEMBERED_FILTERS = 4096


@dataclass(frozen=True, slots=True)
class TailStatistics:
    """Counts since the start, and sizes now.

    Attributes:
        followed: streams with a tail.
        failing: those of them whose last read failed.
        interrupted: times that a tail could not go on without a gap.
    """

    followed: int
    failing: int
    interrupted: int


class _Tail:
    """One stream's tail, and how many filters want it."""

    def __init__(self, stream: FollowedStream) -> None:
        self.stream = stream
        self.interest_count = 0
        self.left_at = 0.0
        self.seen = 0
        self.starting: asyncio.Future[None] | None = None
        self.error: StreamUnavailable | None = None
        self.wanted = asyncio.Event()
        self.recovering: asyncio.Future[None] | None = None

    def recovered(self) -> asyncio.Future[None]:
        """How the next attempt to read ends, which is made now: somebody waits for it."""
        if self.recovering is None:
            self.recovering = _promise()
            self.wanted.set()
        return self.recovering

    def attempted(self, error: StreamUnavailable | None) -> None:
        """An attempt to read has ended so."""
        self.error = error
        waiting, self.recovering = self.recovering, None
        if waiting is not None and error is None:
            waiting.set_result(None)
        elif waiting is not None:
            waiting.set_exception(_unreadable(self.stream))


class Tails:
    """The tails of this node, one per stream at most."""

    def __init__(
        self,
        streams: StreamMap,
        store: Readable,
        hub: Hub,
        delivery: DeliveryService,
        background: Background,
        *,
        begin: Callable[[CatchUp], None],
        agreement: StreamAgreement | None = None,
        window_messages: int = 4096,
        window_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        """Tail what ``streams`` names out of ``store``.

        Args:
            streams: those there are.
            store: keeps their logs.
            hub: gets what the tails bring.
            delivery: gives it to the hub and writes.
            background: the parent of the tails' tasks.
            begin: called with the readers of connections that a tail leaves behind.
            agreement: says whether what streams capture travels over the bus too; none on a node by itself.
            window_messages: publications that a window holds at most.
            window_bytes: about how large they are together at most.
        """
        self._streams = streams
        self._store = store
        self._hub = hub
        self._delivery = delivery
        self._background = background
        self._begin = begin
        self._agreement = agreement or StreamAgreement(streams.digest)
        self._window_messages = window_messages
        self._window_bytes = window_bytes
        self._clock = time.monotonic
        self._tails = {each.name: _Tail(FollowedStream(each)) for each in streams}
        self._under: dict[str, tuple[FollowedStream, ...]] = {}
        self._asked: dict[str, asyncio.Future[Bounds]] = {}
        self._interrupted = 0

    def __contains__(self, stream: object) -> bool:
        return stream in self._tails

    def get(self, stream: str) -> FollowedStream | None:
        """The stream of that name."""
        tail = self._tails.get(stream)
        return None if tail is None else tail.stream

    def streams(self, topic_filter: str) -> tuple[FollowedStream, ...]:
        """The streams of which ``topic_filter`` may match something."""
        found = self._under.get(topic_filter)
        if found is None:
            if len(self._under) >= _REMEMBERED_FILTERS:
                self._under.clear()
            found = tuple(self._tails[name].stream for name in self._streams.under(topic_filter))
            self._under[topic_filter] = found
        return found

    def enter(self, streams: tuple[FollowedStream, ...]) -> None:
        """This node has one more interest in these streams."""
        for stream in streams:
            tail = self._tails[stream.name]
            tail.interest_count += 1
            if stream.window is None and tail.starting is None:
                self._start(tail)

    def leave(self, streams: tuple[FollowedStream, ...]) -> None:
        """One interest in these streams has ended; the last one's tail lingers a while."""
        for stream in streams:
            tail = self._tails[stream.name]
            tail.interest_count -= 1
            tail.left_at = self._clock()

    def follow(self, streams: tuple[FollowedStream, ...]) -> bool:
        """Whether all of these streams are followed now; ``started`` awaits it."""
        return all(stream.window is not None and self._tails[stream.name].error is None for stream in streams)

    async def started(self, streams: tuple[FollowedStream, ...]) -> None:
        """Return once these streams, in which the caller has an interest, are followed.

        A tail that failed reads again at once, whatever its pause: what it knew may be over.

        Raises:
            StreamUnavailable: the store can't be reached, so nobody knows what the stream holds.
        """
        for stream in streams:
            tail = self._tails[stream.name]
            if stream.window is None:
                if tail.starting is None:
                    self._start(tail)
                assert tail.starting is not None
                await asyncio.shield(tail.starting)
            elif tail.error is not None:
                await asyncio.shield(tail.recovered())

    async def bounds(self, stream: FollowedStream) -> Bounds:
        """What the log holds now; those who ask while an answer is on its way share it.

        Raises:
            StreamUnavailable: the store can't be reached.
        """
        answer = self._asked.get(stream.name)
        if answer is None:
            answer = self._asked[stream.name] = _promise()
            self._background.start(self._ask_bounds, stream, answer)
        return await asyncio.shield(answer)

    def note_bounds(self, stream: FollowedStream, bounds: Bounds) -> None:
        """Somebody has read the log's bounds: it must never end before what was seen."""
        tail = self._tails[stream.name]
        if stream.window is not None and stream.window.epoch == bounds.epoch:
            tail.seen = max(tail.seen, bounds.last)

    def failing(self, stream: str) -> bool:
        """Whether the stream of that name is followed, and could not be read last."""
        tail = self._tails[stream]
        return tail.stream.window is not None and tail.error is not None

    def statistics(self) -> TailStatistics:
        """A snapshot for metrics, health and tests."""
        followed = [each for each in self._tails.values() if each.stream.window is not None]
        failing = sum(each.error is not None for each in followed)
        return TailStatistics(len(followed), failing, self._interrupted)

    async def _ask_bounds(self, stream: FollowedStream, answer: asyncio.Future[Bounds]) -> None:
        try:
            bounds = await self._store.bounds(stream.name)
        except StreamUnavailable as error:
            answer.set_exception(error)
        else:
            self.note_bounds(stream, bounds)
            answer.set_result(bounds)
        finally:
            del self._asked[stream.name]
            answer.cancel()

    def _start(self, tail: _Tail) -> None:
        tail.starting = _promise()
        self._background.start(self._run, tail, tail.starting)

    async def _run(self, tail: _Tail, starting: asyncio.Future[None]) -> None:
        try:
            bounds = await self._store.bounds(tail.stream.name)
        except StreamUnavailable as error:
            tail.starting = None
            starting.set_exception(error)
            return
        except BaseException:
            tail.starting = None
            starting.set_exception(_unreadable(tail.stream))
            raise
        tail.stream.window = TailWindow(
            tail.stream.name,
            bounds.epoch,
            bounds.last,
            first=bounds.first,
            messages=self._window_messages,
            size=self._window_bytes,
        )
        tail.seen, tail.error, tail.starting = bounds.last, None, None
        starting.set_result(None)
        await self._background.supervision.until_done("tail", partial(self._follow, tail))

    async def _follow(self, tail: _Tail) -> None:
        failures = 0
        while tail.interest_count or self._clock() - tail.left_at < _LINGER_SECONDS:
            try:
                # After a failure the first answer must come at once: subscribers wait for it.
                page = await self._read(tail, wait=_WAIT_SECONDS if tail.error is None else 0.0)
            except StreamUnavailable as error:
                failures += 1
                tail.wanted.clear()
                tail.attempted(error)
                with anyio.move_on_after(_AFTER_FAILURE.wait(failures)):
                    await tail.wanted.wait()
                continue
            except BaseException:
                tail.attempted(_unreadable(tail.stream))
                raise
            failures = 0
            tail.attempted(None)
            if page is not None:
                await self._take(tail, page)
            # A store that always has something must not keep the event loop to itself.
            await anyio.lowlevel.checkpoint()
        tail.stream.window = None

    async def _read(self, tail: _Tail, *, wait: float) -> Page | None:
        """The next page, or None where the log has begun a new epoch."""
        window = tail.stream.tail
        page = await self._store.read(window.stream, window.last, messages=_PAGE, wait=wait)
        bounds = page.bounds
        if bounds.epoch == window.epoch:
            if bounds.last >= tail.seen:
                return page
            # What this node has read is gone. If its offsets were given to others, nobody would notice.
            bounds = await self._store.raise_epoch(window.stream, Position(window.epoch, tail.seen))
        await self._begin_epoch(tail, bounds)
        return None

    async def _take(self, tail: _Tail, page: Page) -> None:
        stream, window, bounds = tail.stream, tail.stream.tail, page.bounds
        tail.seen = max(tail.seen, bounds.last)
        window.first = max(window.first, bounds.first)
        if page.holes:
            # Who was live is told of them where they lie, between the publications, by reading this part.
            self._interrupt(stream)
            window.restart(window.epoch, page.last, first=bounds.first)
            return
        first = page.publications[0].offset if page.publications else bounds.first
        assert first is not None
        if first > window.last + 1:
            self._interrupt(stream)
            window.restart(window.epoch, first - 1, first=bounds.first)
        until = time.monotonic() + _TURN_SECONDS
        both_ways = self._agreement.both_ways
        for publication in page.publications:
            window.push(publication)
            # Nodes may differ in a stream's filter: what it doesn't capture here comes over the bus then.
            if not both_ways or self._streams.capturing(publication.topic) == stream.name:
                self._delivery.deliver_captured(publication, stream)
            if time.monotonic() > until:
                await anyio.lowlevel.checkpoint()
                until = time.monotonic() + _TURN_SECONDS

    async def _begin_epoch(self, tail: _Tail, bounds: Bounds) -> None:
        window = tail.stream.tail
        prefix = SharedPrefix(window, bounds)
        while not prefix.done:
            prefix.look(await self._store.read(window.stream, prefix.after, messages=prefix.messages))
        bounds = prefix.bounds
        if bounds.epoch == window.epoch:
            return
        self._interrupt(tail.stream)
        if prefix.shared is None:
            window.restart(bounds.epoch, bounds.last, first=bounds.first)
        else:
            window.part(bounds.epoch, prefix.shared, first=bounds.first)
        tail.seen = bounds.last

    def _interrupt(self, stream: FollowedStream) -> None:
        self._interrupted += 1
        for catch_up in self._hub.interrupt(stream):
            self._begin(catch_up)


def _unreadable(stream: FollowedStream) -> StreamUnavailable:
    return StreamUnavailable(f"stream {stream.name!r} can't be read now")


def _promise() -> asyncio.Future[Any]:
    promise: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    # Whoever waited may have gone by the time that it fails.
    promise.add_done_callback(lambda done: done.cancelled() or done.exception())
    return promise
