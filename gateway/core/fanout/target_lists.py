"""The target lists that are remembered, bounded by what they take; the oldest go first.

A filter that many topics match is part of many lists. When a subscriber of it comes or goes they all are
wrong, but to let go of all of them would take as long as there are many, in one turn, as often as somebody
likes. So a change has a number: it is noted at the filter, and a list is right only if it is as young as
the last change of all of its filters. What is wrong is let go in portions, by this change and those that
follow. In the usual case the first portion is enough, and then nothing has to be compared where a list is
used.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from gateway.core.fanout.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.targets import FilterEntry, Key
    from gateway.core.streams.stream import FollowedStream

_PORTION: Final = 2000
"""Links between lists and filters that a change lets go of: about 0.1 ms."""

_LIST_BYTES: Final = 800
_MEMBER_BYTES: Final = 8
_ENTRY_BYTES: Final = 120


class TargetLists:
    """The lists in use.

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
