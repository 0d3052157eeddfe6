"""What a log in Redis answers by its index of topics: searched and fetched by as many calls as it takes.

Offsets that were found stay what they are, so nothing has to hold still from one call to the next: what is
trimmed or purged meanwhile is told by the call that fetches. Only another epoch makes what was found
worthless.
"""

from __future__ import annotations

import asyncio
from struct import Struct, unpack
from typing import TYPE_CHECKING

from gateway.core.streams.pages import PURGED, TRIMMED, Hole
from gateway.core.streams.topic_keys import topic_key, topic_of
from gateway.core.timing.pace import Pace
from gateway.core.topics.grammar import has_wildcard, matches
from gateway.errors import StreamUnavailable, TooMany
from gateway.streams.base import SelectedPage, TopicPage, TopicSummary
from gateway.streams.redis.entries import decode_entries
from gateway.streams.redis.index_calls import EpochChanged, IndexSteps
from gateway.streams.redis.index_scripts import PURGE
from gateway.streams.redis.merging import OffsetMerge
from gateway.streams.redis.scripts import head_of
from gateway.streams.redis.search_scripts import COUNT, FETCH, MEASURE, SEARCH, SNAPSHOT, TOPICS
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.redis.wire import Reply
    from gateway.streams.limits import RedisStoreLimits
    from gateway.streams.redis.log import RedisLog
    from gateway.streams.redis.script import Script

_HEAD = 5
# What one call may do: Redis does nothing else meanwhile.
_SEEKS = 1_000
_OFFSETS = 4_000
_FETCHED = 1_000
_SUMMARIES = 250
_AT_BYTES = 1024 * 1024

_FEW = 8
"""Offsets asked of each topic at first where a filter may match many; four times as many each time after."""

_NO_OFFSET = -1
_ENDLESS = 2**53
_NOTHING = ("", "", 0, "up", 0, 0, 0, 0)
"""What to search for to know how far the index reaches."""

_BEHIND_TOPIC = b"\0\1"
_packed = Struct(">Q").pack


class IndexedLog:
    """One log's index, as a node asks it.

    Attributes:
        wanted: set where somebody was told that the index isn't complete.
        tended: set each time that something was done about it.
    """

    def __init__(self, log: RedisLog, publish: str, limits: RedisStoreLimits) -> None:
        self.log = log
        self.wanted = asyncio.Event()
        self.tended = asyncio.Event()
        self._publish = publish
        self._limits = limits

    async def select(
        self, filters: Sequence[str], after: int, *, messages: int, size: int
    ) -> SelectedPage | None:
        """What matches one of ``filters`` behind ``after``; None where the index can't tell."""
        after = min(after, _ENDLESS)
        for _ in range(3):
            steps = IndexSteps(self.log, self._publish, self._limits.timeout)
            try:
                found = await self._search(steps, filters, after + 1, messages + 1, rising=True)
                if found is None or not self._knows(steps, after + 1):
                    return None
                page = await self._fetch(
                    steps, filters, found, messages=messages, after=after, through=steps.known.last, size=size
                )
            except EpochChanged:
                continue
            return page if self._knows(steps, after + 1) else None
        return None

    async def before_newest(self, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` that match, or before all; None as ``select``."""
        steps = IndexSteps(self.log, self._publish, self._limits.timeout)
        try:
            found = await self._search(steps, [topic_filter], _ENDLESS, count, rising=False)
        except EpochChanged:
            return None
        if found is None:
            return None
        if len(found) == count:
            return found[-1] - 1 if self._knows(steps, found[-1]) else None
        return steps.known.first - 1 if self._knows(steps, 0) else None

    async def at(self, offsets: Sequence[int]) -> list[Publication]:
        """Those of ``offsets``, which ascend, that there are."""
        found: list[Publication] = []
        place = 0
        while place < len(offsets):
            some = offsets[place : place + _FETCHED]
            steps = IndexSteps(self.log, self._publish, self._limits.timeout)
            wanted = b"".join(map(_packed, some))
            reply = await steps.ask(FETCH, some[0] - 1, some[-1], _AT_BYTES, wanted, size=_AT_BYTES)
            found += decode_entries(reply, _HEAD + 3, self.log.name)
            # It may have ended before the last one, where those before it are large.
            place += max(1, sum(each <= reply[_HEAD + 1] for each in some))
        return found

    async def count(self, topic_filter: str, after: int, through: int) -> int:
        """How many match behind ``after``, up to ``through``.

        Raises:
            StreamUnavailable: the index isn't complete.
        """
        target, count = _start_of(topic_filter), 0
        while True:
            question = (topic_filter, target, _SEEKS, min(after, _ENDLESS), min(through, _ENDLESS))
            reply = await self._ask_complete(COUNT, *question, complete=_is_complete)
            count += int(reply[_HEAD + 2])
            target = bytes(reply[_HEAD + 1])
            if not target:
                return count

    async def newest_by_topic(
        self, topic_filter: str, count: int, after: int, through: int | None, *, messages: int, size: int
    ) -> SelectedPage:
        """Each topic's newest ``count``.

        Raises:
            TooMany: it takes too many topics.
            StreamUnavailable: the index isn't complete.
        """
        most = self._limits.topics_per_read
        for _ in range(3):
            steps = await self._complete()
            try:
                end = steps.known.last if through is None else min(through, steps.known.last)
                found = await self._search(
                    steps, [topic_filter], after + 1, messages + 1, rising=True, through=end, newest=count
                )
                if found is None:
                    raise TooMany(f"topic filter {topic_filter!r} takes a look at more than {most} topics")
                page = await self._fetch(
                    steps, [topic_filter], found, messages=messages, after=after, through=end, size=size
                )
            except EpochChanged:
                continue
            if self._knows(steps, 0):
                return SelectedPage(page.bounds, page.publications, page.through)
        raise _restless()

    async def snapshot(
        self, topic_filter: str, after: int, through: int | None, *, messages: int, size: int
    ) -> SelectedPage:
        """The last values that match, by offset.

        Raises:
            StreamUnavailable: they are being looked up in a log of before.
        """
        bounds, start, as_of = None, _start_of(topic_filter), through
        while True:
            end = _NO_OFFSET if through is None else through
            question = (topic_filter, start, after, end, min(messages, _FETCHED), size)
            reply = await self._ask_complete(SNAPSHOT, *question, complete=lambda reply: bool(reply[_HEAD]))
            now, reached = head_of(reply).bounds, reply[_HEAD + 1]
            # Where many were looked at in vain, all of these looks make one page, as of the first of them.
            if bounds is not None and bounds.epoch != now.epoch:
                raise _restless()
            bounds = now if bounds is None or as_of is not None else bounds
            through = bounds.last if through is None else through
            found = decode_entries(reply, _HEAD + 2, self.log.name)
            found = [each for each in found if matches(topic_filter, each.topic)]
            if found or reached >= min(through, bounds.last):
                return SelectedPage(bounds, found, reached)
            after = reached

    async def topics(self, topic_filter: str, after: str | None, limit: int) -> TopicPage:
        """Some of the topics that match, behind topic ``after``.

        Raises:
            StreamUnavailable: the index isn't complete.
        """
        found: list[TopicSummary] = []
        start = _start_of(topic_filter)
        while True:
            target = start if after is None else max(start, topic_key(after) + _BEHIND_TOPIC)
            most = min(limit - len(found), _SUMMARIES)
            question = (topic_filter, target, _SEEKS, most, int(self.log.configuration.last_values))
            reply = await self._ask_complete(TOPICS, *question, complete=_is_complete)
            for at in range(_HEAD + 2, len(reply), 5):
                key, first, last, time, kept = reply[at : at + 5]
                found.append(TopicSummary(topic_of(key), first, last, time, last_value=bool(kept)))
            passed = reply[_HEAD + 1]
            after = topic_of(passed) if passed else None
            if after is None or len(found) >= limit:
                return TopicPage(found, after)

    async def purge(self, topic_filter: str, before: int | None) -> AsyncGenerator[int, None]:
        """Remove what matches in steps; tell how many publications went with each.

        Raises:
            StreamUnavailable: the index isn't complete.
        """
        target = _start_of(topic_filter)
        steps = await self._complete()
        end = steps.known.last + 1 if before is None else before
        pace = Pace()
        while True:
            reply = await self._ask_at(pace, PURGE, topic_filter, target, pace.size, end)
            yield reply[_HEAD + 2]
            target = reply[_HEAD + 1]
            if not target:
                return

    async def measure(self, topic_filter: str, before: int) -> Extent:
        """What a purge would remove.

        Raises:
            StreamUnavailable: the index isn't complete.
        """
        target, begin, found = _start_of(topic_filter), 0, Extent()
        pace, before = Pace(), min(before, _ENDLESS)
        while True:
            reply = await self._ask_at(pace, MEASURE, topic_filter, target, pace.size, before, begin)
            target, begin, messages, size, first, last = reply[_HEAD + 1 : _HEAD + 7]
            found += Extent(messages, size, first or None, last or None)
            if not target:
                return found

    async def _search(
        self,
        steps: IndexSteps,
        filters: Sequence[str],
        bound: int,
        wanted: int,
        *,
        rising: bool,
        through: int = _ENDLESS,
        newest: int = 0,
    ) -> list[int] | None:
        """The first ``wanted`` offsets of topics that match, or None where they take too many looks."""
        merge = OffsetMerge(wanted, rising=rising)
        each = _FEW if any(map(has_wildcard, filters)) else min(wanted, _OFFSETS // 4)
        way = "up" if rising else "down"
        matched = passed = 0
        if not filters:
            await steps.ask(SEARCH, *_NOTHING)
        literal = [each for each in dict.fromkeys(filters) if not has_wildcard(each)]
        if len(literal) > self._limits.topics_per_read:
            return None
        asked_for = [(topic_key(each), bound) for each in literal]
        await self._ask_on(steps, merge, asked_for, way, each, through, newest)
        for topic_filter in dict.fromkeys(each for each in filters if has_wildcard(each)):
            target = _start_of(topic_filter)
            while True:
                question = (topic_filter, target, _SEEKS, way, bound, each, through, newest)
                reply = await steps.ask(SEARCH, *question)
                target = bytes(reply[_HEAD + 1])
                matched, passed = matched + reply[_HEAD + 2], passed + reply[_HEAD + 3]
                _take(merge, reply)
                if max(matched, passed) > self._limits.topics_per_read:
                    return None
                if not target:
                    break
        step = 1 if rising else -1
        while going := merge.incomplete():
            each = min(each * 4, _OFFSETS // 4)
            going = [(key, end + step) for key, end in going]
            await self._ask_on(steps, merge, going, way, each, through, newest)
        return merge.offsets()

    async def _ask_on(  # noqa: PLR0917 - what a search takes
        self,
        steps: IndexSteps,
        merge: OffsetMerge,
        topics: Sequence[tuple[bytes, int]],
        way: str,
        each: int,
        through: int,
        newest: int,
    ) -> None:
        """Ask for more offsets of ``topics``, by their keys, from an offset on each."""
        together = max(1, _OFFSETS // each)
        for at in range(0, len(topics), together):
            asked = [part for topic in topics[at : at + together] for part in topic]
            for key, _ in topics[at : at + together]:
                merge.add(key, (), more=False)  # what has nothing more is not in the answer
            _take(merge, await steps.ask(SEARCH, "", "", 0, way, 0, each, through, newest, *asked))

    async def _fetch(
        self,
        steps: IndexSteps,
        filters: Sequence[str],
        offsets: Sequence[int],
        *,
        messages: int,
        after: int,
        through: int,
        size: int,
    ) -> SelectedPage:
        """The publications of the first ``messages`` of ``offsets``, and what is missing up to the last."""
        if len(offsets) > min(messages, _FETCHED):
            offsets = offsets[: min(messages, _FETCHED)]
            through = offsets[-1]
        reply = await steps.ask(FETCH, after, through, size, b"".join(map(_packed, offsets)), size=size)
        bounds, through, known = head_of(reply).bounds, reply[_HEAD + 1], reply[_HEAD + 2]
        found = decode_entries(reply, _HEAD + 3, self.log.name)
        holes = [
            Hole(known[at], known[at + 1], PURGED if known[at + 2] == b"p" else TRIMMED)
            for at in range(0, len(known), 3)
        ]
        there = {each.offset for each in found}
        lost = [each for each in offsets if each not in there and bounds.first <= each <= through]
        for offset in lost:
            if not any(hole.first <= offset <= hole.last for hole in holes):
                holes.append(Hole(offset, offset))
        holes.sort(key=lambda hole: hole.first)
        # The index is checked by what it led to.
        publications = [
            each
            for each in found
            if (each.offset or 0) <= through and any(matches(one, each.topic) for one in filters)
        ]
        return SelectedPage(bounds, publications, through, holes)

    # Completeness

    async def _complete(self) -> IndexSteps:
        """Steps that begin with an index that is complete, once it is."""
        reply = await self._ask_complete(SEARCH, *_NOTHING, complete=_is_complete)
        steps = IndexSteps(self.log, self._publish, self._limits.timeout)
        steps.take(reply)
        return steps

    async def _ask_complete(
        self, script: Script, *question: str | bytes | int, complete: Callable[[Reply], bool]
    ) -> Reply:
        """Ask until the index can tell, but not for long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.timeout
        while True:
            self.tended.clear()
            steps = IndexSteps(self.log, self._publish, self._limits.timeout)
            reply = await steps.ask(script, *question)
            if complete(reply):
                return reply
            self.wanted.set()
            try:
                async with asyncio.timeout_at(until):
                    await self.tended.wait()
            except TimeoutError:
                raise StreamUnavailable(
                    f"the index of topics of stream {self.log.name!r} is being built"
                ) from None

    async def _ask_at(self, pace: Pace, script: Script, *question: str | bytes | int) -> Reply:
        began = asyncio.get_running_loop().time()
        reply = await self._ask_complete(script, *question, complete=_is_complete)
        pace.took(asyncio.get_running_loop().time() - began)
        return reply

    def _knows(self, steps: IndexSteps, first: int) -> bool:
        """Whether the index told everything from offset ``first`` on; if not, something is done about it."""
        if steps.reach <= max(first, steps.known.first):
            return True
        self.wanted.set()
        return False


def _is_complete(reply: Reply) -> bool:
    return bool(reply[_HEAD] <= reply[1])


def _restless() -> StreamUnavailable:
    return StreamUnavailable("the log changes too often to be read by its topics")


def _start_of(topic_filter: str) -> bytes:
    """The key with which a search for what ``topic_filter`` matches begins."""
    levels = topic_filter.split("/")
    literal = next((at for at, level in enumerate(levels) if level in {"+", "#"}), len(levels))
    return topic_key("/".join(levels[:literal]))


def _take(merge: OffsetMerge, reply: Reply) -> None:
    """Hand what a search found to ``merge``."""
    for at in range(_HEAD + 4, len(reply), 3):
        key, packed, more = reply[at : at + 3]
        merge.add(key, unpack(f">{len(packed) // 8}Q", packed), more=bool(more))
