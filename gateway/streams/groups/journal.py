"""What outlives a process of the groups that it owns, and where that is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.groups.deliveries import Dead, TrackedDelivery
    from gateway.core.messages.publication import Publication
    from gateway.streams.groups.base import DeadLetter

_DIGITS: Final = 19


class GroupCounters(NamedTuple):
    """What a group has counted.

    Attributes:
        floor: the place up to which all is finished.
        fence: of the newest lease.
        redelivered: leases of what had failed before.
        lost: what retention took before it was finished.
        trimmed: up to which offset that was counted.
    """

    floor: int = 0
    fence: int = 0
    redelivered: int = 0
    lost: int = 0
    trimmed: int = 0


class Trimmed(NamedTuple):
    """A publication that retention has taken from a log."""

    offset: int
    topic: str
    key: str | None


@dataclass(slots=True)
class GroupState:
    """A group as it was kept.

    Attributes:
        life: of its leases; those of a former one are stale.
        epoch: of the log that its offsets are of.
        counters: as of the last change.
        ranges: what is finished behind the floor, first and last offset of each.
        deliveries: what isn't simply waiting.
        redriven: publications that were sent back from the dead letters, and aren't finished.
        held: those of dead letters that keep their key waiting.
        dead: how many dead letters there are.
        trimmed: what retention has taken since that was counted last.
    """

    configuration: GroupConfiguration
    life: str
    epoch: str
    counters: GroupCounters
    ranges: Sequence[tuple[int, int]] = ()
    deliveries: Sequence[TrackedDelivery] = ()
    redriven: Mapping[int, Publication] = field(default_factory=dict)
    held: Mapping[int, Publication] = field(default_factory=dict)
    dead: int = 0
    trimmed: Sequence[Trimmed] = ()


class LoadedGroups(NamedTuple):
    """What was kept of a stream's groups, and the names of those of which it is damaged beyond use."""

    states: Sequence[GroupState] = ()
    damaged: Sequence[str] = ()


@dataclass(slots=True)
class GroupChange:
    """What one step has changed of a group; kept whole or not at all.

    Attributes:
        counters: as they are now.
        deliveries: by offset, as they are now; None: there is none any more.
        ranges: by first offset, the last one; None: that range is no more.
        buried: what becomes a dead letter, with a copy of its publication: made in the same step, so that
            neither retention nor a crash comes in between.
        redriven: offsets of dead letters that are sent back: their copies are kept, but not as dead.
        ended: offsets of redriven publications that are finished: their copies go.
    """

    counters: GroupCounters
    deliveries: dict[int, TrackedDelivery | None] = field(default_factory=dict)
    ranges: dict[int, int | None] = field(default_factory=dict)
    buried: list[Dead] = field(default_factory=list)
    redriven: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)


class KeptChange(NamedTuple):
    """What came of keeping something.

    Attributes:
        dead: how many dead letters there are now; None where that hasn't changed.
        missing: offsets of what should have become one, but that the log can't give any more.
        evicted: offsets of dead letters that went, since there were too many or they were too old.
    """

    dead: int | None
    missing: Sequence[int] = ()
    evicted: Sequence[int] = ()


class GroupJournal(Protocol):
    """Keeps groups; what is saved in order is kept in order.

    Every call raises ``StreamUnavailable`` where nothing can be kept.

    Attributes:
        durable: deliveries and ranges are kept too; where they aren't, nobody has to gather them.
    """

    durable: bool

    async def load(self, stream: str) -> LoadedGroups:
        """All groups of a stream."""
        ...

    async def begin(self, stream: str, state: GroupState) -> None:
        """Keep a new group, or one under other settings or another life: this is all there is of it now.

        Dead letters stay.
        """
        ...

    def save(
        self, stream: str, configuration: GroupConfiguration, change: GroupChange
    ) -> asyncio.Future[KeptChange]:
        """Keep a change; done when it is. What it refers to may change once this has returned.

        Dead letters beyond those that may be kept go, the oldest first.
        """
        ...

    async def expire(self, stream: str, group: str, before: int) -> KeptChange:
        """Forget dead letters that failed last before that time (ms since 1970), a bounded number."""
        ...

    async def end(self, stream: str, group: str) -> None:
        """Forget a group and its dead letters."""
        ...

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> Sequence[DeadLetter]:
        """At most ``limit`` dead letters that failed before the one named ``after``, the newest first."""
        ...

    async def dead(self, stream: str, group: str, offsets: Sequence[int]) -> Sequence[DeadLetter]:
        """The dead letters of these offsets that there are, ascending."""
        ...

    async def discard(self, stream: str, group: str, offsets: Sequence[int]) -> int:
        """Forget the dead letters of these offsets; how many there are now."""
        ...


def letter_id(last_failed: int, offset: int) -> str:
    """The name of a dead letter: of this failure of this publication, and of no later one."""
    return f"{last_failed}-{offset}"


def letter_place(name: str) -> tuple[int, int] | None:
    """When a dead letter failed last, and its offset, by its name; None for what is no name."""
    failed, dash, offset = name.partition("-")
    if not dash or not all(
        each.isascii() and each.isdigit() and len(each) < _DIGITS for each in (failed, offset)
    ):
        return None
    return int(failed), int(offset)
