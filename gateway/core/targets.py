"""Who gets a publication: one flat list of connections per set of filters that match together.

A list is made when a publication first needs it and kept until a subscription changes one of its filters,
so joining a crowded filter costs no more than joining an empty one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.core.subscription import Subscription, governing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.outbox import Encoder, Outbox


class Interest:
    """A filter's subscribers.

    Attributes:
        members: each connection's subscription with this filter.
        users: the target lists that they are part of.
    """

    __slots__ = ("filter", "members", "users")

    def __init__(self, topic_filter: str) -> None:
        self.filter = topic_filter
        self.members: dict[Outbox, Subscription] = {}
        self.users: set[Targets] = set()


class Targets:
    """Who gets the publications that exactly these interests match; each connection once.

    Attributes:
        interests: those that match.
        groups: the connections of each wire format.
        count: all of them.
        lone: the connection, where there is only one.
    """

    __slots__ = ("count", "groups", "interests", "lone")

    def __init__(self, interests: tuple[Interest, ...]) -> None:
        self.interests = interests
        outboxes: Iterable[Outbox] = (
            interests[0].members
            if len(interests) == 1
            else dict.fromkeys(outbox for interest in interests for outbox in interest.members)
        )
        by_encoder: dict[Encoder, list[Outbox]] = {}
        for outbox in outboxes:
            by_encoder.setdefault(outbox.encoder, []).append(outbox)
        self.groups = tuple((encoder, tuple(group)) for encoder, group in by_encoder.items())
        self.count = sum(len(group) for _, group in self.groups)
        self.lone = self.groups[0][1][0] if self.count == 1 else None

    def governing(self, outbox: Outbox) -> Subscription:
        """The subscription of ``outbox`` whose policy decides."""
        if len(self.interests) == 1:
            return self.interests[0].members[outbox]
        return governing(
            interest.members[outbox] for interest in self.interests if outbox in interest.members
        )


class TargetLists:
    """The lists in use, bounded by the connections in them; the oldest go first.

    Attributes:
        references: connections in all lists together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lists: OrderedDict[tuple[Interest, ...], Targets] = OrderedDict()
        self.recall = self._lists.get
        self.references = 0

    def __len__(self) -> int:
        return len(self._lists)

    def make(self, interests: tuple[Interest, ...]) -> Targets:
        """Make the list for ``interests``, for which ``recall`` found none."""
        targets = Targets(interests)
        while self._lists and self.references + targets.count > self._limit:
            self._drop(next(iter(self._lists.values())))
        self._lists[interests] = targets
        self.references += targets.count
        for interest in interests:
            interest.users.add(targets)
        return targets

    def forget(self, interest: Interest) -> None:
        """``interest`` has gained or lost a member: let go of every list that it is part of."""
        for targets in tuple(interest.users):
            self._drop(targets)

    def _drop(self, targets: Targets) -> None:
        del self._lists[targets.interests]
        self.references -= targets.count
        for interest in targets.interests:
            interest.users.discard(targets)
