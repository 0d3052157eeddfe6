"""What waits for a connection that can't take more, and what is lost when too much waits.

One order over everything that waits, whatever its policy, since the client must see one topic's
publications in order. Beside it one index per policy that chooses its victims: the oldest that a
``drop_oldest`` governs, the one that a newer publication of its topic supersedes under ``latest``.
A policy drops only what it governs. Where it governs nothing that waits, the newcomer itself is lost.

Publications come and wait in batches that all connections share. A connection that lags far behind a busy
topic then costs a few operations per batch, not per message: it must not slow the others down.

What a stream holds and ``spill`` governs is never dropped: as much of it waits as there is room for, and the
caller reads the rest from the stream later.

A gap of ``drop_newest`` lies behind what waits, so it waits there too, as a marker; the gaps of the
other policies lie before everything that is left, and are told first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core.messages.commands import Overflow
from gateway.core.messages.events import Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.fanout.batch import Batch
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.streams.stream import FollowedStream


class Offer(Enum):
    """What became of publications that were offered."""

    QUEUED = "queued"
    DROPPED = "dropped"  # some of these or of older ones are lost, and counted
    OVERFLOWED = "overflowed"  # the policy is to disconnect: the caller must close the connection


class _Segment:
    """The publications of a batch from ``first`` up to, not including, ``last``."""

    __slots__ = ("batch", "first", "last", "subscription")

    def __init__(self, batch: Batch, first: int, last: int, subscription: Subscription) -> None:
        self.batch = batch
        self.first = first
        self.last = last
        self.subscription = subscription


class _Marker:
    __slots__ = ("count", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.count = 0


class Backlog:
    """Publications of one connection in acceptance order, bounded in messages and bytes.

    Attributes:
        messages: how many publications wait.
        bytes: the size of their frames.
        dropped: publications lost since it was made.
    """

    __slots__ = (
        "_entries",
        "_gaps",
        "_latest",
        "_markers",
        "_next",
        "_oldest",
        "bytes",
        "dropped",
        "messages",
    )

    def __init__(self) -> None:
        # By a number that only grows, so their order is that of acceptance. The indexes hold numbers: each
        # names its victim at once, and what leaves the middle leaves it in constant time.
        self._entries: OrderedDict[int, _Segment | _Marker] = OrderedDict()
        self._oldest: deque[int] = deque()
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._markers: dict[Subscription, _Marker] = {}
        self._gaps: dict[Subscription, None] = {}
        self._next = 0
        self.messages = 0
        self.bytes = 0
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._entries or self._gaps)

    def offer(self, batch: Batch, subscription: Subscription, *, messages: int, room: int) -> Offer:
        """Queue ``batch``, or apply ``subscription``'s policy; never waits.

        Args:
            batch: what was published.
            subscription: the one that governs all of it.
            messages: how many may wait at most.
            room: how many bytes may wait at most.
        """
        lost_before = self.dropped
        policy = subscription.overflow
        if policy is Overflow.LATEST:
            self._queue_latest(batch, subscription, messages, room)
        elif policy is Overflow.DROP_OLDEST or policy is Overflow.SPILL:
            self._queue(batch, 0, len(batch), subscription)
            self._evict_oldest(messages, room)
        elif self.messages + len(batch) <= messages and self.bytes + batch.size(0, len(batch)) <= room:
            self._queue(batch, 0, len(batch), subscription)
        elif policy is Overflow.DISCONNECT:
            return Offer.OVERFLOWED
        else:
            self._queue_what_fits(batch, subscription, messages, room)
        return Offer.DROPPED if self.dropped > lost_before else Offer.QUEUED

    def enqueue_prefix(self, batch: Batch, subscription: Subscription, *, messages: int, room: int) -> int:
        """Queue as much of a stream's ``batch`` as there is room for, from its front; drop nothing.

        Returns:
            How many of its publications wait now.
        """
        # From its front alone: what follows is read from the stream, from one offset on.
        fit = min(len(batch), messages - self.messages)
        if fit > 0:
            fit = batch.within(0, fit, room - self.bytes)
        if fit > 0:
            self._queue(batch, 0, fit, subscription)
        return max(fit, 0)

    def release(self) -> dict[FollowedStream, int] | None:
        """Let go of all that waits, if all of it can be read from its streams again.

        Returns:
            The offset of the first publication that waited, by stream; None, and nothing is let go, where
            something waits that no stream holds or that another policy than ``spill`` governs.
        """
        first: dict[FollowedStream, int] = {}
        for entry in self._entries.values():
            # All or nothing: what stays would have to be written before what is read again, and behind it.
            if isinstance(entry, _Marker) or not _spills(entry.batch, entry.subscription):
                return None
            assert entry.batch.stream is not None
            offset = entry.batch.publications[entry.first].offset
            assert offset is not None
            # The first that is met is the stream's lowest offset: the tail brings them in order.
            first.setdefault(entry.batch.stream, offset)
        self._entries.clear()
        self.messages = self.bytes = 0
        return first

    def first_waiting(self, stream: FollowedStream) -> int | None:
        """The offset of the first publication of a stream that waits, or None."""
        for entry in self._entries.values():
            if isinstance(entry, _Segment) and entry.batch.stream is stream:
                return entry.batch.publications[entry.first].offset
        return None

    def take(self, budget: int, encode: Callable[[Gap], bytes]) -> list[bytes]:
        """Remove and return the next frames, about ``budget`` bytes of them and at least one; gaps first."""
        frames = [encode(gap) for gap in self._take_gaps()]
        size = sum(map(len, frames))
        while self._entries and (size < budget or not frames):
            number = next(iter(self._entries))
            entry = self._entries[number]
            if isinstance(entry, _Marker):
                del self._entries[number], self._markers[entry.subscription]
                frames.append(encode(_overflow_gap(entry.subscription, entry.count)))
            else:
                frames.append(self._take_part(number, entry, budget - size))
            size += len(frames[-1])
        return frames

    def discard(
        self, subscription: Subscription, successor: Callable[[str, Batch], Subscription | None]
    ) -> Iterator[Gap]:
        """Let go of what only ``subscription`` wanted, and yield the gaps of it that were still to tell.

        Args:
            subscription: the one that has ended; it governs nothing from now on.
            successor: gives, for a topic and its batch, the subscription that governs it now, or None.
        """
        # Built anew and not mended: what the ended one governed lies anywhere in the order, and goes to heirs
        # with other policies, thus into other indexes. `Outbox.crowded` keeps this from taking long.
        before = list(self._entries.values())
        self._entries.clear()
        self._oldest.clear()
        self._latest.clear()
        self._markers.clear()
        self.messages = self.bytes = 0
        markers = [entry for entry in before if isinstance(entry, _Marker)]
        for entry in before:
            if isinstance(entry, _Marker):
                continue
            if entry.subscription is not subscription:
                self._queue(entry.batch, entry.first, entry.last, entry.subscription)
                continue
            for index in range(entry.first, entry.last):
                heir = successor(entry.batch.publications[index].topic, entry.batch)
                if heir is not None and heir.live and entry.batch.filter is not None:
                    # A frame for it alone might repeat one for all that waits, now that it is live.
                    self._lose(heir, 1)
                elif heir is not None:
                    self._queue(entry.batch, index, index + 1, heir)
        for marker in markers:
            # Others' gaps now come last: later than where they lay, never ahead of what was accepted before.
            if marker.subscription is subscription:
                subscription.dropped += marker.count
            else:
                self._place(marker)
        self._gaps.pop(subscription, None)
        if subscription.dropped:
            yield _overflow_gap(subscription, subscription.dropped)
            subscription.dropped = 0

    # In

    def _queue(self, batch: Batch, first: int, last: int, subscription: Subscription) -> None:
        number = self._next
        self._next = number + 1
        self._entries[number] = _Segment(batch, first, last, subscription)
        self.messages += last - first
        self.bytes += batch.size(first, last)
        policy = subscription.overflow
        # In no index, so nobody's victim: nothing that a stream holds and `spill` governs is ever dropped.
        if _spills(batch, subscription):
            return
        if policy is Overflow.DROP_OLDEST or policy is Overflow.SPILL:
            self._oldest.append(number)
        elif policy is Overflow.LATEST:
            for index in range(first, last):
                self._latest[batch.publications[index].topic] = number

    def _queue_what_fits(self, batch: Batch, subscription: Subscription, messages: int, room: int) -> None:
        for index in range(len(batch)):
            if self.messages >= messages:
                self._mark(subscription, len(batch) - index)
                return
            if self.bytes + batch.size(index, index + 1) > room:
                self._mark(subscription, 1)
            else:
                self._queue(batch, index, index + 1, subscription)

    def _queue_latest(self, batch: Batch, subscription: Subscription, messages: int, room: int) -> None:
        newest = {publication.topic: index for index, publication in enumerate(batch.publications)}
        superseded = len(batch) - len(newest)
        if superseded:
            self._lose(subscription, superseded)
        # In the order of the publications: a dictionary keeps that of each topic's first one.
        for topic, index in sorted(newest.items(), key=lambda item: item[1]):
            number = self._latest.pop(topic, None)
            if number is not None:
                self._drop(number)
            size = batch.size(index, index + 1)
            # Only its own can make room; where other policies fill it, the newcomer is lost.
            while self._latest and (self.messages >= messages or self.bytes + size > room):
                _, number = self._latest.popitem(last=False)
                self._drop(number)
            if self.messages >= messages or self.bytes + size > room:
                self._lose(subscription, 1)
            else:
                self._queue(batch, index, index + 1, subscription)

    # Lost

    def _evict_oldest(self, messages: int, room: int) -> None:
        while self._oldest and (self.messages > messages or self.bytes > room):
            number = self._oldest[0]
            segment = self._entries[number]
            assert isinstance(segment, _Segment)
            first, last = segment.first, segment.last
            # A part of the segment where that is enough: its batch may be a whole tick of a busy topic.
            until = min(last, max(first, first + self.messages - messages))
            if self.bytes > room:
                until = max(until, segment.batch.reaching(first, last, self.bytes - room))
            if until == last:
                self._oldest.popleft()
                self._drop(number)
            else:
                segment.first = until
                self._lose(segment.subscription, until - first)
                self.messages -= until - first
                self.bytes -= segment.batch.size(first, until)

    def _drop(self, number: int) -> None:
        segment = self._entries.pop(number)
        assert isinstance(segment, _Segment)
        self.messages -= segment.last - segment.first
        self.bytes -= segment.batch.size(segment.first, segment.last)
        self._lose(segment.subscription, segment.last - segment.first)

    def _lose(self, subscription: Subscription, count: int) -> None:
        subscription.dropped += count
        self.dropped += count
        self._gaps[subscription] = None

    def _mark(self, subscription: Subscription, count: int) -> None:
        marker = self._markers.get(subscription)
        if marker is None:
            marker = _Marker(subscription)
            self._place(marker)
        marker.count += count
        self.dropped += count

    def _place(self, marker: _Marker) -> None:
        self._entries[self._next] = marker
        self._next += 1
        self._markers[marker.subscription] = marker

    # Out

    def _take_gaps(self) -> list[Gap]:
        gaps = []
        for subscription in self._gaps:
            gaps.append(_overflow_gap(subscription, subscription.dropped))
            subscription.dropped = 0
        self._gaps.clear()
        return gaps

    def _take_part(self, number: int, segment: _Segment, budget: int) -> bytes:
        batch, first = segment.batch, segment.first
        until = max(first + 1, batch.within(first, segment.last, budget))
        self.messages -= until - first
        self.bytes -= batch.size(first, until)
        if until < segment.last:
            segment.first = until
            return batch.part(first, until)
        del self._entries[number]
        # It is the first of all that wait, so an index that has it at all has it in its first place too.
        topic = batch.publications[first].topic
        if self._latest.get(topic) == number:
            del self._latest[topic]
        elif self._oldest and self._oldest[0] == number:
            self._oldest.popleft()
        return batch.part(first, until)


def _spills(batch: Batch, subscription: Subscription) -> bool:
    return batch.stream is not None and subscription.overflow is Overflow.SPILL


def _overflow_gap(subscription: Subscription, dropped: int) -> Gap:
    return Gap("overflow", filter=subscription.filter, dropped=dropped)
