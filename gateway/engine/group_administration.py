"""What administrators do with groups, and what there is to say about each."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from gateway.core.groups.configuration import MOST_GROUPS
from gateway.core.timing.backoff import Backoff
from gateway.core.topics.grammar import TopicLimits, intersects, parse_filter
from gateway.errors import BadFilter, NotFound, StreamUnavailable, TooMany
from gateway.streams.groups.base import DeadLetter, Explanation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.streams.stream import StreamMap
    from gateway.engine.groups import GroupCounts, GroupKey, Groups
    from gateway.streams.base import Store
    from gateway.streams.groups.base import GroupStatistics, GroupStore

__all__ = ["ConfiguredGroups", "DeadLetter", "Explanation", "GroupAdministration", "GroupFacts"]

_REFRESH_SECONDS: Final = 1.0
"""How long metrics wait for the store, and how old what they show may be."""

_WHILE_AWAY: Final = Backoff(first_seconds=0.25, limit_seconds=5.0)

_log: Final = logging.getLogger("gateway.groups")


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """One group."""

    stream: str
    configuration: GroupConfiguration
    statistics: GroupStatistics


class ConfiguredGroups:
    """The groups that the settings name: made, or changed to what they say, as the node starts."""

    def __init__(self, groups: Iterable[tuple[str, GroupConfiguration]]) -> None:
        """Make ``groups``, each with its stream."""
        self._left = list(groups)

    async def make(self, store: Store) -> None:
        """Make those that are left.

        Raises:
            StreamUnavailable: the store can't be reached now; ``keep_making`` goes on.
        """
        while self._left:
            await store.groups.put(*self._left[0])
            del self._left[0]

    async def keep_making(self, store: Store) -> None:
        """Make those that are left, however long the store is away."""
        failures = 0
        while self._left:
            try:
                await self.make(store)
            except StreamUnavailable as error:
                if not failures:
                    _log.warning("the configured groups can't be made yet: %s", error)
                failures += 1
                await anyio.sleep(_WHILE_AWAY.ceiling(failures))


class GroupAdministration:
    """Makes, changes and ends groups, and looks into them.

    Every call raises ``NotFound`` where there is no such stream or group, and ``StreamUnavailable`` where the
    store can't be reached.
    """

    def __init__(
        self,
        groups: Groups,
        streams: StreamMap,
        *,
        topic_limits: TopicLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = groups
        self._streams = streams
        self._topic_limits = topic_limits
        self._clock = clock
        self._latest: dict[GroupKey, GroupStatistics] = {}
        self._refreshed = float("-inf")

    async def names(self, stream: str) -> list[str]:
        """The names of a stream's groups."""
        if self._groups.store is None and stream in self._streams:
            return []
        return sorted(await self._store(stream).groups(stream))

    async def describe(self, stream: str, group: str) -> GroupFacts:
        """Describe one group."""
        store = self._store(stream)
        configuration = (await store.groups(stream)).get(group)
        if configuration is None:
            raise NotFound(f"stream {stream[:64]!r} has no group {group[:64]!r}")
        return GroupFacts(stream, configuration, await store.figures(stream, group))

    async def describe_all(self, stream: str) -> list[GroupFacts]:
        """Describe all groups of a stream, by name."""
        store = self._store(stream)
        described: list[GroupFacts] = []
        for _, configuration in sorted((await store.groups(stream)).items()):
            # One may be removed while the others are looked at.
            with suppress(NotFound):
                figures = await store.figures(stream, configuration.name)
                described.append(GroupFacts(stream, configuration, figures))
        return described

    async def put(self, stream: str, configuration: GroupConfiguration) -> bool:
        """Make a group, or change it; whether it was made.

        Raises:
            BadFilter: its filter breaks a limit, or matches nothing of the stream.
            TooMany: the stream has as many groups as it may.
        """
        store = self._store(stream)
        captured = self._streams[stream].filter
        parse_filter(configuration.filter, self._topic_limits)
        if not intersects(configuration.filter, captured):
            raise BadFilter(
                f"stream {stream!r} captures {captured!r}, nothing of {configuration.filter[:128]!r}"
            )
        there_are = await store.groups(stream)
        if configuration.name not in there_are and len(there_are) >= MOST_GROUPS:
            raise TooMany(f"stream {stream!r} has {len(there_are)} groups, and {MOST_GROUPS} are the most")
        return await store.put(stream, configuration)

    async def delete(self, stream: str, group: str) -> None:
        """End a group."""
        await self._store(stream).delete(stream, group)

    async def explain(self, stream: str, group: str, offset: int) -> Explanation:
        """Where one publication is."""
        return await self._store(stream).explain(stream, group, offset)

    async def browse(
        self, stream: str, group: str, state: str | None, *, after: int, limit: int
    ) -> tuple[Sequence[Explanation], int | None]:
        """What is in a state, or anything unfinished, behind ``after``; and behind what to go on."""
        return await self._store(stream).browse(stream, group, state, after=after, limit=limit)

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> tuple[Sequence[DeadLetter], str | None]:
        """Dead letters, the newest first, and the name to go on behind."""
        return await self._store(stream).dead_letters(stream, group, after=after, limit=limit)

    async def redrive(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None,
        topic_filter: str | None,
        dry_run: bool,
    ) -> int:
        """Send dead letters back; how many."""
        store = self._store(stream)
        wanted = self._parsed(topic_filter)
        return await store.redrive(stream, group, ids=ids, topic_filter=wanted, dry_run=dry_run)

    async def discard(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None,
        topic_filter: str | None,
        dry_run: bool,
    ) -> int:
        """Give dead letters up; how many."""
        store = self._store(stream)
        wanted = self._parsed(topic_filter)
        return await store.discard(stream, group, ids=ids, topic_filter=wanted, dry_run=dry_run)

    # For metrics

    async def refresh(self) -> None:
        """Look at all groups again, unless that was done a moment ago; gives up after a moment."""
        if self._clock() - self._refreshed < _REFRESH_SECONDS or self._groups.store is None:
            return
        # Where the store is away, what was known last is the best there is to show.
        with anyio.move_on_after(_REFRESH_SECONDS), suppress(StreamUnavailable):
            latest: dict[GroupKey, GroupStatistics] = {}
            for each in self._streams:
                for facts in await self.describe_all(each.name):
                    latest[each.name, facts.configuration.name] = facts.statistics
            self._latest = latest
            self._groups.keep(latest)
        self._refreshed = self._clock()

    def latest(self) -> Mapping[GroupKey, GroupStatistics]:
        """What was found last, by group."""
        return self._latest

    def counts(self) -> Mapping[GroupKey, GroupCounts]:
        """What this node has done for each group."""
        return self._groups.counts

    def _store(self, stream: str) -> GroupStore:
        if stream not in self._streams or self._groups.store is None:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        return self._groups.store

    def _parsed(self, topic_filter: str | None) -> str | None:
        return None if topic_filter is None else parse_filter(topic_filter, self._topic_limits)
