"""Keeping what a group changes: one step at a time, each with all that has changed since the one before.

Whoever changes something waits for a step that began afterwards. While one is under way, what changes is
gathered for the next: so a group's acknowledgements and leases share steps whoever makes them, and what a
step failed to keep is in the next one again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import StreamUnavailable
from gateway.streams.groups.journal import GroupChange, GroupCounters, GroupState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.groups.deliveries import Dead
    from gateway.core.groups.group import Group
    from gateway.core.messages.publication import Publication
    from gateway.streams.groups.backlog import GroupBacklog
    from gateway.streams.groups.journal import GroupJournal, KeptChange


class GroupKeeper:
    """Keeps one group.

    Attributes:
        group: whose changes are kept.
        backlog: what it hasn't come to.
        redriven: publications that were sent back from the dead letters, and aren't finished.
        buried: what became a dead letter since the last step.
        sent_back: dead letters that were sent back since then.
        dead: how many dead letters are kept.
        floor: up to this offset everything was finished when the last step was done: retention may take it.
    """

    def __init__(
        self,
        stream: str,
        group: Group,
        backlog: GroupBacklog,
        journal: GroupJournal,
        *,
        seconds: float,
        finished: Callable[[], None],
    ) -> None:
        """Keep in ``journal``, for which nobody waits longer than ``seconds``.

        ``finished`` is called where a step let others go on.
        """
        self.group = group
        self.backlog = backlog
        self.redriven: dict[int, Publication] = {}
        self.buried: list[Dead] = []
        self.sent_back: list[int] = []
        self._ended: list[int] = []
        self.dead = 0
        self.floor = group.finished.floor
        self._counted = self.counters()
        self._stream = stream
        self._journal = journal
        self._seconds = seconds
        self._finished = finished
        self._burying = 0
        self._steps = 0
        self._step: asyncio.Future[KeptChange] | None = None

    def counters(self) -> GroupCounters:
        """What the group has counted."""
        group = self.group
        return GroupCounters(
            group.finished.floor, group.fence, group.redelivered, group.lost, self.backlog.trimmed
        )

    def whole(self, life: str, epoch: str, held: dict[int, Publication]) -> GroupState:
        """The group as it is now; ``held`` are the dead letters that keep their keys waiting."""
        group = self.group
        return GroupState(
            group.configuration,
            life,
            epoch,
            self.counters(),
            group.finished.ranges(),
            [each.copy() for each in group.deliveries.values()],
            dict(self.redriven),
            held,
            self.dead,
        )

    @property
    def dying(self) -> int:
        """How many became dead letters, but aren't kept as such yet."""
        return len(self.buried) + self._burying

    async def keep(self) -> None:
        """Wait until all that has changed so far is kept.

        Raises:
            StreamUnavailable: it can't be; it will be tried again with what changes next.
        """
        if self._step is None or self._step.done():
            if self._has_changed():
                self._begin()
            if self._step is None or self._step.done():
                if self._step is not None:
                    self._step.result()
                return
        try:
            async with asyncio.timeout(self._seconds):
                await self._wait()
        except TimeoutError as exc:
            raise StreamUnavailable("the store of streams does not answer") from exc

    async def _wait(self) -> None:
        begun = self._steps
        if self._has_changed():
            while self._steps == begun and self._step is not None and not self._step.done():
                await asyncio.wait([self._step])
            if self._steps == begun:
                self._begin()
        if self._step is not None:
            await asyncio.shield(self._step)

    async def settle(self) -> None:
        """Wait until no step is under way; what it came to doesn't matter."""
        while self._step is not None and not self._step.done():
            await asyncio.wait([self._step])

    def restart(self, group: Group, backlog: GroupBacklog) -> None:
        """Go on with a group that was kept whole just now."""
        self.group, self.backlog = group, backlog
        self._burying = 0
        self.floor = group.finished.floor
        self._counted = self.counters()

    def _has_changed(self) -> bool:
        group = self.group
        if group.changed or group.finished.changed or self.buried or self.sent_back:
            return True
        return self._counted != self.counters()

    def _begin(self) -> None:
        self._gather_ended()
        change = GroupChange(self.counters(), buried=self.buried, redriven=self.sent_back, ended=self._ended)
        self._burying = len(self.buried)
        self.buried, self.sent_back, self._ended = [], [], []
        self._gather(change)
        self._steps += 1
        self._counted = change.counters
        step = self._step = self._journal.save(self._stream, self.group.configuration, change)
        # A memory's step is done already: then nobody has to be called.
        if step.done():
            self._end(change, step)
        else:
            group = self.group
            step.add_done_callback(lambda done: self._end(change, done) if group is self.group else None)

    def _gather_ended(self) -> None:
        group = self.group
        if self.redriven:
            for offset in group.changed:
                if offset not in group.deliveries and self.redriven.pop(offset, None) is not None:
                    self._ended.append(offset)

    def _gather(self, change: GroupChange) -> None:
        group, finished = self.group, self.group.finished
        if self._journal.durable:
            for offset in group.changed:
                change.deliveries[offset] = group.deliveries.get(offset)
            for first in finished.changed:
                found = finished.range_from(first)
                change.ranges[first] = None if found is None else found[1]
        group.changed.clear()
        finished.changed.clear()

    def _end(self, change: GroupChange, step: asyncio.Future[KeptChange]) -> None:
        group = self.group
        self._burying = 0
        if step.cancelled() or step.exception() is not None:
            group.changed |= change.deliveries.keys()
            group.finished.changed |= change.ranges.keys()
            self.buried = change.buried + self.buried
            self.sent_back = change.redriven + self.sent_back
            self._ended = change.ended + self._ended
            self._counted = GroupCounters()
            return
        kept = step.result()
        if kept.dead is not None:
            self.dead = kept.dead
        # Later steps may have moved it on meanwhile, but they aren't kept yet.
        self.floor = change.counters.floor
        group.lost += len(kept.missing)
        if kept.missing or kept.evicted:
            # What kept its key waiting, and has gone from the dead letters, can't be decided on any more.
            for offset in (*kept.missing, *kept.evicted):
                group.discard(offset)
            self._finished()
