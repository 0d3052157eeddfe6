"""Who gets a publication: one flat list of connections per set of filters that match together.

A list is made when a publication first needs it and kept until a subscription changes one of its filters,
so joining a crowded filter costs no more than joining an empty one. A stream's publications have lists of
their own, without the connections that are behind on it, so that live topics pay nothing for streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gateway.core.fanout.subscription import Subscription, SubscriptionState, governing

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.encoder import Encoder
    from gateway.core.streams.stream import FollowedStream


_NOBODY: dict[Outbox, Subscription] = {}
"""The members of a filter that nobody subscribes with any more; stays empty."""


class FilterEntry:
    """A filter's subscribers.

    Attributes:
        paths: the streams of which the filter may match something.
        members: each connection's subscription with this filter, where that is live.
        apart: the same where it isn't live yet; None while there is none.
        users: the target lists that they are part of, and that hold as far as this one is concerned; None
            while there is none.
        changed: the number of the last change here that target lists have to know of.
    """

    __slots__ = ("apart", "changed", "filter", "members", "paths", "users")

    def __init__(self, topic_filter: str, paths: tuple[FollowedStream, ...] = ()) -> None:
        self.filter = topic_filter
        self.paths = paths
        self.members: dict[Outbox, Subscription] = {}
        self.apart: dict[Outbox, Subscription] | None = None
        self.users: set[Targets] | None = None
        self.changed = 0

    @property
    def is_empty(self) -> bool:
        """Nobody subscribes with this filter."""
        return not self.members and not self.apart

    def place(self, outbox: Outbox, subscription: Subscription) -> None:
        """Keep ``subscription`` where it belongs, in place of the one that ``outbox`` had here."""
        self.remove(outbox)
        if subscription.live:
            self.members[outbox] = subscription
        else:
            if self.apart is None:
                self.apart = {}
            self.apart[outbox] = subscription

    def remove(self, outbox: Outbox) -> None:
        """Let go of ``outbox``'s subscription, if there is one."""
        self.members.pop(outbox, None)
        if self.apart is not None:
            self.apart.pop(outbox, None)
            if not self.apart:
                self.apart = None

    def retire(self) -> None:
        """Nobody subscribes with the filter any more: be small, remembered answers may hold this for long."""
        self.filter = ""
        self.members = _NOBODY


Key: TypeAlias = "tuple[FilterEntry, ...] | tuple[FollowedStream, tuple[FilterEntry, ...]]"
"""What a list is kept under: the interests that match, and the stream where one captures the topic."""


class Targets:
    """Who gets the publications that exactly these interests match; each connection once.

    Attributes:
        interests: those that match.
        path: the stream that captures the publications, or None.
        key: what the list is kept under.
        groups: the connections of each wire format.
        aside: subscriptions that read their history: what is live comes to each of them with its filter.
        count: all of them.
        lone: the connection, where there is only one, and nothing is aside.
        number: of the last change that went into it; see ``target_lists.py``.
        kept: it has its place among the remembered ones.
    """

    __slots__ = ("aside", "count", "groups", "interests", "kept", "key", "lone", "number", "path")

    def __init__(
        self,
        interests: tuple[FilterEntry, ...],
        path: FollowedStream | None = None,
        *,
        without: Container[Outbox] = (),
    ) -> None:
        """Make the list for what ``path`` captures, or for live topics; those of ``without`` are left out."""
        self.interests = interests
        self.path = path
        self.key: Key = interests if path is None else (path, interests)
        self.number = 0
        self.kept = False
        outboxes: Iterable[Outbox] = interests[0].members
        if len(interests) > 1:
            merged: dict[Outbox, Subscription] = {}
            for interest in interests:
                merged.update(interest.members)
            outboxes = merged
        if without:
            outboxes = [outbox for outbox in outboxes if outbox not in without]
        by_encoder: dict[Encoder, list[Outbox]] = {}
        for outbox in outboxes:
            by_encoder.setdefault(outbox.encoder, []).append(outbox)
        self.groups = tuple((encoder, tuple(group)) for encoder, group in by_encoder.items())
        self.aside = () if path is not None else _aside(interests)
        self.count = sum(len(group) for _, group in self.groups) + len(self.aside)
        self.lone = self.groups[0][1][0] if self.count == 1 and not self.aside else None

    def governing(self, outbox: Outbox) -> Subscription:
        """The live subscription of ``outbox`` whose policy decides."""
        if len(self.interests) == 1:
            return self.interests[0].members[outbox]
        return governing(
            (interest.members[outbox] for interest in self.interests if outbox in interest.members),
            captured=self.path is not None,
        )


def _aside(interests: tuple[FilterEntry, ...]) -> tuple[tuple[Outbox, Subscription], ...]:
    return tuple(
        (outbox, subscription)
        for interest in interests
        if interest.apart is not None
        for outbox, subscription in interest.apart.items()
        if subscription.state is SubscriptionState.READING
    )
