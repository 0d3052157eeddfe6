"""A group's members on one node: what each may still take, and whose turn it is.

Who has most free credit comes first; of those with as much, who was served longest ago. All that a turn costs
is a look at those who are next, however many members there are and whatever they hold: members stand in a
heap, each as often as its credit has changed, and an entry that isn't true any more is passed over.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.core.timing.due_times import DueTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Entry: TypeAlias = tuple[int, int, str]
"""Less than nothing by so much free credit; when it was served; the name."""

_SLACK: Final = 64
"""Entries that may be untrue, besides one for each member, before all are made anew."""


class GroupMember:
    """One member.

    Attributes:
        name: unique among all nodes.
        credit: unacknowledged deliveries that it takes at most.
        held: the leases it has, by offset and fence, with when they run out (ms since 1970).
        served: grows with each delivery of the group.
    """

    __slots__ = ("credit", "held", "name", "served")

    def __init__(self, name: str, credit: int) -> None:
        self.name = name
        self.credit = credit
        self.held: dict[tuple[int, int], int] = {}
        self.served = 0

    @property
    def free(self) -> int:
        """How many deliveries it may get now."""
        return max(0, self.credit - len(self.held))


class Members:
    """All members of a group that this node serves."""

    def __init__(self) -> None:
        self._members: dict[str, GroupMember] = {}
        self._holders: dict[tuple[int, int], GroupMember] = {}
        self._lives: dict[tuple[int, int], str] = {}
        self._timers = DueTimes[tuple[int, int]](self._is_due)
        self._order: list[_Entry] = []
        self._served = 0

    def __len__(self) -> int:
        return len(self._members)

    def get(self, name: str) -> GroupMember | None:
        """The member of that name."""
        return self._members.get(name)

    def join(self, name: str, credit: int) -> None:
        """A member comes, or takes more or less from now on."""
        member = self._members.get(name)
        if member is None:
            member = self._members[name] = GroupMember(name, credit)
        member.credit = credit
        self._enter(member)

    def leave(self, name: str) -> None:
        """A member goes."""
        member = self._members.pop(name, None)
        if member is not None:
            for lease in member.held:
                del self._holders[lease], self._lives[lease]

    def turns(self, most: int, takes: Callable[[str], bool]) -> list[str]:
        """Who gets the next deliveries, at most ``most`` of them, in order; for each ``give`` may follow.

        Whoever takes nothing just now is passed over, and must be told of by ``enter`` once it does again.
        """
        order: list[str] = []
        looked_at: dict[str, bool] = {}
        has_turns: set[str] = set()
        # Those that have a turn already stand apart, as they will be once they have been served.
        after: list[_Entry] = []
        served = self._served
        while len(order) < most:
            entry = self._first(looked_at, has_turns, takes)
            if after and (entry is None or after[0] < entry):
                entry = heappop(after)
            elif entry is None:
                break
            else:
                heappop(self._order)
            free, _, name = entry
            has_turns.add(name)
            order.append(name)
            served += 1
            if free + 1 < 0:
                heappush(after, (free + 1, served, name))
        for name in has_turns:
            self._enter(self._members[name])
        return order

    def enter(self, name: str) -> None:
        """A member takes deliveries again, or was given some."""
        member = self._members.get(name)
        if member is not None:
            self._enter(member)

    def give(self, name: str, offset: int, fence: int, until: int, life: str = "") -> bool:
        """A member has a delivery, until its lease runs out; False where it is gone.

        It has no turn again before it is ``enter``ed: once for all that it is given together. ``life`` names
        the lease where it is looked over.
        """
        member = self._members.get(name)
        if member is None:
            return False
        self._served += 1
        member.served = self._served
        lease = (offset, fence)
        member.held[lease] = until
        self._holders[lease] = member
        self._lives[lease] = life
        self._timers.add(until, lease)
        return True

    def end(self, leases: Iterable[tuple[int, int]]) -> None:
        """Leases have ended, whoever had them; each by its offset and fence."""
        freed: dict[GroupMember, None] = {}
        for lease in leases:
            member = self._holders.pop(lease, None)
            if member is not None:
                del member.held[lease], self._lives[lease]
                freed[member] = None
        for member in freed:
            self._enter(member)

    def extend(self, offset: int, fence: int, until: int) -> None:
        """A lease lasts longer."""
        member = self._holders.get((offset, fence))
        if member is not None and until > member.held[offset, fence]:
            member.held[offset, fence] = until
            self._timers.add(until, (offset, fence))

    def expire(self, now: int) -> int | None:
        """Forget leases that have run out; return when the next one does."""
        while (lease := self._timers.take(now)) is not None:
            self.end([lease])
        return self._timers.next

    def look_over(self, most: int) -> list[tuple[int, int, str]]:
        """Leases that may have ended elsewhere, at most ``most``; those that were looked over longest ago.

        None where everybody has credit left: then nobody waits for it.
        """
        if all(each.free or not each.credit for each in self._members.values()):
            return []
        leases = list(islice(self._holders, most))
        for lease in leases:
            self._holders[lease] = self._holders.pop(lease)
        return [(*lease, self._lives[lease]) for lease in leases]

    # Inside

    def _is_due(self, until: int, lease: tuple[int, int]) -> bool:
        """Whether a lease still ends then."""
        member = self._holders.get(lease)
        return member is not None and member.held[lease] == until

    def _enter(self, member: GroupMember) -> None:
        free = member.free
        if not free:
            return
        if len(self._order) > 2 * len(self._members) + _SLACK:
            self._order = [
                (-each.free, each.served, each.name) for each in self._members.values() if each.free
            ]
            heapify(self._order)
        else:
            heappush(self._order, (-free, member.served, member.name))

    def _first(
        self, looked_at: dict[str, bool], has_turns: set[str], takes: Callable[[str], bool]
    ) -> _Entry | None:
        """The first entry that is true, of a member that takes and has no turn yet; it stays where it is."""
        order = self._order
        while order:
            free, served, name = order[0]
            member = self._members.get(name)
            true = member is not None and (-member.free, member.served) == (free, served)
            if true and name not in has_turns:
                if name not in looked_at:
                    looked_at[name] = takes(name)
                if looked_at[name]:
                    return order[0]
            heappop(order)
        return None
