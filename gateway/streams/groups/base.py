"""What keeps groups: which publication of a log is whose, until when, and what became of it.

A group reads a log with leases; nothing is consumed away. Whatever a store is made of, it promises:

* a publication has one valid lease at most, of all members on all nodes;
* what was answered as acknowledged never comes again; what wasn't does, or is a dead letter in the end;
* a lease is kept before its delivery is given, so that no failed delivery goes uncounted, whoever dies;
* ``core/groups/group.py`` says what happens; ``tests/conformance/test_groups.py`` holds all stores to it.

Spec: docs/queues.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.groups.deliveries import DeliveryFailure
    from gateway.core.messages.publication import Publication


class Lease(NamedTuple):
    """One lease, named: a later one of the same publication has a larger fence.

    Attributes:
        offset: the publication's.
        fence: grows with every lease of the group.
        life: of the group's state; a lease of a former one is stale.
    """

    offset: int
    fence: int
    life: str


class LeasedPublication(NamedTuple):
    """A delivery: ``attempt`` counts from 1, ``deadline`` is in milliseconds since 1970."""

    publication: Publication
    lease: Lease
    member: str
    attempt: int
    deadline: int


class Taken(NamedTuple):
    """What a group had to give now.

    Attributes:
        deliveries: in turn.
        next_due: when there may be something that nobody tells of (ms since 1970); None where there is none.
        now: by the store's clock, where that isn't this process's: deadlines and ``next_due`` are by it.
    """

    deliveries: Sequence[LeasedPublication]
    next_due: int | None = None
    now: int | None = None


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """What a group has to do and has done: the figures that a queue is watched by.

    Attributes:
        depth: publications not yet acknowledged or dead.
        in_flight: of these, leased.
        delayed: of these, waiting for a delay or a backoff to end.
        parked: of these, waiting behind another one of their key.
        redelivered: deliveries so far that were not the first ones.
        dead: dead letters kept.
        lost: publications that retention took before they were finished.
        oldest: the time (ms since 1970) of the oldest publication in ``depth``, or None.
        members: who holds leases, with how many.
    """

    depth: int = 0
    in_flight: int = 0
    delayed: int = 0
    parked: int = 0
    redelivered: int = 0
    dead: int = 0
    lost: int = 0
    oldest: int | None = None
    members: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where one publication is, and why.

    Attributes:
        offset: its offset.
        state: ``waiting``, ``delayed``, ``parked``, ``leased``, ``finished``, ``dead``, ``gone`` (not in the
            log any more), ``beyond`` (not in the log yet) or ``other`` (not for this group).
        attempts: deliveries that failed.
        failures: why the last ones did.
        member: who has it.
        since: since when (ms since 1970).
        due: when its lease or delay ends.
        behind: the offset that it is parked behind.
        ahead: how many publications go out before it, where that is known.
    """

    offset: int
    state: str
    attempts: int = 0
    failures: Sequence[DeliveryFailure] = ()
    member: str | None = None
    since: int | None = None
    due: int | None = None
    behind: int | None = None
    ahead: int | None = None


class DeadLetter(NamedTuple):
    """A publication that nobody could handle; kept whatever retention takes from the log.

    Attributes:
        id: names it for ``redrive`` and ``discard``.
        publication: as it was published, with its offset.
        attempts: deliveries that failed.
        reason: why the last one did.
        first_failed: milliseconds since 1970.
        last_failed: the same.
    """

    id: str
    publication: Publication
    attempts: int
    reason: str
    first_failed: int
    last_failed: int


class GroupStore(Protocol):
    """All streams' groups, as one node uses them. Everything runs on one event loop.

    Every call raises ``NotFound`` where there is no such group, and ``StreamUnavailable`` where the store
    can't be reached; what it asked for may have been done all the same.
    """

    async def put(self, stream: str, configuration: GroupConfiguration) -> bool:
        """Make a group, or change one as it stands; whether it was made.

        ``start`` counts only when it is made; a wider filter only for what it hasn't come to.
        """
        ...

    async def delete(self, stream: str, group: str) -> None:
        """End a group, its leases and its dead letters."""
        ...

    async def groups(self, stream: str) -> Mapping[str, GroupConfiguration]:
        """All groups of a stream, by name."""
        ...

    async def take(self, stream: str, group: str, members: Sequence[str]) -> Taken:
        """Lease what is next in turn: one publication for each of ``members``, in that order.

        Args:
            stream: a configured stream.
            group: one of its groups.
            members: names that are unique among all nodes; one may come several times.
        """
        ...

    async def acknowledge(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """It is done: for each lease whether it still was one."""
        ...

    async def reject(
        self,
        stream: str,
        group: str,
        leases: Sequence[Lease],
        *,
        delay: int | None = None,
        dead: bool = False,
    ) -> Sequence[bool]:
        """It failed: it comes again after ``delay`` ms, or its backoff, or is a dead letter now."""
        ...

    async def extend(self, stream: str, group: str, leases: Sequence[Lease], by: int) -> Sequence[bool]:
        """It takes longer: the deadline is ``by`` milliseconds from now, unless it was later already."""
        ...

    async def held(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """For each lease whether it still is one: its member may have answered elsewhere."""
        ...

    async def give_back(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """Nothing was done with these: they are another one's at once, and no attempt is counted."""
        ...

    async def release(self, stream: str, group: str, member: str) -> None:
        """A member goes as it should: what it has is another one's at once, and no attempt is counted."""
        ...

    async def lose(self, stream: str, group: str, member: str) -> None:
        """A member has vanished: what it has counts as failed."""
        ...

    def watch(self, stream: str, group: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called when there may be something to take; return what ends that.

        ``Taken.next_due`` tells of what time brings. A call that comes for nothing does no harm.
        """
        ...

    async def figures(self, stream: str, group: str) -> GroupStatistics:
        """What the group has to do, exactly."""
        ...

    async def explain(self, stream: str, group: str, offset: int) -> Explanation:
        """Where one publication is."""
        ...

    async def browse(
        self, stream: str, group: str, state: str | None, *, after: int, limit: int
    ) -> tuple[Sequence[Explanation], int | None]:
        """What is in a state, or anything unfinished, in offset order behind ``after``, and where to go on.

        A page may end early, even without anything, since no more is looked through than is good for others;
        there is nothing more where the second is None.
        """
        ...

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> tuple[Sequence[DeadLetter], str | None]:
        """Dead letters, the newest first, behind the one named ``after``; and the name to go on behind."""
        ...

    async def redrive(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None = None,
        topic_filter: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Send dead letters back, in bounded steps: these, those on topics that match, or all; how many.

        Each begins with its first attempt again.
        """
        ...

    async def discard(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None = None,
        topic_filter: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Give dead letters up for good, in bounded steps; how many."""
        ...
