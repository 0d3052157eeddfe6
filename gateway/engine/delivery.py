"""From an accepted publication to the sockets: gathers a tick's frames and writes each connection once."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.core.messages.events import Gap
from gateway.core.session.close_codes import CloseCode
from gateway.core.statistics.latencies import Latencies
from gateway.core.streams.stream import may_be_live
from gateway.core.topics.grammar import covers
from gateway.engine.writing import write_each, write_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.fanout.hub import Hub
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.stream import FollowedStream
    from gateway.engine.writing import BulkSender

_SLICE: Final = 256
"""Connections written before other work gets its turn, where they are written fast enough."""

_SLICE_SECONDS: Final = 0.002
"""How long that may take: large frames, and a busy machine, make a slice smaller."""

_GATHER_SECONDS = 0.003
"""How long a slice waits for a reader that has more at hand: much of it goes to the same connections."""

_STEP: Final = 64
"""Connections written between two looks at the clock, and at once where that is possible."""

_LARGE: Final = 2048
"""A fan-out to so many has taken its turn once its frames are appended: 0.3 µs each, which is one step."""

_DRAIN_BYTES: Final = 64 * 1024
"""What a connection that was blocked is given per write."""


class DeliveryService:
    """The one path in for every publication, and the only place that writes to sinks.

    Attributes:
        both_ways: whether what streams capture travels over the bus too.
        sender: sends to many sockets at once; None: each connection is written by itself.
        latencies: of fan-outs, from the first publication in hand until all that it touched were written.
    """

    def __init__(self, hub: Hub, *, resumed: Callable[[Outbox], None] | None = None) -> None:
        """Write what ``hub`` gives; ``resumed`` is told when a connection with parked readers is direct."""
        self._hub = hub
        self._scheduled = False
        self._began: float | None = None
        self._gathering = False
        self._gather_until = 0.0
        self._delivered = 0
        self.latencies = Latencies()
        self._resumed = resumed
        self._awaiting: dict[Outbox, dict[Callable[[], None], None]] = {}
        self.both_ways: Callable[[], bool] = bool
        self.sender: BulkSender | None = None

    def deliver(self, publication: Publication) -> None:
        """Fan ``publication`` out; it is written at the end of this turn of the event loop."""
        if self._hub.deliver(publication):
            self.flush()
        elif not self._scheduled:
            self._schedule()

    def deliver_captured(self, publication: Publication, stream: FollowedStream) -> None:
        """As ``deliver``, for what the tail of a stream brings."""
        if self._hub.deliver_captured(publication, stream):
            self.flush()
        elif not self._scheduled:
            self._schedule()

    def write_now(self, outbox: Outbox, frames: list[bytes]) -> None:
        """Write ``frames`` to one direct connection now, behind what it was given before."""
        if frames:
            outbox.append(b"".join(frames))
            write_each([outbox])

    def send(self, outbox: Outbox, event: Event) -> None:
        """Send one event to one connection, in order with what it was given before."""
        self._hub.reply(outbox, event)
        if not self._scheduled:
            self._schedule()

    def announce_loss(self, affects: Callable[[str], bool], dropped: int | None) -> None:
        """Tell every connection that something between the nodes was lost, once, where it may concern it.

        It concerns nobody who subscribes only to what streams capture, unless that travels both ways: it is
        read from them.

        Args:
            affects: whether a subscription with this filter may have missed something.
            dropped: how many publications, on whatever topics; told to those alone who subscribe to
                everything, since nobody knows on which topics they were. None: unknown.
        """
        affected: dict[str, bool] = {}
        both_ways = self.both_ways()
        for outbox, filters in self._hub.connections():
            for topic_filter in filters:
                if topic_filter not in affected:
                    streams = outbox.subscriptions[topic_filter].streams
                    heard = both_ways or may_be_live(topic_filter, streams)
                    affected[topic_filter] = heard and affects(topic_filter)
            if any(affected[topic_filter] for topic_filter in filters):
                exact = any(covers(topic_filter, "#") for topic_filter in filters)
                self.send(outbox, Gap("bus", dropped=dropped if exact else None))

    def gather(self) -> None:
        """Let what is pending wait for more, a little: a publisher has had its turn, and not come to its end.

        Each write costs a system call however little it carries. So who publishes without a pause is read in
        short turns, between those of others, and what it brings is written as if it had been a long one.
        """
        self._gathering = True

    def flush(self) -> None:
        """Write everything now."""
        while outboxes := self._hub.take_writes(_SLICE):
            self._write(outboxes)
        self._close_overflowed()

    def flush_one(self, outbox: Outbox) -> None:
        """Write what ``outbox`` has pending now, ahead of its turn; where it is blocked, its replies alone.

        For a connection that is about to be closed: why must not be lost behind what it doesn't read.
        """
        self._hub.flush_run()
        if outbox.direct:
            write_each([outbox])
        elif frames := outbox.take_replies():
            outbox.write(frames)

    def when_direct(self, outbox: Outbox, awaited: Callable[[], None]) -> None:
        """Have ``awaited`` called once, when ``outbox`` is direct again, or ends; asked twice, it is once."""
        self._awaiting.setdefault(outbox, {})[awaited] = None

    def forget(self, outbox: Outbox) -> None:
        """``outbox`` has ended: nobody waits for it any more."""
        if self._awaiting:
            self._awaiting.pop(outbox, None)

    def resume(self, outbox: Outbox) -> None:
        """``outbox``'s transport takes again: write what waits, until it is full or all is written."""
        # Portions, and a look after each: the transport may stop taking again in the middle of them.
        self._hub.unblock(outbox)
        while outbox.blocked_since is None and (frames := outbox.take(_DRAIN_BYTES)):
            outbox.write(frames)
        if self._resumed is not None and outbox.direct and self._hub.has_parked(outbox):
            self._resumed(outbox)
        if self._awaiting and outbox.direct:
            for awaited in self._awaiting.pop(outbox, ()):
                awaited()

    def _schedule(self) -> None:
        self._scheduled = True
        now = monotonic()
        self._gather_until = now + _GATHER_SECONDS
        if self._began is None:
            self._began = now
        asyncio.get_running_loop().call_soon(self._write_slice)

    def _write_slice(self) -> None:
        if self._gathering:
            # Said anew each time: a reader that is paused, or gone, keeps nobody waiting.
            self._gathering = False
            if monotonic() < self._gather_until:
                asyncio.get_running_loop().call_soon(self._write_slice)
                return
        # Before anything is written: a write may block a connection, and what that brings wants a turn again.
        self._scheduled = False
        hub = self._hub
        earlier = hub.unwritten
        hub.flush_run()
        self._write_in_time(_SLICE if hub.unwritten - earlier < _LARGE else _STEP)
        self._close_overflowed()
        if hub.unwritten:
            self._schedule()
        else:
            self._note_latency()

    def _write_in_time(self, limit: int) -> None:
        hub = self._hub
        outboxes = hub.take_writes(limit)
        if len(outboxes) <= _STEP:
            self._write(outboxes)
            return
        until = monotonic() + _SLICE_SECONDS
        for first in range(0, len(outboxes), _STEP):
            self._write(outboxes[first : first + _STEP])
            if monotonic() > until:
                hub.put_back(outboxes[first + _STEP :])
                return

    def _write(self, outboxes: list[Outbox]) -> None:
        if self.sender is None:
            write_each(outboxes)
        else:
            write_together(outboxes, self.sender)

    def _note_latency(self) -> None:
        began, self._began = self._began, None
        delivered = self._hub.delivered
        # Turns that brought replies alone were no fan-out.
        if delivered != self._delivered and began is not None:
            self._delivered = delivered
            self.latencies.note(monotonic() - began)

    def _close_overflowed(self) -> None:
        for outbox in self._hub.take_overflowed():
            outbox.sink.close(CloseCode.SLOW_CONSUMER, CloseCode.SLOW_CONSUMER.reason)
