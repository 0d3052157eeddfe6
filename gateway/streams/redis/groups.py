"""Groups of consumers in Redis: members on any node share a group, and every step is one script.

Nothing of a group is kept on a node. So it makes no difference which node a member is on, and a node that
ends leaves nothing but leases that run out. ``group_script_parts`` says what is kept, and how.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Final

from gateway.codecs.group_record import encode_list
from gateway.errors import NotFound, StreamUnavailable
from gateway.streams.groups.base import Lease, LeasedPublication, Taken
from gateway.streams.redis.entries import decode_entry
from gateway.streams.redis.group_asking import GroupAsking
from gateway.streams.redis.group_figures import GroupFigures
from gateway.streams.redis.group_letters import GroupLetters
from gateway.streams.redis.group_scripts import END, EXPIRE, LEAVE, PURGED
from gateway.streams.redis.group_take_script import TAKE
from gateway.streams.redis.group_watching import GroupWatching

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.redis.wire import Reply
    from gateway.streams.base import Readable
    from gateway.streams.groups.base import DeadLetter, Explanation, GroupStatistics
    from gateway.streams.redis.group_calls import SharedCall
    from gateway.streams.redis.log import RedisLog

_TAKEN_BYTES: Final = 1024 * 1024
_LEASES: Final = 500
"""How many leases one call ends, sends back or takes; Redis does nothing else meanwhile."""

_RUN: Final = 8
"""How many leases of one call are kept together; fewer cost less each by itself."""

_UNDONE: Final = 1000
"""How many calls whose answer was lost are remembered, to be undone."""

_TIDY_SECONDS: Final = 0.5
_SWEEP_SECONDS: Final = 60.0

_log = logging.getLogger("gateway.streams")

_SAME_CLOCK: Final = 1000
"""Milliseconds that two clocks may differ and count as one."""

_ALL_MATCH: Final = (1, 0)


class RedisGroups:
    """All groups of the streams in Redis."""

    def __init__(
        self,
        store: Readable,
        logs: Mapping[str, RedisLog],
        publish: str,
        *,
        timeout: float,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Make it.

        Args:
            store: reads the logs.
            logs: by the names of their streams.
            publish: the command by which news are announced.
            timeout: seconds that a call waits for Redis.
            clock: tells milliseconds since 1970 in place of Redis' own clock, in tests.
        """
        self._store = store
        self._asking = asking = GroupAsking(store, logs, publish, timeout=timeout, clock=clock)
        self._figures = GroupFigures(store, asking)
        self._letters = GroupLetters(asking)
        self._watching = GroupWatching()
        self._acknowledging: dict[tuple[str, str], SharedCall] = {}
        self._undone: list[tuple[str, str, frozenset[str], list[str]]] = []

    async def keep_looking(self) -> None:
        """Wake members that wait now and then, for ever."""
        await self._watching.keep_looking()

    async def keep_tidy(self) -> None:
        """Put right what was left undone, and let go of what is too old, for ever."""
        loop = asyncio.get_running_loop()
        swept = loop.time()
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                await self.undo()
                for stream, log in self._asking.logs.items():
                    if log.full:
                        log.full = False
                        await self.make_room(stream)
                if loop.time() >= swept + _SWEEP_SECONDS:
                    swept = loop.time()
                    await self.sweep()
            except StreamUnavailable as exc:
                _log.debug("groups can't be looked after: %s", exc)

    async def make_room(self, stream: str) -> None:
        """Let groups pass what isn't for them, though nobody takes anything: that need not be kept."""
        for group, configuration in (await self.groups(stream)).items():
            if configuration.keep_unacked:
                with suppress(NotFound):
                    nobody = 0, _RUN, encode_list(())
                    offered = (await self._asking.ask(stream, group, TAKE, "", *_ALL_MATCH, *nobody))[4]
                    without = await self._none(stream, group, offered)
                    await self._asking.ask(stream, group, TAKE, "", *without, *nobody)

    async def undo(self) -> None:
        """Give back what was leased by calls whose answer was lost: nobody knows of it."""
        while self._undone:
            stream, group, members, marks = self._undone[0]
            for member, mark in product(members, marks):
                with suppress(NotFound):
                    await self._leave(stream, group, "back", member, mark)
            del self._undone[0]

    async def sweep(self) -> None:
        """Forget dead letters that are too old."""
        for stream in self._asking.logs:
            for group in await self.groups(stream):
                with suppress(NotFound):
                    while (await self._asking.ask(stream, group, EXPIRE))[0]:
                        pass

    async def purged(self, stream: str, topic_filter: str, before: int) -> None:
        """What matches has been purged from a stream: groups forget it, their dead letters too."""
        for group in await self.groups(stream):
            where, after = b"open", b"-inf"
            while where:
                where, after = await self._asking.ask(
                    stream, group, PURGED, topic_filter, before, where, after
                )

    # What groups there are

    async def put(self, stream: str, configuration: GroupConfiguration) -> bool:
        """Make a group, or change one."""
        return await self._asking.put(stream, configuration)

    async def delete(self, stream: str, group: str) -> None:
        """End a group."""
        await self._asking.delete(stream, group)

    # Leases

    async def take(self, stream: str, group: str, members: Sequence[str]) -> Taken:
        """Lease what is next in turn."""
        log, marks = self._asking.log(stream, group), list[str]()
        given: list[LeasedPublication] = []
        without = _ALL_MATCH
        try:
            while True:
                some = members[len(given) : len(given) + _LEASES]
                mark = secrets.token_hex(4)
                marks.append(mark)
                told = await self._asking.ask(
                    *(stream, group, TAKE, mark, *without, _TAKEN_BYTES, _RUN, encode_list(some)),
                    size=_TAKEN_BYTES,
                )
                more, due, now, until, offered, fence, life = told[:7]
                self._asking.saw(stream, group, fence)
                name = f"{life.decode()}.{mark}"
                damaged = self._give(
                    log, told[7:], some, given, name, until + _ahead(self._asking.now() - now)
                )
                if damaged:
                    # What isn't as it was published is nobody's work.
                    await self._end(stream, group, "gone", damaged)
                elif not more and (len(some) < _LEASES or len(told) == 7):
                    break
                if len(given) == len(members):
                    break
                without = await self._none(stream, group, offered) if more == 2 else _ALL_MATCH
        except BaseException:
            if len(self._undone) < _UNDONE:
                self._undone.append((stream, group, frozenset(members), marks))
            raise
        return Taken(given, None if due < 0 else due + _ahead(self._asking.now() - now))

    def _give(  # noqa: PLR0917 - what a call brought
        self,
        log: RedisLog,
        told: Reply,
        members: Sequence[str],
        given: list[LeasedPublication],
        life: str,
        deadline: int,
    ) -> list[Lease]:
        """Add what was leased to ``given``; return what is damaged."""
        damaged: list[Lease] = []
        for place in range(0, len(told), 5):
            entry_id, header, record, fence, attempts = told[place : place + 5]
            offset = int(entry_id.partition(b"-")[0])
            lease = Lease(offset, fence, life)
            publication = decode_entry(entry_id, header, record, log.name)
            if publication is None:
                damaged.append(lease)
            else:
                member = members[place // 5]
                given.append(LeasedPublication(publication, lease, member, attempts + 1, deadline))
        return damaged

    async def _none(self, stream: str, group: str, offered: int) -> tuple[int, int]:
        """A range of offsets behind ``offered`` in which nothing is for the group, by the index."""
        topic_filter = (await self._asking.configuration(stream, group)).filter
        page = await self._store.select(stream, (topic_filter,), offered, messages=1)
        if page is None:
            return _ALL_MATCH
        first = next((each.offset for each in page.publications if each.offset), page.through + 1)
        return offered + 1, first - 1

    async def acknowledge(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """They are done."""
        log, name = self._asking.log(stream, group), (stream, group)
        call = self._acknowledging.get(name)
        if call is None or call.closed or call.parts >= _LEASES * 3:
            call = self._asking.share(log, END, group, "ack", "", 0)
            self._acknowledging[name] = call
        begin = call.parts // 3
        call.join(_named(leases))
        try:
            told = self._asking.told(stream, group, await call.shared())
        finally:
            # Tokens may name any number of groups that there are not.
            if call.closed and self._acknowledging.get(name) is call:
                del self._acknowledging[name]
        return [bool(each) for each in told[begin : begin + len(leases)]]

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
        return await self._end(stream, group, "nack", leases, "" if delay is None else delay, int(dead))

    async def extend(self, stream: str, group: str, leases: Sequence[Lease], by: int) -> Sequence[bool]:
        """They take longer."""
        return await self._end(stream, group, "extend", leases, by)

    async def held(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """For each lease whether it still is one."""
        return await self._end(stream, group, "look", leases)

    async def give_back(self, stream: str, group: str, leases: Sequence[Lease]) -> Sequence[bool]:
        """Nothing was done with them."""
        return await self._end(stream, group, "back", leases)

    async def release(self, stream: str, group: str, member: str) -> None:
        """A member goes as it should."""
        await self._leave(stream, group, "back", member)

    async def lose(self, stream: str, group: str, member: str) -> None:
        """A member has vanished."""
        await self._leave(stream, group, "lose", member)

    def watch(self, stream: str, group: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Have ``wake`` called when there may be something to take."""
        return self._watching.watch(self._asking.log(stream, group), group, wake)

    def heard(self, stream: str, group: str) -> bool:
        """Whether what other nodes do to a group that is watched is heard of at once."""
        return self._watching.heard(stream, group)

    # What is known

    async def groups(self, stream: str) -> Mapping[str, GroupConfiguration]:
        """All groups of a stream."""
        return await self._asking.groups(stream)

    async def figures(self, stream: str, group: str) -> GroupStatistics:
        """What the group has to do."""
        return await self._figures.figures(stream, group)

    async def explain(self, stream: str, group: str, offset: int) -> Explanation:
        """Where one publication is."""
        return await self._figures.explain(stream, group, offset)

    async def browse(
        self, stream: str, group: str, state: str | None, *, after: int, limit: int
    ) -> tuple[Sequence[Explanation], int | None]:
        """What is in a state."""
        return await self._figures.browse(stream, group, state, after=after, limit=limit)

    async def dead_letters(
        self, stream: str, group: str, *, after: str | None, limit: int
    ) -> tuple[Sequence[DeadLetter], str | None]:
        """Dead letters, the newest first."""
        return await self._letters.page(stream, group, after=after, limit=limit)

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
        return await self._letters.resolve(stream, group, "redrive", ids, topic_filter, dry_run=dry_run)

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
        return await self._letters.resolve(stream, group, "discard", ids, topic_filter, dry_run=dry_run)

    # Inside

    async def _end(  # noqa: PLR0917 - what a script takes
        self, stream: str, group: str, what: str, leases: Sequence[Lease], wait: int | str = "", dead: int = 0
    ) -> list[bool]:
        answers: list[bool] = []
        for place in range(0, max(1, len(leases)), _LEASES):
            some = leases[place : place + _LEASES]
            question = (what, wait, dead, encode_list(_named(some)))
            answers += map(bool, await self._asking.ask(stream, group, END, *question))
        return answers

    async def _leave(self, stream: str, group: str, what: str, member: str, mark: str = "") -> None:
        while (await self._asking.ask(stream, group, LEAVE, what, member, mark))[0]:
            pass


def _ahead(milliseconds: int) -> int:
    """How far this node's clock is ahead of Redis'; nothing where that may be the way there and back."""
    return milliseconds if abs(milliseconds) > _SAME_CLOCK else 0


def _named(leases: Sequence[Lease]) -> list[str | int]:
    return [part for each in leases for part in (each.offset, each.fence, each.life)]
