"""Who gets a publication: one flat list of connections per set of filters that match together.

A list is made when a publication first needs it and kept until a subscription changes one of its filters,
so joining a crowded filter costs no more than joining an empty one. A stream's publications have lists of
their own, without the connections that have left its live path, so that live topics pay nothing for streams.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.fanout.subscription import Subscription, SubscriptionState, governing

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.encoder import Encoder
    from gateway.core.streams.stream import FollowedStream

_PORTION = 2000
"""Links between lists and filters that a change lets go of: about 0.1 ms."""

_LIST_BYTES: Final = 800
_MEMBER_BYTES: Final = 8
_ENTRY_BYTES: Final = 120

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
        number: of the last change that went into it; see ``TargetLists``.
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


class TargetLists:
    """The target lists that are remembered, bounded by what they take; the oldest go first.

    A filter that many topics match is part of many lists. When a subscriber of it comes or goes they all are
    wrong, but to let go of all of them would take as long as there are many, in one turn, as often as
    somebody likes. So a change has a number: it is noted at the filter, and a list is right only if it is as
    young as the last change of all of its filters. What is wrong is let go in portions, by this change and
    those that follow. In the usual case the first portion is enough, and then nothing has to be compared
    where a list is used.

    Attributes:
        recall: gives the list that is kept under a key and right, or None.
        bytes: about how large all of them are.
        touched: links between lists and filters that were made, compared or let go since the start, and
            members of filters that were looked at.
    """

    def __init__(self, most_bytes: int) -> None:
        """Keep lists of about ``most_bytes`` together, though always one."""
        self._most_bytes = most_bytes
        self._lists: OrderedDict[Key, Targets] = OrderedDict()
        self._changes = 0
        self._wrong: deque[set[Targets]] = deque()
        self.recall = self._lists.get
        self.bytes = self.touched = 0

    def __len__(self) -> int:
        return len(self._lists)

    @property
    def tidied(self) -> bool:
        """Whether all lists that are kept are right."""
        return not self._wrong

    def make(
        self,
        entries: tuple[FilterEntry, ...],
        stream: FollowedStream | None = None,
        *,
        without: Container[Outbox] = (),
    ) -> Targets:
        """Make the list for ``entries``, for which ``recall`` found none; ``without`` some connections."""
        targets = Targets(entries, stream, without=without)
        if self._wrong:
            # Its place is taken below: what it counts for has to go first, or stays counted for ever.
            if (wrong := self._lists.get(targets.key)) is not None:
                self._drop(wrong)
            # More than this list adds, or changes and publications in turn could pile up what is wrong.
            self._drop_wrong(_PORTION + 2 * len(entries))
        size = _size(targets)
        # The oldest and not the least used: to note each use would cost every publication something.
        while self._lists and self.bytes + size > self._most_bytes:
            self._drop(next(iter(self._lists.values())))
        targets.number = self._changes
        targets.kept = True
        self._lists[targets.key] = targets
        self.bytes += size
        for entry in entries:
            self.touched += 1 + len(entry.members)
            if entry.users is None:
                entry.users = {targets}
            else:
                entry.users.add(targets)
        return targets

    def forget(self, entry: FilterEntry) -> None:
        """``entry`` has gained or lost a member: the lists that it is part of are wrong from now on."""
        # The set is put away as it is, which costs the same for one list and for a hundred thousand.
        users, entry.users = entry.users, None
        if users is not None:
            self._changes += 1
            entry.changed = self._changes
            self._wrong.append(users)
            # Exchanged and not asked for on each call: while all lists are right a recall is `dict.get`.
            self.recall = self._recall_right  # type: ignore[assignment]

    def tidy(self) -> None:
        """Let go of a portion of what is wrong; to be called after every command that forgets something."""
        if self._wrong:
            self._drop_wrong(_PORTION)

    def forget_stream(self, entries: Iterable[FilterEntry], stream: FollowedStream) -> None:
        """A member of ``entries`` has left the live path of ``stream`` or is back."""
        room = _PORTION
        for entry in entries:
            users = entry.users
            if users is None:
                continue
            # Lists for other streams and for live topics stay, if to look through them takes no more than a
            # portion; if it would, it costs less to make all of them again as they are needed.
            room -= len(users)
            if room < 0:
                self.forget(entry)
                continue
            for targets in [each for each in users if each.stream is stream]:
                room -= self._drop(targets)

    def _drop_wrong(self, room: int) -> None:
        while self._wrong and room > 0:
            users = self._wrong[0]
            while users and room > 0:
                targets = users.pop()
                room -= self._drop(targets) if targets.kept else 1
            if not users:
                self._wrong.popleft()
        self.recall = self._recall_right if self._wrong else self._lists.get  # type: ignore[assignment]

    def _recall_right(self, key: Key) -> Targets | None:
        targets = self._lists.get(key)
        if targets is None:
            return None
        self.touched += len(targets.entries)
        number = targets.number
        for entry in targets.entries:
            if entry.changed > number:
                self._drop(targets)
                return None
        return targets

    def _drop(self, targets: Targets) -> int:
        """Let go of one list; return how much work that was, in links."""
        targets.kept = False
        del self._lists[targets.key]
        self.bytes -= _size(targets)
        for entry in targets.entries:
            users = entry.users
            if users is not None:
                users.discard(targets)
                if not users:
                    entry.users = None
        links = len(targets.entries)
        self.touched += links
        # What frees a list looks at each connection once, at a fraction of what a link costs.
        return 1 + links + targets.count // 16


def _size(targets: Targets) -> int:
    return _LIST_BYTES + _MEMBER_BYTES * targets.count + _ENTRY_BYTES * len(targets.entries)
