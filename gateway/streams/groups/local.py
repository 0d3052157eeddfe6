"""Groups of a store that this process owns."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.core.groups.deliveries import DeliveryState
from gateway.core.messages.commands import Start, StartKind
from gateway.core.topics.grammar import matches
from gateway.errors import NotFound, StreamUnavailable
from gateway.streams.groups.journal import GroupCounters, GroupState, letter_place
from gateway.streams.groups.local_group import LocalGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import Bounds
    from gateway.streams.base import Readable
    from gateway.streams.groups.base import (
        DeadLetter,
        Explanation,
        GroupStatistics,
        Lease,
        Taken,
    )
    from gateway.streams.groups.journal import GroupJournal, Trimmed

_log = logging.getLogger("gateway.streams")
_DEAD_STEP: Final = 250
"""How many dead letters are sent back or given up in one step."""


def state_in(state: GroupState, bounds: Bounds) -> GroupState:
    """A group's state in the log as it is: what another life of the log doesn't hold is forgotten.

    Leases end there, and count as nothing: nobody can answer with what they were given before.
    """
    if state.epoch == bounds.epoch:
        return state
    last = bounds.last
    redriven = {offset: each for offset, each in state.redriven.items() if offset <= last}
    counters = state.counters._replace(
        floor=min(state.counters.floor, last),
        trimmed=min(state.counters.trimmed, last),
        # Their offsets will be other publications' ones.
        lost=state.counters.lost + len(state.redriven) - len(redriven),
    )
    return replace(
        state,
        life=secrets.token_hex(4),
        epoch=bounds.epoch,
        counters=counters,
        ranges=[(first, min(end, last)) for first, end in state.ranges if first <= last],
        deliveries=[
            replace(each, state=DeliveryState.READY, due=0) if each.state is DeliveryState.LEASED else each
            for each in state.deliveries
            if each.offset <= last
        ],
        redriven=redriven,
    )


class LocalGroups:
    """All groups of a store that this process owns."""

    def __init__(
        self,
        streams: Iterable[str],
        log: Readable,
        journal: GroupJournal,
        *,
        clock: Callable[[], int],
        seconds: float,
    ) -> None:
        """Groups of ``streams``, whose logs ``log`` reads; ``clock`` tells milliseconds since 1970.

        Nobody waits longer than ``seconds`` for something to be kept.
        """
        self._log = log
        self._journal = journal
        self._clock = clock
        self._seconds = seconds
        self._changing = asyncio.Lock()
        self._groups: dict[str, dict[str, LocalGroup]] = {stream: {} for stream in streams}
        self._damaged: set[tuple[str, str]] = set()
        self._unread: set[str] = set()

    async def start(self) -> None:
        """Go on with what was kept."""
        for stream in self._groups:
            try:
                await self._start_stream(stream)
            except StreamUnavailable as error:
                # The logs can be had all the same.
                self._unread.add(stream)
                _log.error("what is kept of groups of stream %r can't be read: %s", stream, error)

    async def _start_stream(self, stream: str) -> None:
        bounds = await self._log.bounds(stream)
        loaded = await self._journal.load(stream)
        self._damaged |= {(stream, name) for name in loaded.damaged}
        for state in loaded.states:
            kept = state_in(state, bounds)
            if kept is not state:
                try:
                    await self._journal.begin(stream, kept)
                except StreamUnavailable as error:
                    # What can be read is served; once something can be kept again, this is too.
                    _log.warning("groups of stream %r: %s", stream, error)
            await self._begin(stream, kept)

    def appended(self, stream: str, publications: Sequence[Publication]) -> None:
        """A log has more."""
        for each in self._groups[stream].values():
            each.appended(publications)

    def trimmed(self, stream: str, gone: Sequence[Trimmed]) -> None:
        """Retention has taken these from a log; what is behind ``floor`` has to be told."""
        for each in self._groups[stream].values():
            each.trimmed(gone)

    def purged(self, stream: str, gone: Sequence[Trimmed]) -> None:
        """These were removed from a log on purpose."""
        for each in self._groups[stream].values():
            each.purged(gone)

    async def purge(self, stream: str, topic_filter: str, before: int) -> int:
        """Remove copies, dead letters first of all, of what was removed from a log on purpose; how many."""
        count = 0
        for name, group in list(self._groups[stream].items()):
            offsets = await self._chosen(stream, name, None, topic_filter)
            count += await _in_steps(group.discard, [each for each in offsets if each < before])
            count += await group.purge(topic_filter, before)
        return count

    def has_any(self, stream: str) -> bool:
        """Whether the stream has groups."""
        return bool(self._groups[stream])

    def floor(self, stream: str) -> int | None:
        """Everything up to this offset is finished by all groups; None where there is no group."""
        return min((each.floor for each in self._groups[stream].values()), default=None)

    def kept_from(self, stream: str) -> int | None:
        """The first offset that retention must leave, since a group hasn't finished it, or None."""
        floors = [each.floor for each in self._groups[stream].values() if each.configuration.keep_unacked]
        return min(floors) + 1 if floors else None

    async def renewed(self, stream: str) -> None:
        """A log has begun another life, or may not have kept what it was given."""
        async with self._changing:
            bounds = await self._log.bounds(stream)
            for each in list(self._groups[stream].values()):
                await each.change(lambda state: state_in(state, bounds))

    async def sweep(self) -> None:
        """Forget what is too old, and try again to read what couldn't be."""
        for stream in list(self._unread):
            await self._start_stream(stream)
            self._unread.discard(stream)
        for groups in self._groups.values():
            for each in list(groups.values()):
                await each.expire()

    # GroupStore

    async def put(self, stream: str, configuration: GroupConfiguration) -> bool:
        """Make a group, or change one."""
        self._require(stream)
        async with self._changing:
            known = self._groups[stream].get(configuration.name)
            if known is not None:
                if known.configuration != configuration:
                    await known.change(lambda state: replace(state, configuration=configuration))
                return False
            bounds = await self._log.bounds(stream)
            start = configuration.start
            if (stream, configuration.name) in self._damaged:
                start = Start(StartKind.EARLIEST)
            floor = min(await self._start(stream, start, bounds), bounds.last)
            counters = GroupCounters(floor=floor, trimmed=floor)
            state = GroupState(configuration, secrets.token_hex(4), bounds.epoch, counters)
            await self._journal.begin(stream, state)
            await self._begin(stream, state)
            self._damaged.discard((stream, configuration.name))
        return True

    async def delete(self, stream: str, group: str) -> None:
        """End a group."""
        async with self._changing:
            ended = self._group(stream, group)
            await self._journal.end(stream, group)
            del self._groups[stream][group]
            ended.end()

    async def groups(self, stream: str) -> Mapping[str, GroupConfiguration]:
        """All groups of a stream."""
        self._require(stream)
        return {name: each.configuration for name, each in self._groups[stream].items()}

    async def take(self, stream: str, group: str, members: Sequence[str]) -> Taken:
        """Lease what is next in turn."""
        return await self._group(stream, group).take(members)

    async def acknowledge(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """They are done."""
        return await self._group(stream, group).acknowledge(leases)

    async def reject(
        self,
        stream: str,
        group: str,
        leases: Sequence[Lease],
        *,
        delay: int | None = None,
        dead: bool = False,
    ) -> Sequence[bool]:
        """They failed."""
        return await self._group(stream, group).reject(leases, delay=delay, dead=dead)

    async def extend(self, stream: str, group: str, leases: Sequence[Lease], by: int) -> Sequence[bool]:
        """They take longer."""
        return await self._group(stream, group).extend(leases, by)

    async def held(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """For each lease whether it still is one."""
        return await self._group(stream, group).held(leases)

    async def give_back(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """Nothing was done with them."""
        return await self._group(stream, group).give_back(leases)

    async def release(self, stream: str, group: str, member: str) -> None:
        """A member goes as it should."""
        await self._group(stream, group).release(member)

    async def lose(self, stream: str, group: str, member: str) -> None:
        """A member has vanished."""
        await self._group(stream, group).lose(member)

    def watch(self, stream: str, group: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called when there may be something to take."""
        return self._group(stream, group).watch(wake)

    async def figures(self, stream: str, group: str) -> GroupStatistics:
        """What the group has to do."""
        return await self._group(stream, group).figures()

    async def explain(self, stream: str, group: str, offset: int) -> Explanation:
        """Where one publication is."""
        return await (await self._group(stream, group).whereabouts()).explain(offset)

    async def browse(
        self, stream: str, group: str, state: str | None, *, after: int, limit: int
    ) -> tuple[Sequence[Explanation], int | None]:
        """What is in a state."""
        where = await self._group(stream, group).whereabouts()
        return await where.browse(state, after=after, limit=limit)

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> tuple[Sequence[DeadLetter], str | None]:
        """Dead letters, the newest first."""
        await self._group(stream, group).settle()
        found = await self._journal.dead_letters(stream, group, after=after, limit=limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def redrive(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None = None,
        topic_filter: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Send dead letters back."""
        offsets = await self._chosen(stream, group, ids, topic_filter)
        return len(offsets) if dry_run else await _in_steps(self._group(stream, group).redrive, offsets)

    async def discard(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None = None,
        topic_filter: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Give dead letters up."""
        offsets = await self._chosen(stream, group, ids, topic_filter)
        return len(offsets) if dry_run else await _in_steps(self._group(stream, group).discard, offsets)

    # Inside

    def _require(self, stream: str) -> None:
        if stream not in self._groups:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        if stream in self._unread:
            raise StreamUnavailable(f"what is kept of groups of stream {stream!r} can't be read")

    def _group(self, stream: str, group: str) -> LocalGroup:
        self._require(stream)
        try:
            return self._groups[stream][group]
        except KeyError:
            raise NotFound(f"stream {stream[:64]!r} has no group {group[:64]!r}") from None

    async def _begin(self, stream: str, state: GroupState) -> None:
        group = LocalGroup(stream, state, self._log, self._journal, self._clock, seconds=self._seconds)
        # From here on it hears of appends, so that what comes while it loads is counted.
        self._groups[stream][state.configuration.name] = group
        try:
            await group.load()
        except BaseException:
            del self._groups[stream][state.configuration.name]
            raise

    async def _start(self, stream: str, start: Start, bounds: Bounds) -> int:
        match start.kind:
            case StartKind.EARLIEST:
                return bounds.first - 1
            case StartKind.OFFSET:
                return max(start.value - 1, bounds.first - 1)
            case StartKind.TIME:
                return max(await self._log.before(stream, start.value), bounds.first - 1)
            case _:
                return bounds.last

    async def _chosen(
        self, stream: str, group: str, ids: Sequence[str] | None, topic_filter: str | None
    ) -> list[int]:
        """The offsets of the dead letters that are meant, ascending."""
        await self._group(stream, group).settle()
        if ids is not None:
            meant = {each: place for each in ids if (place := letter_place(each)) is not None}
            offsets = sorted({offset for _, offset in meant.values()})
            letters = await self._journal.dead(stream, group, offsets)
            # Another failure of the same publication has another name.
            return [each.publication.offset or 0 for each in letters if each.id in meant]
        chosen: list[int] = []
        after: str | None = None
        while letters := await self._journal.dead_letters(stream, group, after=after, limit=_DEAD_STEP):
            after = letters[-1].id
            chosen += [
                each.publication.offset or 0
                for each in letters
                if topic_filter is None or matches(topic_filter, each.publication.topic)
            ]
            await asyncio.sleep(0)
        return sorted(chosen)


async def _in_steps(act: Callable[[Sequence[int]], Awaitable[int]], offsets: Sequence[int]) -> int:
    """Act on a bounded number at a time, so that others have their turn."""
    count = 0
    for place in range(0, len(offsets), _DEAD_STEP):
        count += await act(offsets[place : place + _DEAD_STEP])
        await asyncio.sleep(0)
    return count
