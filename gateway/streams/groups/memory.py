"""Groups of streams that are kept in memory: they live as long as the streams do."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.streams.groups.base import DeadLetter
from gateway.streams.groups.journal import KeptChange, LoadedGroups, letter_id, letter_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.messages.publication import Publication
    from gateway.streams.groups.journal import GroupChange, GroupState

_EXPIRED_TOGETHER = 1000


@dataclass(slots=True)
class _Copies:
    """What is kept of one group: dead letters by offset, and in order of their failure; what was redriven."""

    dead: dict[int, DeadLetter] = field(default_factory=dict)
    order: list[tuple[int, int]] = field(default_factory=list)
    redriven: dict[int, Publication] = field(default_factory=dict)

    def bury(self, letter: DeadLetter, offset: int) -> None:
        # Of another life of the log there may be one of that offset.
        self.take_out(offset)
        self.dead[offset] = letter
        insort(self.order, (letter.last_failed, offset))

    def take_out(self, offset: int) -> DeadLetter | None:
        letter = self.dead.pop(offset, None)
        if letter is not None:
            del self.order[bisect_left(self.order, (letter.last_failed, offset))]
        return letter

    def evict(self, count: int) -> list[int]:
        """Let the oldest go."""
        evicted = [offset for _, offset in self.order[:count]]
        del self.order[:count]
        for offset in evicted:
            del self.dead[offset]
        return evicted


class MemoryJournal:
    """Keeps dead letters, and copies of what was sent back; all else is in memory as it is."""

    durable = False

    def __init__(self, publication: Callable[[str, int], Publication | None]) -> None:
        """Copy from where ``publication`` gives what a stream's log has at an offset."""
        self._publication = publication
        self._copies: dict[tuple[str, str], _Copies] = {}

    async def load(self, stream: str) -> LoadedGroups:  # noqa: ARG002 - nothing outlives the process
        """None: a process begins with nothing."""
        return LoadedGroups()

    async def begin(self, stream: str, state: GroupState) -> None:
        """A group begins, or goes on differently."""
        self._copies.setdefault((stream, state.configuration.name), _Copies())

    def save(
        self, stream: str, configuration: GroupConfiguration, change: GroupChange
    ) -> asyncio.Future[KeptChange]:
        """Dead letters come and go, at once."""
        done: asyncio.Future[KeptChange] = asyncio.get_running_loop().create_future()
        # Of a group that was ended meanwhile there is nothing to keep.
        copies = self._copies.get((stream, configuration.name)) or _Copies()
        missing: list[int] = []
        for offset in change.redriven:
            if (letter := copies.take_out(offset)) is not None:
                copies.redriven[offset] = letter.publication
        for each in change.buried:
            publication = copies.redriven.get(each.offset) or self._publication(stream, each.offset)
            if publication is None:
                missing.append(each.offset)
                continue
            identity = letter_id(each.last_failed, each.offset)
            letter = DeadLetter(
                identity, publication, each.attempts, each.reason, each.first_failed, each.last_failed
            )
            copies.bury(letter, each.offset)
        for offset in change.ended:
            copies.redriven.pop(offset, None)
        evicted = copies.evict(max(0, len(copies.dead) - configuration.dead_max_messages))
        done.set_result(KeptChange(len(copies.dead), missing, evicted))
        return done

    async def expire(self, stream: str, group: str, before: int) -> KeptChange:
        """The oldest go."""
        copies = self._copies[stream, group]
        count = min(_EXPIRED_TOGETHER, bisect_left(copies.order, (before, 0)))
        evicted = copies.evict(count)
        return KeptChange(len(copies.dead), (), evicted)

    async def end(self, stream: str, group: str) -> None:
        """The group is no more."""
        self._copies.pop((stream, group), None)

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> Sequence[DeadLetter]:
        """The newest first."""
        copies = self._copies[stream, group]
        end = len(copies.order)
        if after is not None:
            place = letter_place(after)
            end = 0 if place is None else bisect_left(copies.order, place)
        found = copies.order[max(0, end - limit) : end]
        return [copies.dead[offset] for _, offset in reversed(found)]

    async def dead(self, stream: str, group: str, offsets: Sequence[int]) -> Sequence[DeadLetter]:
        """Those of these offsets."""
        dead = self._copies[stream, group].dead
        return [dead[offset] for offset in sorted(set(offsets)) if offset in dead]

    async def discard(self, stream: str, group: str, offsets: Sequence[int]) -> int:
        """They are no more."""
        copies = self._copies[stream, group]
        for offset in offsets:
            copies.take_out(offset)
        return len(copies.dead)
