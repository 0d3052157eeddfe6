"""What of its log a group hasn't come to yet: counted exactly, read as far as members ask, had at hand.

A publication that waits costs nothing before it is read: groups that need no overview read a page ahead.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.core.streams.pages import PURGED
from gateway.core.topics.grammar import matches
from gateway.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.core.groups.group import Group
    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Readable
    from gateway.streams.groups.journal import Trimmed

_PAGE: Final = 512
_AHEAD: Final = 4096
"""How many publications that were read ahead stay at hand until they are taken."""

_AHEAD_BYTES: Final = 8 * 1024 * 1024
"""Of their bodies, at most about."""

_WAITING: Final = 1_000_000
"""How many publications a group knows at most that nobody has: what comes behind them waits in the log."""

_SPARSE: Final = 4
"""Where fewer than one in so many of a page is for the group, what follows is looked up by topic."""

_TRIES: Final = 100
_TOLD_SECONDS: Final = 60.0

_log = logging.getLogger("gateway.streams")


class GroupBacklog:
    """Reads one group's log.

    Attributes:
        beyond: how many publications for the group stand behind what was offered.
        trimmed: up to which offset it was counted what retention took.
    """

    def __init__(self, stream: str, group: Group, log: Readable, *, trimmed: int) -> None:
        """Begin behind what ``group`` was offered; ``count`` must follow."""
        self.beyond = 0
        self.trimmed = trimmed
        self._stream = stream
        self._filter = group.configuration.filter
        self._group = group
        self._log = log
        self._end = 0
        self._ahead: dict[int, Publication] = {}
        self._ahead_bytes = 0
        self._topics: dict[str, bool] = {}
        self._came = 0
        self._sparse = False
        self._told_at: float | None = None
        self._untold = 0

    # What the log tells

    def appended(self, publications: Iterable[Publication]) -> int:
        """The log has more; how many of them are for the group."""
        count = 0
        for each in publications:
            self._end = each.offset or 0
            count += self._wants(each.topic)
        self._came += count
        self.beyond += count
        return count

    def take_trimmed(self, gone: Sequence[Trimmed]) -> None:
        """Retention has taken these from the log: what isn't finished of them is lost."""
        group, before = self._group, self._group.lost
        for offset, topic, key in gone:
            self.trimmed = max(self.trimmed, offset)
            self._take_ahead(offset)
            if not self._wants(topic):
                continue
            if offset <= group.offered or offset in group.deliveries:
                group.drop(offset, key)
            elif offset not in group.finished:
                self.beyond -= 1
                group.lost += 1
        if group.lost > before:
            self._tell(group.lost - before)

    def take_purged(self, gone: Sequence[Trimmed]) -> None:
        """These were removed from the log on purpose."""
        group = self._group
        for offset, topic, key in gone:
            self._take_ahead(offset)
            if not self._wants(topic):
                continue
            if offset <= group.offered or offset in group.deliveries:
                group.remove(offset, key)
            elif offset not in group.finished:
                self.beyond -= 1

    def _tell(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        self._untold += count
        if self._told_at is None or now - self._told_at >= _TOLD_SECONDS:
            self._told_at = now
            _log.warning(
                "retention of stream %r has taken %d publications that its group %r had not finished",
                self._stream,
                self._untold,
                self._group.configuration.name,
            )
            self._untold = 0

    def _wants(self, topic: str) -> bool:
        found = self._topics.get(topic)
        if found is None:
            if len(self._topics) >= _AHEAD:
                self._topics.clear()
            found = self._topics[topic] = matches(self._filter, topic)
        return found

    # What is read

    async def load(self, now: int) -> None:
        """Offer again what was offered before, and know how much stands behind it."""
        group = self._group
        self._end = (await self._log.bounds(self._stream)).last
        newest = max((each for each in group.deliveries if each not in group.finished), default=0)
        newest = min(max(newest, group.finished.last), self._end)
        while group.offered < newest and await self.read_page(now):  # noqa: ASYNC110 - others have their turn between pages
            await asyncio.sleep(0)
        group.pass_over(newest)
        came = self._came
        through, offered = self._end, group.offered
        found = await self._log.count(self._stream, self._filter, offered, max(through, offered))
        self.beyond = found + self._came - came

    async def read_ahead(self, count: int, now: int) -> None:
        """Have so many to give, as far as the log goes."""
        group = self._group
        while self.beyond > 0 and group.wanted(count) > 0:
            waiting = group.depth()
            known = waiting.waiting + waiting.parked + waiting.delayed
            if known >= _WAITING or not await self.read_page(now):
                return
            if group.wanted(count) > 0:
                # Long work: others have their turn, since a memory's pages are there at once.
                await asyncio.sleep(0)

    async def read_page(self, now: int) -> bool:
        """Offer a page of the log; whether there may be more."""
        group = self._group
        if (through := group.finished.end_of(group.offered + 1)) is not None:
            group.pass_over(through)
            return True
        after = group.offered
        publications, through = await self.page(after)
        for each in publications:
            offset = each.offset or 0
            if offset <= after or offset <= group.offered:
                continue
            group.offer(offset, each.topic, each.key, not_before=not_before(each), now=now)
            self.beyond -= 1
            if len(self._ahead) < _AHEAD and self._ahead_bytes < _AHEAD_BYTES:
                self._ahead[offset] = each
                self._ahead_bytes += _size(each)
        group.pass_over(min(through, self._end))
        if group.offered >= self._end and self.beyond:
            # What is damaged in the log was counted, and can't be had.
            group.lost += max(0, self.beyond)
            self.beyond = 0
        return group.offered > after

    async def page(self, after: int) -> tuple[Sequence[Publication], int]:
        """The publications for the group in a page of the log, and how far that goes."""
        for _ in range(_TRIES):
            first = (await self._log.bounds(self._stream)).first
            if self._sparse and self._end - after > _PAGE:
                page = await self._log.select(self._stream, (self._filter,), after, messages=_PAGE)
                if page is not None and page.bounds.first <= first:
                    self._sparse = len(page.publications) * _SPARSE < page.through - after
                    return page.publications, page.through
                if page is None:
                    self._sparse = False
                continue
            whole = await self._log.read(self._stream, after, messages=_PAGE)
            # What retention took meanwhile has to be counted first: its news is on the way.
            if whole.bounds.first <= (await self._log.bounds(self._stream)).first:
                found = [each for each in whole.publications if self._wants(each.topic)]
                self._sparse = len(found) * _SPARSE < len(whole.publications)
                return found, whole.last or after
            await asyncio.sleep(0.001)
        raise StreamUnavailable("the store of streams changes faster than it can be read")

    async def publications(self, offsets: Sequence[int]) -> dict[int, Publication]:
        """Those of ``offsets`` that can be had."""
        found = {offset: each for offset in offsets if (each := self._take_ahead(offset)) is not None}
        if len(found) < len(offsets):
            missing = sorted(offset for offset in offsets if offset not in found)
            for each in await self._log.at(self._stream, missing):
                found[each.offset or 0] = each
        return found

    def _take_ahead(self, offset: int) -> Publication | None:
        found = self._ahead.pop(offset, None)
        if found is not None:
            self._ahead_bytes -= _size(found)
        return found

    async def was_purged(self, offset: int) -> bool:
        """Whether what isn't in the log was removed on purpose."""
        page = await self._log.read(self._stream, offset - 1, messages=1)
        return any(each.first <= offset <= each.last and each.reason == PURGED for each in page.holes)


def _size(publication: Publication) -> int:
    return len(publication.data or publication.binary or b"")


def not_before(publication: Publication) -> int:
    """When a publication may go out at the earliest (ms since 1970); 0 for at once."""
    return 0 if publication.delay is None else publication.time + publication.delay
