"""One stream in memory: its log, the index of its topics, their last values, and the keys it remembers."""

from __future__ import annotations

import secrets
from array import array
from bisect import bisect_left
from collections import OrderedDict
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.streams.last_values import LastValues
from gateway.core.streams.recent import surplus
from gateway.core.streams.topic_index import TopicIndex
from gateway.core.topics.grammar import matches
from gateway.errors import Conflict, TooMany
from gateway.streams.base import Appended, SelectedPage, TopicPage, TopicSummary
from gateway.streams.limits import full
from gateway.streams.local_log import KeyShares, LocalLog
from gateway.streams.statistics import Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.core.messages.publication import Publication
    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.core.streams.last_values import LastValue
    from gateway.streams.base import Dedupe
    from gateway.streams.limits import StoreLimits

# What one turn of the event loop may take of long work: some milliseconds.
_TOPICS: Final = 4096
_HOLES: Final = 1024
_SCANNED: Final = 32_768
_STRETCH: Final = 4096
_PURGED_TOGETHER: Final = 32_768
_MEASURED: Final = 4096


class _First(NamedTuple):
    """The first append with a key."""

    fingerprint: bytes
    answer: Appended
    time: int


class MemoryLog:
    """One stream: its publications, and the keys of the dedupe window, the oldest first.

    Keys that are remembered for longer than the window are apart, since they end in another order. The index
    and the last values change with the log in one step, so they tell the same at any time.
    """

    __slots__ = (
        "_limits",
        "configuration",
        "ends",
        "evicted",
        "index",
        "keys",
        "left",
        "log",
        "long_keys",
        "shares",
        "time",
        "values",
    )

    def __init__(self, configuration: StreamConfiguration, limits: StoreLimits) -> None:
        self.configuration = configuration
        self._limits = limits
        self.shares = KeyShares(configuration.name, limits.dedupe_keys)
        self.log = LocalLog(secrets.token_hex(8))
        self.index = TopicIndex()
        self.values = LastValues(configuration.last_values_max_topics, configuration.last_values_max_age)
        self.keys: OrderedDict[str, _First] = OrderedDict()
        self.long_keys: dict[str, _First] = {}
        self.ends: list[tuple[int, str]] = []
        self.left: Sequence[Publication] = ()
        self.time = 0
        self.evicted = 0

    def advance(self, now: int) -> None:
        """Let time pass, never back, and forget the keys whose window has passed."""
        self.time = max(self.time, now)
        expired = self.time - self.configuration.dedupe_window * 1000
        while self.keys and next(iter(self.keys.values())).time <= expired:
            self.shares.give_back(self.keys.popitem(last=False)[0])
        while self.ends and self.ends[0][0] <= self.time:
            key = heappop(self.ends)[1]
            del self.long_keys[key]
            self.shares.give_back(key)
        self.shares.settle()

    def first(self, dedupe: Dedupe) -> Appended | None:
        """The first answer to a key that is still remembered.

        Raises:
            Conflict: it was another publication's.
            RateLimited: its publisher can have no more of them remembered.
        """
        known = self.keys.get(dedupe.key) or self.long_keys.get(dedupe.key)
        if known is None:
            self.shares.take(dedupe.key, len(self.keys) + len(self.long_keys))
            return None
        if known.fingerprint != dedupe.fingerprint:
            raise Conflict("this idempotency key was first used with another topic or body")
        return Appended(known.answer.id, known.answer.offset, repeated=True)

    def refuse(self, size: int, keep_from: int | None, dedupe: Dedupe | None) -> None:
        """Refuse what there is no room for, since groups haven't finished what retention would take for it.

        Args:
            size: of the record that comes.
            keep_from: the first offset that must stay, or None.
            dedupe: its key, which is forgotten then.

        Raises:
            StoreFull: there is none.
        """
        if keep_from is None or not self.log.recent:
            return
        recent, limits = self.log.recent, self.configuration
        surplus_messages = len(recent) + 1 - limits.max_messages
        if surplus_messages <= max(0, keep_from - self.log.first) and (
            keep_from > self.log.first or recent.bytes + size <= limits.max_bytes
        ):
            return
        if dedupe is not None:
            self.shares.give_back(dedupe.key)
            self.shares.settle()
        raise full(limits.name)

    def append(
        self, publication: Publication, size: int, dedupe: Dedupe | None, keep_from: int | None = None
    ) -> Appended:
        """Keep ``publication``, whose record has ``size`` bytes; ``trim`` follows as there."""
        answer = Appended(publication.id, self.log.recent.last + 1)
        publication.stream = self.configuration.name
        publication.offset = answer.offset
        publication.time = self.time
        self.index.add(publication.topic, answer.offset)
        if self.configuration.last_values:
            if publication.deleted:
                self.values.remove(publication.topic)
            else:
                self.values.put(publication, size)
        if dedupe is not None:
            self._remember(dedupe, answer)
        self.log.extend((publication,), (size,))
        self.trim(keep_from)
        return answer

    def _remember(self, dedupe: Dedupe, answer: Appended) -> None:
        first = _First(dedupe.fingerprint, answer, self.time)
        window = dedupe.window(self.configuration.dedupe_window)
        if window <= self.configuration.dedupe_window * 1000:
            self.keys[dedupe.key] = first
        else:
            self.long_keys[dedupe.key] = first
            heappush(self.ends, (self.time + window, dedupe.key))

    def trim(self, keep_from: int | None = None) -> None:
        """Let go of what may not be kept any longer, but for what must stay; ``left`` is that."""
        recent = self.log.recent
        gone = surplus(
            self.configuration, recent.oldest(), messages=len(recent), size=recent.bytes, now=self.time
        )
        count = gone.messages
        self.left = []
        if count and keep_from is not None:
            count = min(count, recent.held_before(keep_from))
        if count:
            self.left = self.log.drop(count)
            self.index.trim(self.log.first, (each.topic for each in self.left), self.values)
        while self.configuration.last_values and (oldest := self.values.oldest()) is not None:
            full = self.values.is_full()
            if not full and not self.values.is_old(oldest, self.time):
                break
            self.evicted += full
            self._end_value(oldest.publication.topic)

    def select(self, filters: Sequence[str], after: int, *, messages: int, size: int) -> SelectedPage | None:
        """What matches, behind ``after``; None where it takes too many topics."""
        bounds, after = self.log.bounds, max(after, self.log.first - 1)
        topics = self.index.matching(filters, self._limits.topics_per_read)
        if topics is None:
            return None
        found = map(self.log.recent.get, self.index.behind(topics, after, messages + 1))
        publications, through = _cut(found, messages, size)
        through = bounds.last if through is None else through
        holes = list(islice(self.log.holes(after, through), _HOLES))
        if len(holes) == _HOLES:
            # No page tells of more holes than that, and so of nothing behind them.
            through = holes[-1].last
            publications = [each for each in publications if (each.offset or 0) <= through]
        return SelectedPage(bounds, publications, through, holes)

    def at(self, offsets: Sequence[int]) -> list[Publication]:
        """Those of ``offsets`` that are kept."""
        found = map(self.log.recent.find, offsets)
        return [each for each in found if each is not None]

    def count(self, topic_filter: str, after: int, through: int) -> int:
        """How many match behind ``after``, up to ``through``."""
        topics = self.index.matching([topic_filter], len(self.index) + 1)
        if topics is None:
            topics = [each for each in self.index if matches(topic_filter, each)]
        return self.index.count(topics, after, through)

    def before_newest(self, topic_filter: str, count: int) -> int | None:
        """The offset before the newest ``count`` that match, or before all; None as ``select``."""
        topics = self.index.matching([topic_filter], self._limits.topics_per_read)
        if topics is None:
            return None
        oldest = self.index.newest(topics, count)
        return (self.log.first if oldest is None else oldest) - 1

    def newest_by_topic(
        self, topic_filter: str, count: int, after: int, through: int | None, *, messages: int, size: int
    ) -> SelectedPage:
        """Each topic's newest ``count``.

        Raises:
            TooMany: it takes too many topics.
        """
        bounds, most = self.log.bounds, self._limits.topics_per_read
        topics = self.index.matching([topic_filter], most)
        if topics is None:
            raise TooMany(f"topic filter {topic_filter!r} takes a look at more than {most} topics")
        end = bounds.last if through is None else min(through, bounds.last)
        found = self.index.newest_of_each(topics, count, after=after, through=end, limit=messages + 1)
        publications, cut = _cut(map(self.log.recent.get, found), messages, size)
        return SelectedPage(bounds, publications, end if cut is None else cut)

    def snapshot(
        self, topic_filter: str, after: int, through: int | None, *, messages: int, size: int
    ) -> SelectedPage:
        """The last values that match, by offset."""
        bounds = self.log.bounds
        end = bounds.last if through is None else min(through, bounds.last)
        # What fits a page is looked up by topic; more than that costs least in the order in which they stand.
        topics = self.index.matching([topic_filter], messages)
        found: Iterable[LastValue]
        if topics is None:
            end = min(end, self.values.reach(after, _SCANNED) or end)
            found = (
                each for each in self.values.behind(after) if matches(topic_filter, each.publication.topic)
            )
        else:
            known = (self.values.get(each) for each in topics)
            found = sorted(each for each in known if each is not None and each.offset > after)
        within = ((each.publication, each.size) for each in takewhile(lambda each: each.offset <= end, found))
        publications, cut = _cut(within, messages, size)
        return SelectedPage(bounds, publications, end if cut is None else cut)

    def last_value(self, topic: str) -> Publication | None:
        """The last value of ``topic``."""
        value = self.values.get(topic)
        return None if value is None else value.publication

    def topics(self, topic_filter: str, after: str | None, limit: int) -> TopicPage:
        """Some of the topics that match, behind topic ``after``."""
        page = self.index.page(topic_filter, after, limit, max(limit, self._limits.topics_per_read))
        return TopicPage([self._summary(each) for each in page.topics], page.next)

    def purge(
        self,
        topic_filter: str,
        before: int | None,
        tell: Callable[[Sequence[Publication]], None] = lambda _: None,
    ) -> Iterator[int]:
        """Remove what matches, with smaller offsets than ``before``, in steps; tell how many went with each.

        ``tell`` is given what the log had of them.

        What is appended between two steps stays.
        """
        end = self.log.recent.last + 1
        before = end if before is None else min(before, end)
        after: str | None = None
        while True:
            page = self.index.page(topic_filter, after, _TOPICS, _TOPICS)
            yield sum(self._purge_value(each, before) for each in page.topics)
            offsets = array("q")
            for each in page.topics:
                offsets.extend(self.index.offsets(each, before, _PURGED_TOGETHER - len(offsets)))
            for some in _near(sorted(offsets)):
                removed = self._purge(some)
                tell(removed)
                yield len(removed)
            if len(offsets) < _PURGED_TOGETHER:
                if page.next is None:
                    return
                after = page.next

    def measure(self, topic_filter: str, before: int | None) -> Iterator[Extent]:
        """What ``purge`` would remove, in steps as that."""
        end = self.log.recent.last + 1
        before = end if before is None else min(before, end)
        after: str | None = None
        while True:
            page = self.index.page(topic_filter, after, _TOPICS, _TOPICS)
            values = (self.values.get(each) for each in page.topics)
            gone = [each for each in values if each is not None and each.offset < min(before, self.log.first)]
            yield _extent({each.offset: each.size for each in gone})
            offsets = array("q")
            for topic in page.topics:
                offsets.extend(self.index.offsets(topic, before, end))
                if len(offsets) >= _MEASURED:
                    for at in range(0, len(offsets), _MEASURED):
                        yield self._extent_of(offsets[at : at + _MEASURED])
                    offsets = array("q")
            yield self._extent_of(offsets)
            if page.next is None:
                return
            after = page.next

    def _extent_of(self, offsets: Iterable[int]) -> Extent:
        recent = self.log.recent
        # What has left meanwhile is purged by nobody.
        return _extent({each: recent.get(each)[1] for each in offsets if recent.find(each) is not None})

    def _purge(self, offsets: Sequence[int]) -> Sequence[Publication]:
        removed = self.log.purge(offsets)
        # They are all that their topics have up to the last of them.
        for topic, offset in {each.topic: each.offset for each in removed}.items():
            assert offset is not None, "a log numbers what it holds"
            self.index.cut(topic, offset)
        return removed

    def _purge_value(self, topic: str, before: int) -> bool:
        """Whether something went that is nowhere else."""
        value = self.values.get(topic)
        if value is None or value.offset >= before:
            return False
        self._end_value(topic)
        return value.offset < self.log.first

    def _end_value(self, topic: str) -> None:
        self.values.remove(topic)
        self.index.release(topic)

    def _summary(self, topic: str) -> TopicSummary:
        ends, value = self.index.ends(topic), self.values.get(topic)
        assert ends is not None, "a page tells of topics that are there"
        first, last = ends
        newest, _ = (value.publication, 0) if value is not None else self.log.recent.get(last)
        return TopicSummary(topic, first, last, newest.time, last_value=value is not None)


def _cut(
    found: Iterable[tuple[Publication, int]], messages: int, size: int
) -> tuple[list[Publication], int | None]:
    """The first ``messages`` of about ``size`` bytes, one at least; the last's offset if more follow."""
    taken: list[Publication] = []
    for publication, each in found:
        size -= each
        if taken and (len(taken) == messages or size < 0):
            return taken, taken[-1].offset
        taken.append(publication)
    return taken, None


def _extent(sizes: Mapping[int, int]) -> Extent:
    """Of publications, their bytes by offset."""
    return Extent(len(sizes), sum(sizes.values()), min(sizes, default=None), max(sizes, default=None))


def _near(offsets: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending ``offsets`` in parts, each of which lies in a short stretch of a log."""
    begin = 0
    while begin < len(offsets):
        end = bisect_left(offsets, offsets[begin] + _STRETCH, begin)
        yield offsets[begin:end]
        begin = end
