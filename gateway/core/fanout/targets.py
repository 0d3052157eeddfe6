"""Who gets a publication: one flat list of connections per set of filters that match together.

A list is made when a publication first needs it and kept until a subscription changes one of its filters,
so joining a crowded filter costs no more than joining an empty one. A stream's publications have lists of
their own, without the connections that have left its live path, so that live topics pay nothing for streams.
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
        streams: the streams of which the filter may match something.
        members: each connection's subscription with this filter, where that is live.
        pending: the same where it isn't live yet; None while there is none.
        users: the target lists that they are part of, and that hold as far as this one is concerned; None
            while there is none.
        changed: the number of the last change here that target lists have to know of.
    """

    __slots__ = ("changed", "filter", "members", "pending", "streams", "users")

    def __init__(self, topic_filter: str, streams: tuple[FollowedStream, ...] = ()) -> None:
        self.filter = topic_filter
        self.streams = streams
        self.members: dict[Outbox, Subscription] = {}
        self.pending: dict[Outbox, Subscription] | None = None
        self.users: set[Targets] | None = None
        self.changed = 0

    @property
    def is_empty(self) -> bool:
        """Nobody subscribes with this filter."""
        return not self.members and not self.pending

    def place(self, outbox: Outbox, subscription: Subscription) -> None:
        """Keep ``subscription`` where it belongs, in place of the one that ``outbox`` had here."""
        # From wherever it is: the subscription may have entered another state since it was placed.
        self.remove(outbox)
        if subscription.live:
            self.members[outbox] = subscription
        else:
            if self.pending is None:
                self.pending = {}
            self.pending[outbox] = subscription

    def remove(self, outbox: Outbox) -> None:
        """Let go of ``outbox``'s subscription, if there is one."""
        self.members.pop(outbox, None)
        if self.pending is not None:
            self.pending.pop(outbox, None)
            if not self.pending:
                self.pending = None

    def retire(self) -> None:
        """Nobody subscribes with the filter any more: be small, remembered answers may hold this for long."""
        self.filter = ""
        self.members = _NOBODY


Key: TypeAlias = "tuple[FilterEntry, ...] | tuple[FollowedStream, tuple[FilterEntry, ...]]"
"""What a list is kept under: the entries that match, and the stream where one captures the topic."""


class Targets:
    """Who gets the publications that exactly these entries match; each connection once.

    Attributes:
        entries: those that match.
        stream: the stream that captures the publications, or None.
        key: what the list is kept under.
        groups: the connections of each wire format.
        history_targets: subscriptions that read their history; live topics come to each with its filter.
        count: all of them.
        only_target: the connection, where there is only one, and no history target.
        number: of the last change that went into it; see ``target_lists.py``.
        kept: it has its place among the remembered ones.
    """

    __slots__ = (
        "count",
        "entries",
        "groups",
        "history_targets",
        "kept",
        "key",
        "number",
        "only_target",
        "stream",
    )

    def __init__(
        self,
        entries: tuple[FilterEntry, ...],
        stream: FollowedStream | None = None,
        *,
        without: Container[Outbox] = (),
    ) -> None:
        """Make the list for what ``stream`` captures, or for live topics; leave those of ``without`` out."""
        self.entries = entries
        self.stream = stream
        self.key: Key = entries if stream is None else (stream, entries)
        self.number = 0
        self.kept = False
        outboxes: Iterable[Outbox] = entries[0].members
        if len(entries) > 1:
            # Each connection once, however many of its filters match. Which of its subscriptions is kept here
            # does not matter: the one that governs is looked for when it is blocked, and only then.
            merged: dict[Outbox, Subscription] = {}
            for entry in entries:
                merged.update(entry.members)
            outboxes = merged
        if without:
            outboxes = [outbox for outbox in outboxes if outbox not in without]
        # Flat tuples, since they are walked far more often than made; one per wire format, since bytes are
        # shared within one.
        by_encoder: dict[Encoder, list[Outbox]] = {}
        for outbox in outboxes:
            by_encoder.setdefault(outbox.encoder, []).append(outbox)
        self.groups = tuple((encoder, tuple(group)) for encoder, group in by_encoder.items())
        # What a stream captured comes to those who read it with their reader: here it would be a repeat.
        self.history_targets = () if stream is not None else _history_targets(entries)
        self.count = sum(len(group) for _, group in self.groups) + len(self.history_targets)
        # Who is alone shares no frames with anybody: it is given them without a run.
        self.only_target = self.groups[0][1][0] if self.count == 1 and not self.history_targets else None

    def governing(self, outbox: Outbox) -> Subscription:
        """The live subscription of ``outbox`` whose policy decides."""
        if len(self.entries) == 1:
            return self.entries[0].members[outbox]
        return governing(
            (entry.members[outbox] for entry in self.entries if outbox in entry.members),
            captured=self.stream is not None,
        )


def _history_targets(entries: tuple[FilterEntry, ...]) -> tuple[tuple[Outbox, Subscription], ...]:
    return tuple(
        (outbox, subscription)
        for entry in entries
        if entry.pending is not None
        for outbox, subscription in entry.pending.items()
        if subscription.state is SubscriptionState.READING
    )
