"""Who subscribes to what: filters, their subscribers, and the target lists that are made from them.

Every change forgets the remembered target lists that it concerns, and no others. The caller ends the run
that is open before it changes anything here: its publications are for those who were there when they came.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from gateway.core.fanout.targets import FilterEntry, TargetLists
from gateway.core.topics.filter_index import FilterIndex
from gateway.core.topics.filter_trie import ALWAYS_LEVELS, shape_of
from gateway.core.topics.grammar import has_wildcard, intersects
from gateway.errors import TooManyShapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.fanout.limits import HubLimits
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.streams.stream import FollowedStream

_LEAVING_AT_ONCE = 32
"""Subscriptions removed at once of a connection that has ended: with the longest filters about 0.5 ms."""


class Subscriptions:
    """All subscriptions of a node, by filter.

    Attributes:
        match: topic → the entries that match it.
        lists: the target lists in use.
        subscriptions: how many there are.
    """

    def __init__(self, limits: HubLimits) -> None:
        # Half for each: the lists of a crowded filter are as large as what many topics match.
        self._index: FilterIndex[FilterEntry] = FilterIndex(
            cached_topics=limits.cached_topics,
            cached_bytes=limits.match_cache_bytes // 2,
            shape_beginnings=limits.filter_shapes,
        )
        self.match = self._index.match
        self.lists = TargetLists(limits.match_cache_bytes // 2)
        self.statistics = self._index.statistics
        self.subscriptions = 0
        self._streams: dict[FollowedStream, dict[FilterEntry, None]] = {}  # filters that may match of each
        self._most_shapes = limits.shapes
        self._shapes: dict[Outbox, Counter[str]] = {}  # of connections with more filters than that alone
        self._leaving: deque[tuple[Outbox, dict[str, Subscription]]] = deque()

    def check(self, outbox: Outbox, topic_filter: str) -> None:
        """Refuse a filter that would make matching too expensive; to be asked before ``add``.

        Raises:
            TooMany: of its shape, or of all shapes.
        """
        if not has_wildcard(topic_filter):
            return
        # With fewer filters there can't be too many shapes: nearly all connections keep no count.
        if len(outbox.subscriptions) >= self._most_shapes:
            shapes = self._shapes.get(outbox)
            if shapes is None:
                shapes = self._shapes[outbox] = Counter(
                    map(shape_of, filter(has_wildcard, outbox.subscriptions))
                )
            if len(shapes) >= self._most_shapes and shape_of(topic_filter) not in shapes:
                raise TooManyShapes(
                    f"the filters of a connection may have wildcards in {self._most_shapes} different places"
                )
        if not self._index.admits(topic_filter):
            raise TooManyShapes(
                f"topic filter {topic_filter[:128]!r}: too many long filters with wildcards in different "
                f"places are subscribed to; up to {ALWAYS_LEVELS} levels are always taken"
            )

    def add(self, outbox: Outbox, subscription: Subscription) -> bool:
        """Take ``subscription`` in, in place of one with the same filter.

        Returns:
            Whether it is the first with its filter.
        """
        entry = self._index.get(subscription.filter)
        first = entry is None
        if entry is None:
            entry = FilterEntry(subscription.filter, subscription.streams)
            self._index.insert(subscription.filter, entry)
            for stream in subscription.streams:
                self._streams.setdefault(stream, {})[entry] = None
        old = outbox.subscriptions.get(subscription.filter)
        outbox.subscriptions[subscription.filter] = subscription
        entry.place(outbox, subscription)
        if old is None:
            self.subscriptions += 1
            if (shapes := self._shapes.get(outbox)) is not None and has_wildcard(subscription.filter):
                shapes[shape_of(subscription.filter)] += 1
        # Lists hold who is live and who reads, not who only waits for its streams: to wait makes none of them
        # wrong, so a subscription to streams has the lists of its filter made anew once and not twice.
        listed = old is not None and not old.waiting
        if listed != subscription.live or (listed and old is not None and not old.live):
            self.lists.forget(entry)
        return first

    def move(self, outbox: Outbox, subscription: Subscription) -> None:
        """``subscription`` has become live, or got its reader."""
        entry = self._entry(subscription.filter)
        entry.place(outbox, subscription)
        self.lists.forget(entry)

    def remove(self, outbox: Outbox, topic_filter: str) -> bool:
        """Let a subscription go.

        Returns:
            Whether it was the last with its filter.
        """
        entry = self._entry(topic_filter)
        entry.remove(outbox)
        self.subscriptions -= 1
        if (shapes := self._shapes.get(outbox)) is not None and has_wildcard(topic_filter):
            shape = shape_of(topic_filter)
            shapes[shape] -= 1
            if not shapes[shape]:
                del shapes[shape]
        self.lists.forget(entry)
        if not entry.is_empty:
            return False
        self._index.remove(topic_filter)
        for stream in entry.streams:
            of_stream = self._streams[stream]
            del of_stream[entry]
            if not of_stream:
                del self._streams[stream]
        entry.retire()
        return True

    def matching(self, outbox: Outbox) -> Callable[[str], list[Subscription]]:
        """What finds the live subscriptions of ``outbox`` that match a topic."""
        # By the index, since a connection's filters are up to a thousand and what waits may be as many.
        match = self.match
        return lambda topic: [each.members[outbox] for each in match(topic) if outbox in each.members]

    def leave(self, outbox: Outbox) -> None:
        """``outbox`` has ended; its subscriptions go with ``let_leave``."""
        self._shapes.pop(outbox, None)
        if outbox.subscriptions:
            self._leaving.append((outbox, outbox.subscriptions))
            outbox.subscriptions = {}

    @property
    def leaving(self) -> bool:
        """Whether subscriptions of connections that have ended are still there."""
        return bool(self._leaving)

    def let_leave(self) -> list[str]:
        """Remove the next subscriptions of connections that have ended, so many that it does not take long.

        Returns:
            The filters of which they were the last.
        """
        ended: list[str] = []
        for _ in range(_LEAVING_AT_ONCE):
            if not self._leaving:
                break
            outbox, subscriptions = self._leaving[0]
            topic_filter, subscription = subscriptions.popitem()
            subscription.end_reader()
            if self.remove(outbox, topic_filter):
                ended.append(topic_filter)
            if not subscriptions:
                self._leaving.popleft()
        return ended

    def forget_stream(self, outbox: Outbox, stream: FollowedStream) -> None:
        """``outbox`` has left the live path of a stream, or is back."""
        self.lists.forget_stream(
            [
                self._entry(subscription.filter)
                for subscription in outbox.subscriptions.values()
                if subscription.live and stream in subscription.streams
            ],
            stream,
        )

    def live_members(self, stream: FollowedStream) -> list[Outbox]:
        """The connections with a live subscription that may match something of a stream."""
        # Each once, and in an order that doesn't change from run to run, as a set's would.
        found = dict.fromkeys(outbox for entry in self._streams.get(stream, ()) for outbox in entry.members)
        return [outbox for outbox in found if not outbox.closed]

    def views(self, stream: FollowedStream, topic_filter: str) -> list[tuple[Outbox, Subscription]]:
        """Who began with a snapshot of a stream, and may have something that ``topic_filter`` matches."""
        return [
            (outbox, subscription)
            for entry in self._streams.get(stream, ())
            if intersects(entry.filter, topic_filter)
            for members in (entry.members, entry.pending or {})
            for outbox, subscription in members.items()
            if subscription.views and not outbox.closed
        ]

    def picker(self, outbox: Outbox, stream: FollowedStream) -> Callable[[str], bool]:
        """What says whether a live subscription of ``outbox`` wants a topic of a stream."""
        # To ask each of a thousand filters about each topic of a page would take a fifth of a second.
        match = self.match
        return lambda topic: any(stream in each.streams and outbox in each.members for each in match(topic))

    def _entry(self, topic_filter: str) -> FilterEntry:
        entry = self._index.get(topic_filter)
        assert entry is not None
        return entry


def live_filters(outbox: Outbox, stream: FollowedStream) -> tuple[str, ...]:
    """The filters of ``outbox``'s live subscriptions that may match something of a stream."""
    return tuple(
        sorted(each.filter for each in outbox.subscriptions.values() if each.live and stream in each.streams)
    )
