"""One group of a store that this process owns: the state machine, its log, and what outlives the process.

What a group needs of its log takes time; what decides, doesn't. So deliveries are taken one call after the
other, while acknowledgements come in between. Everything is kept before it is told.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.groups.deliveries import Dead, DeliveryState
from gateway.core.topics.grammar import matches
from gateway.errors import GatewayError, NotFound, StreamUnavailable
from gateway.streams.groups.backlog import GroupBacklog
from gateway.streams.groups.base import Lease, LeasedPublication, Taken
from gateway.streams.groups.keeping import GroupKeeper
from gateway.streams.groups.restoring import group_of, restore_deliveries
from gateway.streams.groups.whereabouts import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.groups.group import Group
    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Readable
    from gateway.streams.groups.base import DeadLetter, GroupStatistics
    from gateway.streams.groups.journal import GroupJournal, GroupState, Trimmed


class LocalGroup:
    """One group; ``load`` must follow before anything else is done with it.

    Attributes:
        group: what decides.
    """

    def __init__(
        self,
        stream: str,
        state: GroupState,
        log: Readable,
        journal: GroupJournal,
        clock: Callable[[], int],
        *,
        seconds: float,
    ) -> None:
        """Go on with ``state``; nobody waits longer than ``seconds`` for what is to be kept."""
        self._stream = stream
        self._log = log
        self._journal = journal
        self._clock = clock
        self._time = 0
        self._turn = asyncio.Lock()
        self._loaded = asyncio.Event()
        self._whole = False
        self._resuming = asyncio.Lock()
        self._ended = False
        self._missed: list[Trimmed] = []
        self._watchers: dict[Callable[[], None], None] = {}
        self._state = state
        self.group, self._backlog = self._made_of(state)
        self._keeper = GroupKeeper(
            stream, self.group, self._backlog, journal, seconds=seconds, finished=self.wake
        )
        self._keeper.dead = state.dead

    @property
    def configuration(self) -> GroupConfiguration:
        """As it is now."""
        return self.group.configuration

    @property
    def floor(self) -> int:
        """Everything up to this offset is finished, and kept as such: retention may take it."""
        return self._keeper.floor

    def _made_of(self, state: GroupState) -> tuple[Group, GroupBacklog]:
        group = group_of(state)
        return group, GroupBacklog(self._stream, group, self._log, trimmed=state.counters.trimmed)

    async def load(self) -> None:
        """Have everything that was kept go on, and know how much is waiting."""
        group, state, redriven = self.group, self._state, dict(self._state.redriven)
        self._keeper.redriven = redriven
        last = restore_deliveries(group, redriven, state.held)
        self._backlog.take_trimmed([each for each in state.trimmed if each.offset > self._backlog.trimmed])
        await self._backlog.load(self._now())
        for offset in last:
            group.restore(offset, redriven[offset].topic, redriven[offset].key)
        self._state = replace(state, ranges=(), deliveries=(), redriven={}, held={}, trimmed=())
        self._whole = True
        self._missed.clear()
        self._loaded.set()
        with suppress(StreamUnavailable):
            # It is tried again with whatever changes next.
            await self._keeper.keep()

    async def change(self, alter: Callable[[GroupState], GroupState]) -> None:
        """Go on as what ``alter`` makes of its state, under the same roof: watchers and dead letters stay.

        Raises:
            StreamUnavailable: it can't be kept; then it goes on as it was.
        """
        async with self._turn:
            # Where it can't be kept in parts, it is as a whole.
            with suppress(GatewayError):
                await self._keeper.keep()
            self._loaded.clear()
            self._missed.clear()
            try:
                # Nothing changes from here on, but for what comes to the log and leaves it.
                await self._keeper.settle()
                held = [o for o, each in self.group.deliveries.items() if each.state is DeliveryState.DEAD]
                letters: Sequence[DeadLetter] = ()
                with suppress(NotFound):
                    letters = await self._journal.dead(self._stream, self.configuration.name, held)
                copies = {each.publication.offset or 0: each.publication for each in letters}
                former = self._keeper.whole(self._state.life, self._state.epoch, copies)
                state = alter(former)
                await self._journal.begin(self._stream, state)
                self._state, self._whole = state, False
                await self._resume()
            finally:
                self._loaded.set()
        self.wake()

    def end(self) -> None:
        """It is no more: whoever has it in hand finds out."""
        self._ended = True
        self.wake()

    # What comes

    def appended(self, publications: Iterable[Publication]) -> None:
        """The log has more."""
        if self._backlog.appended(publications):
            self.wake()

    def trimmed(self, gone: Sequence[Trimmed]) -> None:
        """Retention has taken these from the log."""
        if not (self._whole and self._loaded.is_set()):
            self._missed += gone
        self._backlog.take_trimmed(gone)
        self._wake_if_free()

    def purged(self, gone: Sequence[Trimmed]) -> None:
        """These were removed from the log on purpose."""
        self._backlog.take_purged(gone)
        self._wake_if_free()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called when there may be something to take."""

        def once() -> None:
            wake()

        self._watchers[once] = None
        return lambda: self._watchers.pop(once, None)

    def wake(self) -> None:
        """Tell those who watch that there may be something to take."""
        for each in list(self._watchers):
            each()

    # Deliveries

    async def take(self, members: Sequence[str]) -> Taken:
        """Lease what is next in turn, one for each of ``members``."""
        async with self._turn:
            await self._usable()
            group = self.group
            given: list[LeasedPublication] = []
            try:
                while len(given) < len(members):
                    await self._backlog.read_ahead(len(members) - len(given), self._time)
                    offsets = group.take(len(members) - len(given))
                    if not offsets:
                        break
                    await self._lease(offsets, members, given)
                await self._keeper.keep()
            except BaseException:
                for each in given:
                    group.give_back(each.lease.offset, each.lease.fence)
                self.wake()
                raise
            return Taken(given, group.next_due)

    async def _lease(
        self, offsets: Sequence[int], members: Sequence[str], given: list[LeasedPublication]
    ) -> None:
        group, redriven = self.group, self._keeper.redriven
        left = list(reversed(offsets))
        try:
            wanted = offsets if not redriven else [each for each in offsets if each not in redriven]
            found = await self._backlog.publications(wanted) if wanted else {}
            now, life = self._now(), self._state.life
            while left:
                offset = left[-1]
                publication = found.get(offset) or redriven.get(offset)
                lost = publication is None and not await self._backlog.was_purged(offset)
                left.pop()
                if publication is None:
                    group.gone(offset, lost=lost)
                    continue
                member = members[len(given)]
                delivery = group.lease(offset, member, now)
                lease = Lease(offset, delivery.fence, life)
                given.append(
                    LeasedPublication(publication, lease, member, delivery.attempts + 1, delivery.due)
                )
        finally:
            for offset in left:
                group.put_back(offset)

    async def acknowledge(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """They are done."""
        await self._usable()
        life, group = self._state.life, self.group
        full = not group.room
        answers = [each.life == life and group.ack(each.offset, each.fence) for each in leases]
        await self._keeper.keep()
        wake = self.wake if full else self._wake_if_free
        wake()
        return answers

    async def reject(self, leases: Sequence[Lease], *, delay: int | None, dead: bool) -> Sequence[bool]:
        """They failed."""
        await self._usable()
        life, group = self._state.life, self.group
        answers: list[bool] = []
        for each in leases:
            answer = each.life == life and group.nack(each.offset, each.fence, self._time, delay, dead=dead)
            if isinstance(answer, Dead):
                self._keeper.buried.append(answer)
            answers.append(bool(answer))
        await self._keeper.keep()
        self.wake()
        return answers

    async def extend(self, leases: Sequence[Lease], by: int) -> Sequence[bool]:
        """They take longer."""
        await self._usable()
        life, until = self._state.life, self._time + by
        answers = [each.life == life and self.group.extend(each.offset, each.fence, until) for each in leases]
        await self._keeper.keep()
        # Whoever waits for the next deadline doesn't know of this one.
        self.wake()
        return answers

    async def held(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """For each lease whether it still is one."""
        await self._usable()
        life, group = self._state.life, self.group
        return [each.life == life and group.leased(each.offset, each.fence) is not None for each in leases]

    async def give_back(self, leases: Sequence[Lease]) -> Sequence[bool]:
        """Nothing was done with them."""
        await self._usable()
        life, group = self._state.life, self.group
        answers = [each.life == life and group.give_back(each.offset, each.fence) for each in leases]
        await self._keeper.keep()
        self.wake()
        return answers

    async def release(self, member: str) -> None:
        """A member goes as it should."""
        await self._usable()
        self.group.release(member)
        await self._keeper.keep()
        self.wake()

    async def lose(self, member: str) -> None:
        """A member has vanished."""
        await self._usable()
        self._keeper.buried += self.group.lose(member, self._time)
        await self._keeper.keep()
        self.wake()

    # What is known

    async def whereabouts(self) -> Whereabouts:
        """Look at where its publications are now."""
        await self.settle()
        redriven = self._keeper.redriven
        return Whereabouts(self._stream, self.group, self._log, self._journal, redriven, now=self._now())

    async def figures(self) -> GroupStatistics:
        """What the group has to do."""
        where = await self.whereabouts()
        oldest = await where.oldest(self._backlog)
        # All of one moment: whatever is not to be done any more is dead already.
        return where.figures(self._backlog, self._keeper.dead + self._keeper.dying, oldest)

    async def settle(self) -> None:
        """Wait until all that has become of its publications so far is kept."""
        await self._usable()
        await self._keeper.keep()

    # Dead letters

    async def redrive(self, offsets: Sequence[int]) -> int:
        """Send dead letters back; how many."""
        async with self._turn:
            await self._usable()
            # What is about to be buried or sent back already is known to the journal first.
            await self._keeper.keep()
            letters = await self._journal.dead(self._stream, self.configuration.name, offsets)
            count = 0
            for each in letters:
                offset, publication = each.publication.offset or 0, each.publication
                if offset in self._keeper.redriven:
                    continue
                self._keeper.redriven[offset] = publication
                self._keeper.sent_back.append(offset)
                self.group.redrive(offset, publication.topic, publication.key)
                count += 1
            await self._keeper.keep()
        self.wake()
        return count

    async def discard(self, offsets: Sequence[int]) -> int:
        """Give dead letters up; how many."""
        async with self._turn:
            await self._usable()
            await self._keeper.keep()
            letters = await self._journal.dead(self._stream, self.configuration.name, offsets)
            found = [each.publication.offset or 0 for each in letters]
            self._keeper.dead = await self._journal.discard(self._stream, self.configuration.name, found)
            for offset in found:
                self.group.discard(offset)
            await self._keeper.keep()
        self._wake_if_free()
        return len(found)

    async def purge(self, topic_filter: str, before: int) -> int:
        """What was sent back from the dead letters goes as the log's own does; how many that are."""
        copies = [each for each in self._keeper.redriven.items() if each[0] < before]
        meant = [each for each in copies if matches(topic_filter, each[1].topic)]
        for offset, each in meant:
            self.group.remove(offset, each.key)
        await self._keeper.keep()
        self._wake_if_free()
        return len(meant)

    async def expire(self) -> None:
        """Forget dead letters that are too old; and keep what nobody waits for."""
        if self._ended or not (self._whole and self._loaded.is_set()):
            return
        await self._keeper.keep()
        if self._keeper.dead:
            before = self._clock() - round(self.configuration.dead_max_age * 1000)
            kept = await self._journal.expire(self._stream, self.configuration.name, before)
            if kept.dead is not None:
                self._keeper.dead = kept.dead
            for offset in kept.evicted:
                self.group.discard(offset)
            if kept.evicted:
                await self._keeper.keep()
                self._wake_if_free()

    # Inside

    async def _usable(self) -> None:
        """Wait until what was kept goes on, and let time pass: a lease that has run out is none."""
        while not self._loaded.is_set():
            await self._loaded.wait()
        await self._resume()
        if self._ended:
            raise NotFound(f"stream {self._stream[:64]!r} has no group {self.configuration.name[:64]!r}")
        self._keeper.buried += self.group.advance(self._now())

    async def _resume(self) -> None:
        """Go on with what was kept, where that was tried before and failed, or nobody waited for it."""
        if self._whole:
            return
        async with self._resuming:
            if not self._whole:
                # What retention took meanwhile, the state doesn't know of.
                self._state = replace(self._state, trimmed=tuple(self._missed))
                self.group, self._backlog = self._made_of(self._state)
                self._keeper.restart(self.group, self._backlog)
                await self.load()

    def _now(self) -> int:
        # Never back: what waits for a time is due once it has come.
        self._time = max(self._time, self._clock())
        return self._time

    def _wake_if_free(self) -> None:
        # What was done may have been the one that kept its key waiting.
        group = self.group
        if group.configuration.ordered_by_key and self._watchers:
            due = group.next_due
            if group.depth().waiting or (due is not None and due <= self._time):
                self.wake()
