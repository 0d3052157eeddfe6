"""What administrators do with groups, and what there is to say about each."""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import anyio
import anyio.lowlevel

from gateway.core.groups.configuration import MOST_GROUPS
from gateway.core.timing.backoff import Backoff
from gateway.core.topics.grammar import TopicLimits, intersects, matches, parse_filter
from gateway.errors import BadFilter, NotFound, StreamUnavailable, TooMany
from gateway.streams.groups.base import DeadLetter, Explanation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from gateway.auth.grants import Grants
    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.streams.stream import StreamMap
    from gateway.engine.groups import GroupCounts, GroupKey, Groups
    from gateway.streams.base import Store
    from gateway.streams.groups.base import GroupStatistics, GroupStore

__all__ = ["ConfiguredGroups", "DeadLetter", "Explanation", "GroupAdministration", "GroupFacts"]

MOST_SEARCHED: Final = 2_000
"""Dead letters that are looked at for one page of a search."""

_SEARCHED_AT_ONCE: Final = 200

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


@dataclass(frozen=True, slots=True)
class ChosenLetters:
    """Which dead letters: these, or those on topics that match and that hold a text; all if none is said."""

    ids: Sequence[str] | None = None
    topic_filter: str | None = None
    contains: str | None = None


class Progress(NamedTuple):
    """How far something has come that goes step by step."""

    done: int
    total: int


class _Clearing(Protocol):
    """What a store does with dead letters: sends them back, or gives them up."""

    async def __call__(
        self,
        stream: str,
        group: str,
        *,
        ids: Sequence[str] | None = None,
        topic_filter: str | None = None,
        dry_run: bool = False,
    ) -> int: ...


class _Search:
    """What a dead letter must be like."""

    def __init__(self, topic_filter: str | None, contains: str | None) -> None:
        self._filter = topic_filter
        self._text = None if contains is None else contains.lower()

    def finds(self, letter: DeadLetter) -> bool:
        """Whether it is."""
        publication = letter.publication
        if self._filter is not None and not matches(self._filter, publication.topic):
            return False
        if self._text is None:
            return True
        body = publication.data if publication.data is not None else publication.binary or b""
        texts = (publication.topic, publication.key or "", letter.reason, body.decode(errors="replace"))
        return any(self._text in text.lower() for text in texts)


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
            stream, configuration = self._left[0]
            known = (await store.groups.groups(stream)).get(configuration.name)
            await store.groups.put(stream, _as_paused(configuration, known))
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
        self._unseen: deque[GroupKey] = deque()
        self._refreshed = float("-inf")

    async def names(self, stream: str) -> list[str]:
        """The names of a stream's groups."""
        if self._groups.store is None and stream in self._streams:
            return []
        return sorted(await self._store(stream).groups(stream))

    async def check_viewer(self, grants: Grants, stream: str, group: str) -> None:
        """Let administrators look at a group, and who may consume from it.

        Raises:
            NotPermitted: ``grants`` allow neither.
        """
        if not grants.admin:
            await self._groups.when_known(stream, group, grants)
            self._groups.check_grant(stream, group, grants)

    async def visible(self, grants: Grants, stream: str) -> list[str]:
        """The names of a stream's groups that ``grants`` let somebody look at."""
        return await self._visible(grants, stream, await self.names(stream))

    async def _visible(self, grants: Grants, stream: str, names: list[str]) -> list[str]:
        if grants.admin:
            return names
        for name in names:
            await self._groups.when_known(stream, name, grants)
        return [name for name in names if grants.may_consume(stream, name)]

    async def describe(self, stream: str, group: str) -> GroupFacts:
        """Describe one group."""
        store = self._store(stream)
        configuration = (await store.groups(stream)).get(group)
        if configuration is None:
            raise NotFound(f"stream {stream[:64]!r} has no group {group[:64]!r}")
        return GroupFacts(stream, configuration, await store.figures(stream, group))

    async def describe_all(self, stream: str, grants: Grants) -> list[GroupFacts]:
        """Describe the groups of a stream that ``grants`` let somebody look at, by name."""
        store = self._store(stream)
        configurations = await store.groups(stream)
        described: list[GroupFacts] = []
        for name in await self._visible(grants, stream, sorted(configurations)):
            # One may be removed while the others are looked at.
            with suppress(NotFound):
                described.append(GroupFacts(stream, configurations[name], await store.figures(stream, name)))
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
        return await store.put(stream, _as_paused(configuration, there_are.get(configuration.name)))

    async def pause(self, stream: str, group: str, *, paused: bool) -> GroupFacts:
        """Have members get nothing more, or go on."""
        known = (await self.describe(stream, group)).configuration
        if known.paused is not paused:
            await self._store(stream).put(stream, replace(known, paused=paused))
        return await self.describe(stream, group)

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
        self,
        stream: str,
        group: str,
        *,
        after: str | None,
        limit: int,
        topic_filter: str | None = None,
        contains: str | None = None,
    ) -> tuple[Sequence[DeadLetter], str | None]:
        """Dead letters, the newest first, and the name to go on behind.

        Those whose topic matches, and which hold a text; after ``MOST_SEARCHED`` it ends with what was found.
        """
        store = self._store(stream)
        wanted = self._parsed(topic_filter)
        if wanted is None and contains is None:
            return await store.dead_letters(stream, group, after=after, limit=limit)
        search = _Search(wanted, contains)
        found: list[DeadLetter] = []
        for _ in range(MOST_SEARCHED // _SEARCHED_AT_ONCE):
            page, following = await store.dead_letters(stream, group, after=after, limit=_SEARCHED_AT_ONCE)
            for place, letter in enumerate(page, start=1):
                if search.finds(letter):
                    found.append(letter)
                if len(found) == limit:
                    return found, following if place == len(page) else letter.id
            if following is None:
                return found, None
            after = following
            # A store in memory has its pages at once.
            await anyio.lowlevel.checkpoint()
        return found, after

    async def redrive(self, stream: str, group: str, chosen: ChosenLetters, *, dry_run: bool = False) -> int:
        """Send dead letters back; how many."""
        return await self._clear(stream, group, chosen, dry_run=dry_run, call=self._store(stream).redrive)

    async def discard(self, stream: str, group: str, chosen: ChosenLetters, *, dry_run: bool = False) -> int:
        """Give dead letters up; how many."""
        return await self._clear(stream, group, chosen, dry_run=dry_run, call=self._store(stream).discard)

    async def redrive_steps(
        self, stream: str, group: str, chosen: ChosenLetters
    ) -> AsyncGenerator[Progress, None]:
        """As ``redrive``, told as it goes on; what is done when this is left stays done."""
        async with aclosing(self._steps(stream, group, chosen, self._store(stream).redrive)) as steps:
            async for each in steps:
                yield each

    async def discard_steps(
        self, stream: str, group: str, chosen: ChosenLetters
    ) -> AsyncGenerator[Progress, None]:
        """As ``redrive_steps``, and they are given up."""
        async with aclosing(self._steps(stream, group, chosen, self._store(stream).discard)) as steps:
            async for each in steps:
                yield each

    async def _clear(
        self, stream: str, group: str, chosen: ChosenLetters, *, dry_run: bool, call: _Clearing
    ) -> int:
        if chosen.contains is None:
            wanted = self._parsed(chosen.topic_filter)
            return await call(stream, group, ids=chosen.ids, topic_filter=wanted, dry_run=dry_run)
        done = 0
        for ids in await self._named(stream, group, chosen):
            done += await call(stream, group, ids=ids, dry_run=dry_run)
        return done

    async def _steps(
        self, stream: str, group: str, chosen: ChosenLetters, call: _Clearing
    ) -> AsyncGenerator[Progress, None]:
        named = await self._named(stream, group, chosen)
        total = sum(map(len, named))
        if chosen.ids is not None:
            total = await call(stream, group, ids=chosen.ids, dry_run=True)
        done = 0
        yield Progress(done, total)
        for ids in named:
            done += await call(stream, group, ids=ids)
            yield Progress(done, total)

    async def _named(self, stream: str, group: str, chosen: ChosenLetters) -> list[Sequence[str]]:
        """The names of those that are chosen, some at a time; in the log's order, since that is a key's."""
        if chosen.ids is not None:
            # Together, since a store puts those of one call in order.
            return [chosen.ids]
        store = self._store(stream)
        search = _Search(self._parsed(chosen.topic_filter), chosen.contains)
        found: list[tuple[int, str]] = []
        after: str | None = None
        while True:
            page, after = await store.dead_letters(stream, group, after=after, limit=_SEARCHED_AT_ONCE)
            found += [(each.publication.offset or 0, each.id) for each in page if search.finds(each)]
            if after is None:
                names = [name for _, name in sorted(found)]
                return [
                    names[place : place + _SEARCHED_AT_ONCE]
                    for place in range(0, len(names), _SEARCHED_AT_ONCE)
                ]
            await anyio.lowlevel.checkpoint()

    # For metrics

    async def refresh(self) -> None:
        """Look at all groups again, unless that was done a moment ago; gives up after a moment.

        What it has not come to is looked at first the next time.
        """
        if self._clock() - self._refreshed < _REFRESH_SECONDS or self._groups.store is None:
            return
        # Where the store is away, what was known last is the best there is to show.
        with anyio.move_on_after(_REFRESH_SECONDS), suppress(StreamUnavailable):
            await self._look(self._groups.store)
        self._refreshed = self._clock()

    async def _look(self, store: GroupStore) -> None:
        await self._look_at_unseen(store)
        known = [(each.name, name) for each in self._streams for name in await store.groups(each.name)]
        self._latest = {key: self._latest[key] for key in known if key in self._latest}
        self._groups.keep(set(known))
        self._unseen.extend(known)
        await self._look_at_unseen(store)

    async def _look_at_unseen(self, store: GroupStore) -> None:
        while self._unseen:
            key = self._unseen.popleft()
            try:
                self._latest[key] = await store.figures(*key)
            except NotFound:
                pass  # it was removed meanwhile
            except BaseException:
                # There was no more time: the others come first, or a slow one would keep them from it.
                self._unseen.append(key)
                raise

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


def _as_paused(configuration: GroupConfiguration, known: GroupConfiguration | None) -> GroupConfiguration:
    """``configuration`` for a group that may be paused: that is no setting, so no setting ends it."""
    return replace(configuration, paused=known is not None and known.paused)
