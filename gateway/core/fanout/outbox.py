"""One connection's way out: direct while it is writable, bounded while it isn't.

A writable connection has no queue: the fan-out leaves shared bytes in ``pending`` and the engine
writes them at the end of the tick. From ``block`` on, publications wait in a ``Backlog`` under their
subscriptions' overflow policies, and replies in a lane that data cannot block, until ``take`` has
emptied both. The transport's own buffer counts as part of the bound.

The fan-out reads ``direct`` and sets ``pending`` itself, and the engine calls ``write``: besides the system
call, a delivery costs what each object of the connection costs that it touches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.core.fanout.backlog import Backlog, Offer
from gateway.core.fanout.subscription import Subscription, governing
from gateway.core.topics.grammar import matches
from gateway.errors import OutboxClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.fanout.batch import Batch
    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.events import Event
    from gateway.core.streams.stream import FollowedStream


_CROWDED = 4096
"""Publications that wait times subscriptions, each to be held to each: about a millisecond."""


class Sink(Protocol):
    """Where a connection's frames go."""

    def write(self, frames: bytes) -> None:
        """Hand over complete frames, joined; may call ``Outbox.block`` before it returns."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection with a close frame, or without one where it can't be written."""
        ...


class Buffering(Protocol):
    """What a sink writes to, as far as it is asked whether it keeps the order by itself."""

    def get_write_buffer_size(self) -> int:
        """How many bytes it holds that must go out before any others."""
        ...


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """What one connection may hold.

    Attributes:
        messages: publications that may wait.
        bytes: what may wait and lie in the transport's buffer, together.
        lane_bytes: replies that may wait; beyond, the client must not be read.
    """

    messages: int = 1024
    bytes: int = 1024 * 1024
    lane_bytes: int = 64 * 1024


class Outbox:
    """The frames on their way to one connection, and the subscriptions that they are for.

    Attributes:
        sink: where frames go.
        encoder: the connection's wire format.
        subscriptions: by filter.
        write: the sink's, which keeps it up to date where that changes.
        transport: whose socket takes the very bytes that ``write`` is given, whenever it holds none itself;
            None where it doesn't, or no longer. The sink keeps it up to date as well.
        descriptor: of that socket.
        pending: what this tick brought and isn't written, shared with others: None, one piece, or several.
            Set only while ``direct``.
        direct: nothing waits and the transport takes more.
        closed: the connection has ended; nothing more is taken.
        blocked_since: when the transport stopped taking, on the caller's clock, or None.
    """

    __slots__ = (
        "_backlog",
        "_held",
        "_lane",
        "_lane_bytes",
        "_limits",
        "blocked_since",
        "closed",
        "descriptor",
        "direct",
        "encoder",
        "pending",
        "sink",
        "subscriptions",
        "transport",
        "write",
    )

    def __init__(self, sink: Sink, encoder: Encoder, limits: OutboxLimits) -> None:
        self.sink = sink
        self.encoder = encoder
        # Changed by the hub alone. Here and not in a table of the hub's: that would cost each idle connection
        # an entry, and what waits here is governed by them.
        self.subscriptions: dict[str, Subscription] = {}
        self.write: Callable[[bytes], None] = sink.write
        self.transport: Buffering | None = None
        self.descriptor = -1
        self.pending: bytes | list[bytes] | None = None
        self.direct = True
        self.closed = False
        self.blocked_since: float | None = None
        self._limits = limits
        # The slow state is made when it is needed: most connections never are slow.
        self._backlog: Backlog | None = None
        self._lane: list[bytes] | None = None
        self._lane_bytes = 0
        self._held = 0

    @property
    def lane_full(self) -> bool:
        """Replies wait beyond their bound: nothing more may be read from this client."""
        return self._lane_bytes > self._limits.lane_bytes

    @property
    def waiting_messages(self) -> int:
        """Publications that wait for the transport."""
        return self._backlog.messages if self._backlog is not None else 0

    @property
    def dropped(self) -> int:
        """Publications lost since the connection was last direct."""
        return self._backlog.dropped if self._backlog is not None else 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait here; the transport's buffer is not among them."""
        waiting = self._backlog.bytes if self._backlog is not None else 0
        return waiting + self._lane_bytes + sum(map(len, self._pieces()))

    def fill(self, transport_bytes: int) -> float:
        """How full it is, the transport too, 0 to 1 and beyond: the fuller of messages and bytes."""
        limits = self._limits
        waiting = self.waiting_bytes + transport_bytes
        return max(self.waiting_messages / limits.messages, waiting / limits.bytes)

    @property
    def crowded(self) -> bool:
        """So much waits under so many subscriptions that a change of one of them would take long.

        Each publication that waits may have to be given to another subscription that matches it.
        """
        backlog = self._backlog
        return backlog is not None and backlog.messages * len(self.subscriptions) > _CROWDED

    def append(self, frames: bytes) -> bool:
        """Have ``frames`` written behind what is pending; only while ``direct``.

        Returns:
            True if nothing was pending: the caller must see to it that ``pending`` is written.
        """
        pending = self.pending
        if pending is None:
            self.pending = frames
            return True
        if isinstance(pending, list):
            pending.append(frames)
        else:
            self.pending = [pending, frames]
        return False

    def _pieces(self) -> list[bytes]:
        pending = self.pending
        if pending is None:
            return []
        return pending if isinstance(pending, list) else [pending]

    def block(self, transport_bytes: int, *, now: float) -> None:
        """The transport takes no more; it holds ``transport_bytes`` already, which count."""
        self.direct = False
        # A transport may say it twice; that it has taken nothing is true since the first time.
        if self.blocked_since is None:
            self.blocked_since = now
        self._held = transport_bytes

    def unblock(self) -> None:
        """The transport takes again. ``direct`` only follows when ``take`` has nothing left to give."""
        self.blocked_since = None
        self._held = 0

    def reply(self, event: Event) -> bool:
        """Queue a reply or a control frame, ahead of what waits.

        Returns:
            True if the caller must see to it that ``pending`` is written.
        """
        if self.closed:
            return False
        frame = self.encoder.encode(event)
        if self.direct:
            return self.append(frame)
        if self._lane is None:
            self._lane = []
        self._lane.append(frame)
        self._lane_bytes += len(frame)
        return False

    def offer(self, batch: Batch, subscription: Subscription) -> Offer:
        """Queue ``batch`` while the connection isn't direct, or apply the overflow policy.

        Returns:
            ``OVERFLOWED`` when the subscriber is a slow consumer that the caller must close.

        Raises:
            OutboxClosed: the connection has already gone.

        Spec: docs/protocol.md, "Overflow".
        """
        backlog = self._waiting(subscription)
        return backlog.offer(batch, subscription, messages=self._limits.messages, room=self._room())

    def enqueue_prefix(self, batch: Batch, subscription: Subscription) -> int:
        """Queue as much of a stream's ``batch`` as there is room for; return how many of its publications.

        Raises:
            OutboxClosed: the connection has already gone.
        """
        backlog = self._waiting(subscription)
        return backlog.enqueue_prefix(batch, subscription, messages=self._limits.messages, room=self._room())

    def release(self) -> dict[FollowedStream, int] | None:
        """Let go of the publications that wait, if streams hold all of them; see ``Backlog.release``."""
        return {} if self._backlog is None else self._backlog.release()

    def first_waiting(self, stream: FollowedStream) -> int | None:
        """The offset of the first publication of a stream that waits, or None."""
        return None if self._backlog is None else self._backlog.first_waiting(stream)

    def _waiting(self, subscription: Subscription) -> Backlog:
        if self.closed:
            raise OutboxClosed(subscription.filter)
        if self._backlog is None:
            self._backlog = Backlog()
        return self._backlog

    def _room(self) -> int:
        return self._limits.bytes - self._held - sum(map(len, self._pieces()))

    def take(self, budget: int) -> bytes:
        """Remove and return what goes next, about ``budget`` bytes; empty when the way is direct again.

        For the time after ``unblock``: first what was already on its way, then replies, then what waits.
        """
        # Pending was given while the connection was direct, so before everything that waits.
        frames = self._pieces()
        self.pending = None
        if self._lane:
            frames += self._lane
            self._lane = None
            self._lane_bytes = 0
        if self._backlog:
            room = max(1, budget - sum(map(len, frames)))
            frames += self._backlog.take(room, self.encoder.encode)
        if not frames:
            # Not before a call finds nothing: writing the last frames may block the connection once more, and
            # what was accepted meanwhile must come behind them.
            self.direct = self.blocked_since is None and not self.closed
            self._backlog = None
        return b"".join(frames)

    def take_replies(self) -> bytes:
        """Remove and return all but the publications that wait: the last words to a blocked connection."""
        frames = self._pieces() + (self._lane or [])
        self.pending = None
        self._lane = None
        self._lane_bytes = 0
        return b"".join(frames)

    def matching(self, topic: str) -> list[Subscription]:
        """Its live subscriptions that match ``topic``, looked for one by one."""
        return [each for each in self.subscriptions.values() if each.live and matches(each.filter, topic)]

    def governing(
        self,
        topic: str,
        batch: Batch | None = None,
        matching: Callable[[str], Sequence[Subscription]] | None = None,
    ) -> Subscription | None:
        """The subscription whose policy decides over a publication on ``topic``, or None.

        A ``batch`` that it waits in tells whether a stream captured it, or whether one subscription alone
        gets it. ``matching`` is the same as the outbox's own, from an index.
        """
        # A frame that bears a filter is for that subscription alone, whatever else matches its topic.
        if batch is not None and batch.filter is not None:
            return self.subscriptions.get(batch.filter)
        found = (matching or self.matching)(topic)
        captured = batch is not None and batch.stream is not None
        return governing(found, captured=captured) if found else None

    def discard(
        self, subscription: Subscription, matching: Callable[[str], Sequence[Subscription]] | None = None
    ) -> None:
        """Let go of what waits for ``subscription`` alone; its untold gaps go ahead of its last reply."""
        if self._backlog is None:
            return

        def successor(topic: str, batch: Batch) -> Subscription | None:
            return self.governing(topic, batch, matching)

        for gap in self._backlog.discard(subscription, successor):
            self.reply(gap)

    def close(self) -> None:
        """Let go of everything; what waits is lost with the connection."""
        self.closed = True
        self.direct = False
        self.pending = None
        self._lane = None
        self._backlog = None
        self._lane_bytes = self._held = 0
