"""Whether the leases that members on this node have still are theirs.

A token is good at every door of every node, so a member may have answered where this node hears nothing of
it, or an answer was carried out but got lost on its way. Its credit would be taken until the lease's end.
So, where a member has no credit left, the store is asked now and then; the more often, the more has ended.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Final

from gateway.streams.groups.base import Lease

if TYPE_CHECKING:
    from gateway.core.groups.members import Members
    from gateway.engine.groups import GroupKey
    from gateway.streams.groups.base import GroupStore

_AT_ONCE: Final = 500
"""How many leases are looked at in one step; what a store does in one."""

_SHORTEST: Final = 20
_LONGEST: Final = 1000
"""Milliseconds between two looks."""


class LeaseReview:
    """Looks over the leases of one group's members."""

    def __init__(self) -> None:
        self._pause = _LONGEST
        self._at = 0

    async def look(self, store: GroupStore, key: GroupKey, members: Members, now: int) -> int | None:
        """End what has ended elsewhere; when to look again (ms since 1970), None where nobody waits for it.

        Raises:
            NotFound: the group has gone.
            StreamUnavailable: the store can't tell.
        """
        # A clock that was set back must not make it wait longer.
        if now < self._at <= now + _LONGEST:
            return self._at
        self._at = now + _LONGEST
        named = members.look_over(_AT_ONCE)
        if not named:
            return None
        held = await store.held(*key, [Lease(*each) for each in named])
        ended = list(compress(named, (not each for each in held)))
        members.end([(offset, fence) for offset, fence, _ in ended])
        self._pause = _SHORTEST if ended else min(self._pause * 2, _LONGEST)
        self._at = now + self._pause
        return self._at
