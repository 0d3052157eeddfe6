"""What all use cases of groups have in common: the store behind the grant, and what they have done."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gateway.core.groups.delivery_token import LeaseName, encode_token
from gateway.core.messages.events import Delivery
from gateway.errors import NotFound, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.auth.grants import Grants
    from gateway.engine.metrics.refusals import Refusals
    from gateway.streams.groups.base import GroupStore, LeasedPublication

GroupKey: TypeAlias = tuple[str, str]
"""A stream and one of its groups."""


@dataclass(slots=True)
class GroupCounts:
    """What this node has done for a group since it started.

    Attributes:
        delivered: deliveries, repeated ones included.
        acknowledged: of these, those that members have done.
        rejected: those that members gave back as failed.
        stale: answers that came when the lease had run out.
    """

    delivered: int = 0
    acknowledged: int = 0
    rejected: int = 0
    stale: int = 0


class Groups:
    """The groups of this node's streams.

    Attributes:
        store: keeps them; None where there are no streams.
        counts: by group; only of groups that there are, or were.
    """

    def __init__(self, store: GroupStore | None, refusals: Refusals) -> None:
        self.store = store
        self.counts: defaultdict[GroupKey, GroupCounts] = defaultdict(GroupCounts)
        self._refusals = refusals

    def keep(self, there_are: Collection[GroupKey]) -> None:
        """Forget what was done for groups that are no more."""
        for key in [key for key in self.counts if key not in there_are]:
            del self.counts[key]

    async def when_known(self, stream: str, group: str, grants: Grants) -> None:
        """Return once ``grants`` know about a group, see ``Grants.when_known``."""
        if not grants.may_consume(stream, group):
            await grants.when_known("consume", f"{stream}/{group}")

    def check_grant(self, stream: str, group: str, grants: Grants) -> None:
        """Raise ``NotPermitted`` where no grant allows to consume from a group."""
        if not grants.may_consume(stream, group):
            self._refusals.count("grant")
            raise NotPermitted("no grant to consume from this group")

    def consumable(self, stream: str, group: str, grants: Grants) -> GroupStore:
        """The store of a group that may be consumed from.

        Raises:
            NotPermitted: no grant allows it.
            NotFound: there are no streams.
        """
        # The grant first: whoever has none is not told which streams there are.
        self.check_grant(stream, group, grants)
        if self.store is None:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        return self.store


def delivery_of(key: GroupKey, leased: LeasedPublication) -> Delivery:
    """What a member is given."""
    stream, group = key
    publication, (offset, fence, life), _, attempt, deadline = leased
    token = encode_token(LeaseName(stream, group, offset, fence, life))
    return Delivery(publication, token, group, attempt, deadline, fence)
