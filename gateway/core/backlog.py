"""What waits for a connection that can't take more, and what is lost when too much waits.

One order over everything that waits, whatever its policy, since the client must see one topic's
publications in order. Beside it one index per policy that chooses its victims: the oldest that a
``drop_oldest`` governs, the one that a newer publication of its topic supersedes under ``latest``.
A policy drops only what it governs. Where it governs nothing that waits, the newcomer itself is lost.

A gap of ``drop_newest`` lies behind what waits, so it waits there too, as a marker; the gaps of the
other policies lie before everything that is left, and are told first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core.commands import Overflow
from gateway.core.events import Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.publication import Publication
    from gateway.core.subscription import Subscription


class Offer(Enum):
    """What became of a publication that was offered."""

    QUEUED = "queued"
    DROPPED = "dropped"  # this or an older one is lost, and counted
    OVERFLOWED = "overflowed"  # the policy is to disconnect: the caller must close the connection


class _Waiting:
    __slots__ = ("publication", "size", "subscription")

    def __init__(self, publication: Publication, subscription: Subscription, size: int) -> None:
        self.publication = publication
        self.subscription = subscription
        self.size = size


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
        self._entries: OrderedDict[int, _Waiting | _Marker] = OrderedDict()
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

    def offer(
        self, publication: Publication, subscription: Subscription, *, size: int, messages: int, room: int
    ) -> Offer:
        """Queue ``publication``, or apply ``subscription``'s policy; never waits.

        Args:
            publication: what was published.
            subscription: the one that governs it.
            size: the bytes of its frame.
            messages: how many may wait at most.
            room: how many bytes may wait at most.
        """
        lost_before = self.dropped
        policy = subscription.overflow
        if policy is Overflow.LATEST:
            self._supersede(publication.topic)
        if self._over(size, messages, room):
            if policy is Overflow.DISCONNECT:
                return Offer.OVERFLOWED
            if policy is Overflow.DROP_NEWEST:
                self._mark(subscription)
                return Offer.DROPPED
            self._evict(policy, size, messages, room)
            if self._over(size, messages, room):
                self._lose(subscription)
                return Offer.DROPPED
        self._queue(publication, subscription, size)
        return Offer.DROPPED if self.dropped > lost_before else Offer.QUEUED

    def take(
        self, budget: int, encode: Callable[[Gap], bytes], frame: Callable[[Publication], bytes]
    ) -> list[bytes]:
        """Remove and return the next frames, about ``budget`` bytes of them and at least one; gaps first."""
        frames = [encode(gap) for gap in self._take_gaps()]
        size = sum(map(len, frames))
        while self._entries and (size < budget or not frames):
            entry = self._pop_first()
            if isinstance(entry, _Marker):
                next_frame = encode(_overflow_gap(entry.subscription, entry.count))
            else:
                next_frame = frame(entry.publication)
            frames.append(next_frame)
            size += len(next_frame)
        return frames

    def forget(
        self, subscription: Subscription, successor: Callable[[str], Subscription | None]
    ) -> Iterator[Gap]:
        """Let go of what only ``subscription`` wanted, and yield the gaps of it that were still to tell.

        Args:
            subscription: the one that has ended; it governs nothing from now on.
            successor: gives, for a topic, the subscription that governs it now, or None.
        """
        survivors: list[tuple[Publication, Subscription, int]] = []
        markers: list[_Marker] = []
        for entry in self._entries.values():
            if isinstance(entry, _Marker):
                markers.append(entry)
            elif entry.subscription is not subscription:
                survivors.append((entry.publication, entry.subscription, entry.size))
            elif (heir := successor(entry.publication.topic)) is not None:
                survivors.append((entry.publication, heir, entry.size))
        self._entries.clear()
        self._oldest.clear()
        self._latest.clear()
        self._markers.clear()
        self.messages = self.bytes = 0
        for publication, governor, size in survivors:
            self._queue(publication, governor, size)
        for marker in markers:
            if marker.subscription is subscription:
                subscription.dropped += marker.count
            else:
                self._place(marker)
        self._gaps.pop(subscription, None)
        if subscription.dropped:
            yield _overflow_gap(subscription, subscription.dropped)
            subscription.dropped = 0

    def _over(self, size: int, messages: int, room: int) -> bool:
        return self.messages >= messages or self.bytes + size > room

    def _queue(self, publication: Publication, subscription: Subscription, size: int) -> None:
        number = self._next
        self._next = number + 1
        self._entries[number] = _Waiting(publication, subscription, size)
        self.messages += 1
        self.bytes += size
        if subscription.overflow in {Overflow.DROP_OLDEST, Overflow.SPILL}:
            self._oldest.append(number)
        elif subscription.overflow is Overflow.LATEST:
            self._latest[publication.topic] = number

    def _supersede(self, topic: str) -> None:
        number = self._latest.pop(topic, None)
        if number is not None:
            self._drop(number)

    def _evict(self, policy: Overflow, size: int, messages: int, room: int) -> None:
        while self._over(size, messages, room):
            if policy is Overflow.LATEST:
                if not self._latest:
                    return
                _, number = self._latest.popitem(last=False)
            else:
                if not self._oldest:
                    return
                number = self._oldest.popleft()
            self._drop(number)

    def _drop(self, number: int) -> None:
        entry = self._entries.pop(number)
        assert isinstance(entry, _Waiting)
        self.messages -= 1
        self.bytes -= entry.size
        self._lose(entry.subscription)

    def _lose(self, subscription: Subscription) -> None:
        subscription.dropped += 1
        self.dropped += 1
        self._gaps[subscription] = None

    def _mark(self, subscription: Subscription) -> None:
        marker = self._markers.get(subscription)
        if marker is None:
            marker = _Marker(subscription)
            self._place(marker)
        marker.count += 1
        self.dropped += 1

    def _place(self, marker: _Marker) -> None:
        self._entries[self._next] = marker
        self._next += 1
        self._markers[marker.subscription] = marker

    def _take_gaps(self) -> list[Gap]:
        gaps = []
        for subscription in self._gaps:
            gaps.append(_overflow_gap(subscription, subscription.dropped))
            subscription.dropped = 0
        self._gaps.clear()
        return gaps

    def _pop_first(self) -> _Waiting | _Marker:
        number, entry = self._entries.popitem(last=False)
        if isinstance(entry, _Marker):
            del self._markers[entry.subscription]
            return entry
        self.messages -= 1
        self.bytes -= entry.size
        topic = entry.publication.topic
        if self._latest.get(topic) == number:
            del self._latest[topic]
        elif self._oldest and self._oldest[0] == number:
            self._oldest.popleft()
        return entry


def _overflow_gap(subscription: Subscription, dropped: int) -> Gap:
    return Gap("overflow", filter=subscription.filter, dropped=dropped)
