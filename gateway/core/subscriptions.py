"""Who subscribes to what: filters, their subscribers, and the target lists that are made from them.

Every change forgets the remembered target lists that it concerns, and no others. The caller settles what it
has begun to hand out before it changes anything here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.targets import Interest, TargetLists, Targets
from gateway.core.trie import FilterIndex

if TYPE_CHECKING:
    from gateway.core.outbox import Outbox
    from gateway.core.stream_path import StreamPath
    from gateway.core.subscription import Subscription


class Subscriptions:
    """All subscriptions of a node, by filter.

    Attributes:
        match: topic → the interests that match it.
        lists: the target lists in use.
        subscriptions: how many there are.
    """

    def __init__(self, *, cached_topics: int, cached_targets: int) -> None:
        self._index: FilterIndex[Interest] = FilterIndex(cached_topics=cached_topics)
        self.match = self._index.match
        self.lists = TargetLists(cached_targets)
        self.subscriptions = 0

    @property
    def filters(self) -> int:
        """How many distinct ones are subscribed to."""
        return len(self._index)

    def add(self, outbox: Outbox, subscription: Subscription) -> bool:
        """Take ``subscription`` in, in place of one with the same filter.

        Returns:
            Whether it is the first with its filter.
        """
        interest = self._index.get(subscription.filter)
        first = interest is None
        if interest is None:
            interest = Interest(subscription.filter, subscription.paths)
            self._index.insert(subscription.filter, interest)
            for path in subscription.paths:
                path.interests[interest] = None
        old = outbox.subscriptions.get(subscription.filter)
        outbox.subscriptions[subscription.filter] = subscription
        interest.place(outbox, subscription)
        if old is None:
            self.subscriptions += 1
        # One that only waits for its streams is in no list yet.
        listed = old is not None and (old.live or old.reader is not None)
        if listed != subscription.live or (listed and old is not None and not old.live):
            self.lists.forget(interest)
        return first

    def move(self, outbox: Outbox, subscription: Subscription) -> None:
        """``subscription`` has become live, or got its reader."""
        interest = self._interest(subscription.filter)
        interest.place(outbox, subscription)
        self.lists.forget(interest)

    def remove(self, outbox: Outbox, topic_filter: str) -> bool:
        """Let a subscription go.

        Returns:
            Whether it was the last with its filter.
        """
        interest = self._interest(topic_filter)
        interest.remove(outbox)
        self.subscriptions -= 1
        self.lists.forget(interest)
        if not interest.is_empty:
            return False
        self._index.remove(topic_filter)
        for path in interest.paths:
            del path.interests[interest]
        return True

    def forget_path(self, outbox: Outbox, path: StreamPath) -> None:
        """``outbox`` fell behind on a stream, or is level again."""
        for subscription in outbox.subscriptions.values():
            if subscription.live and path in subscription.paths:
                self.lists.forget_path(self._interest(subscription.filter), path)

    def live_members(self, path: StreamPath) -> list[Outbox]:
        """The connections that the stream's publications go to now, if their topics match."""
        found = dict.fromkeys(outbox for interest in path.interests for outbox in interest.members)
        return [outbox for outbox in found if outbox not in path.behind]

    def targets(self, interests: tuple[Interest, ...], path: StreamPath) -> Targets:
        """Who gets a stream's publications that ``interests`` match."""
        return self.lists.recall((path, interests)) or self.lists.make(interests, path)

    def _interest(self, topic_filter: str) -> Interest:
        interest = self._index.get(topic_filter)
        assert interest is not None
        return interest
