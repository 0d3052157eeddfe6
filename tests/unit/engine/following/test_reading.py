"""Reading pages of a stream, over a store in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.commands import Position, Start, StartKind
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import Bounds, StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.engine.following import reading
from gateway.engine.following.reading import Missed, Query, Reading, StreamReader
from gateway.errors import NotFound, StreamUnavailable, TooMany
from gateway.streams.memory import MemoryStore
from tests.patience import HANG_SECONDS
from tests.unit.engine.model_store import ModelStore

EARLIEST = Start(StartKind.EARLIEST)
NEW = Start(StartKind.NEW)
STREAMS = StreamMap([StreamConfiguration("s", "s/#")])
SHORT = StreamMap([StreamConfiguration("s", "s/#", max_messages=3)])


class Log:
    """A store with one stream, and a way to fill it and to read it."""

    def __init__(self, streams: StreamMap = STREAMS, *, most_waiting: int = 100) -> None:
        self.now = 1_000
        self.store = MemoryStore(streams, clock=lambda: self.now)
        self.reader = StreamReader(self.store, streams, most_waiting=most_waiting)

    async def append(self, *topics: str) -> None:
        for topic in topics:
            await self.store.append("s", Publication(topic, "m", 0, b"1"))

    async def read(self, start: Start | int = EARLIEST, topic_filter: str = "s/#", **how: object) -> Reading:
        start = Start(StartKind.OFFSET, start) if isinstance(start, int) else start
        return await self.reader.read(Query(stream="s", filter=topic_filter, start=start, **how))  # type: ignore[arg-type]  # keywords of the test's


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    made = Log()
    await made.store.start()
    yield made
    await made.store.stop()


@pytest.fixture
async def short() -> AsyncIterator[Log]:
    """It keeps three of the five publications it was given: 3, 4 and 5."""
    made = Log(SHORT)
    await made.store.start()
    await made.append(*["s/a"] * 5)
    yield made
    await made.store.stop()


def offsets(reading: Reading) -> list[int | None]:
    return [each.offset for each in reading.publications]


async def test_an_empty_stream_has_nothing_and_begins_at_one(log: Log) -> None:
    reading = await log.read()
    assert (offsets(reading), reading.next, reading.missed) == ([], 1, None)
    assert (reading.bounds.first, reading.bounds.last) == (1, 0)


async def test_pages_follow_one_another(log: Log) -> None:
    await log.append(*["s/a"] * 5)
    first = await log.read(limit=2)
    second = await log.read(first.next, epoch=first.bounds.epoch, limit=2)
    third = await log.read(second.next, epoch=first.bounds.epoch, limit=2)
    assert [offsets(page) for page in (first, second, third)] == [[1, 2], [3, 4], [5]]
    assert third.next == 6
    assert offsets(await log.read(third.next)) == []


@pytest.mark.parametrize(
    ("start", "expected", "missed"),
    [
        (EARLIEST, [3, 4, 5], None),
        (NEW, [], None),
        (Start(StartKind.OFFSET, 1), [3, 4, 5], Missed("trimmed", 1, 2)),
        (Start(StartKind.OFFSET, 3), [3, 4, 5], None),
        (Start(StartKind.OFFSET, 5), [5], None),
        (Start(StartKind.OFFSET, 6), [], None),
        (Start(StartKind.OFFSET, 99), [], None),
        (Start(StartKind.LAST, 2), [4, 5], None),
        (Start(StartKind.LAST, 99), [3, 4, 5], None),
        (Start(StartKind.TIME, 0), [3, 4, 5], None),
        (Start(StartKind.TIME, 9_999), [], None),
    ],
)
async def test_where_reading_begins(
    short: Log, start: Start, expected: list[int], missed: Missed | None
) -> None:
    reading = await short.read(start)
    assert (offsets(reading), reading.missed) == (expected, missed)
    assert reading.next == 6


async def test_reading_begins_at_a_time(log: Log) -> None:
    for log.now in (1_000, 2_000, 2_000, 3_000):
        await log.append("s/a")
    assert offsets(await log.read(Start(StartKind.TIME, 2_000))) == [2, 3, 4]
    assert offsets(await log.read(Start(StartKind.TIME, 2_001))) == [4]


async def test_only_what_matches_is_given_but_the_rest_is_passed(log: Log) -> None:
    await log.append("s/a", "s/b", "s/a", "s/b")
    reading = await log.read(topic_filter="s/a")
    assert (offsets(reading), reading.next) == ([1, 3], 5)
    assert (offsets(await log.read(topic_filter="s/a", limit=1)), reading.next) == ([1], 5)
    assert offsets(await log.read(topic_filter="#")) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("start", "topic_filter", "expected"),
    [
        (Start(StartKind.LAST, 2), "s/a", [1, 3]),
        (Start(StartKind.LAST, 1), "s/a", [3]),
        (Start(StartKind.LAST_PER_TOPIC, 1), "#", [3, 6]),
        (Start(StartKind.LAST_PER_TOPIC, 2), "s/+", [1, 3, 5, 6]),
        (Start(StartKind.LAST_PER_TOPIC, 2), "s/none", []),
    ],
)
async def test_the_newest_are_counted_among_what_matches(
    log: Log, start: Start, topic_filter: str, expected: list[int]
) -> None:
    await log.append("s/a", "s/b", "s/a", "s/b", "s/b", "s/b")
    reading = await log.read(start, topic_filter)
    assert (offsets(reading), reading.next) == (expected, 7)


async def test_what_does_not_fit_in_of_each_topic_is_behind_the_place_to_go_on_from(log: Log) -> None:
    await log.append("s/a", "s/b", "s/a", "s/b", "s/b", "s/b")
    first = await log.read(Start(StartKind.LAST_PER_TOPIC, 2), "s/+", limit=2)
    assert (offsets(first), first.next) == ([1, 3], 4)


async def test_who_waits_for_the_newest_of_topics_that_there_are_not_yet_gets_the_first(log: Log) -> None:
    await log.append("s/a")
    async with asyncio.timeout(HANG_SECONDS):
        waiting = asyncio.create_task(log.read(Start(StartKind.LAST_PER_TOPIC, 2), "s/b", wait=60))
        await anyio.wait_all_tasks_blocked()
        await log.append("s/a", "s/b")
        assert offsets(await waiting) == [3]


async def test_topics_are_told_page_by_page(log: Log) -> None:
    await log.append("s/b", "s/a", "s/b")
    first = await log.reader.topics("s", "s/+", after=None, limit=1)
    assert [(each.topic, each.first, each.last) for each in first.topics] == [("s/a", 2, 2)]
    second = await log.reader.topics("s", "s/+", after=first.next, limit=1)
    assert [(each.topic, each.first, each.last) for each in second.topics] == [("s/b", 1, 3)]
    with pytest.raises(NotFound):
        await log.reader.topics("t", "#", after=None, limit=1)


async def test_what_was_captured_under_another_filter_is_for_those_whose_own_matches(log: Log) -> None:
    await log.append("old/a", "s/a", "old/b")
    reading = await log.read(topic_filter="s/#")
    assert (offsets(reading), reading.next) == ([2], 4)
    assert offsets(await log.read(topic_filter="#")) == [1, 2, 3]


async def test_a_filter_that_matches_little_is_answered_in_one_page(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCANNED", 3)
    await log.append("s/b", *["s/a"] * 700, "s/b")
    assert [(offsets(page), page.next) for page in [await log.read(topic_filter="s/b")]] == [([1, 702], 703)]


async def test_without_an_index_a_filter_that_matches_little_returns_early(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCANNED", 3)

    async def nothing(*_: object, **__: object) -> None:
        """Only a scan can tell."""

    monkeypatch.setattr(log.store, "select", nothing)
    await log.append(*["s/a"] * 7, "s/b")
    first = await log.read(topic_filter="s/b", wait=30)
    second = await log.read(first.next, "s/b")
    third = await log.read(second.next, "s/b")
    assert [(offsets(page), page.next) for page in (first, second, third)] == [([], 4), ([], 7), ([8], 9)]


async def test_a_page_ends_before_it_grows_too_large(log: Log) -> None:
    for _ in range(40):
        await log.store.append("s", Publication("s/a", "m", 0, None, b"x" * 65_536))
    first = await log.read(limit=1000)
    assert 16 <= len(first.publications) <= 17
    assert first.next == len(first.publications) + 1


async def test_another_epoch_is_told_and_read_from_its_beginning(short: Log) -> None:
    reading = await short.read(6, epoch="another")
    assert (offsets(reading), reading.missed) == ([3, 4, 5], Missed("epoch"))


async def test_an_offset_beyond_the_end_of_its_epoch_is_another_log(short: Log) -> None:
    epoch = (await short.read()).bounds.epoch
    reading = await short.read(7, epoch=epoch)
    assert (offsets(reading), reading.missed) == ([3, 4, 5], Missed("epoch"))
    reading = await short.read(6, epoch=epoch)
    assert (offsets(reading), reading.missed) == ([], None)


async def test_waiting_ends_with_the_first_message_that_matches(log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.append, "s/b", "s/a")
        with anyio.fail_after(HANG_SECONDS):
            found = await log.read(NEW, "s/a", wait=30)
    assert (offsets(found), found.next) == ([2], 3)


async def test_waiting_ends_with_the_time(log: Log) -> None:
    await log.append("s/a")
    found = await log.read(NEW, wait=0.01)
    assert (offsets(found), found.next) == ([], 2)


async def test_who_waits_is_told_of_a_new_epoch(log: Log) -> None:
    await log.append("s/a")
    old = (await log.read()).bounds.epoch
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.store.raise_epoch, "s", Position(old, 9))
        with anyio.fail_after(HANG_SECONDS):
            found = await log.read(NEW, wait=30)
    assert (offsets(found), found.missed) == ([1], Missed("epoch"))
    assert found.bounds.epoch != old


async def test_nobody_waits_when_the_node_ends(log: Log) -> None:
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await asyncio.sleep(0)
            log.reader.end()

        tasks.start_soon(end)
        with anyio.fail_after(HANG_SECONDS):
            found = await log.read(NEW, wait=30)
            assert (offsets(found), found.next) == ([], 1)
            assert offsets(await log.read(NEW, wait=30)) == []


async def test_no_more_may_wait_than_that() -> None:
    log = Log(most_waiting=1)
    await log.store.start()
    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: log.read(NEW, wait=30))
            await asyncio.sleep(0)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(TooMany):
                await log.read(NEW, wait=30, reader="another")
            assert offsets(await log.read()) == []
            await log.append("s/a")
    await log.store.stop()


async def test_of_many_that_come_at_once_no_more_may_wait_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log(most_waiting=2)
    await log.store.start()
    refused: list[TooMany] = []
    bounds = log.store.bounds

    async def bounds_from_afar(stream: str) -> Bounds:
        await asyncio.sleep(0)
        return await bounds(stream)

    monkeypatch.setattr(log.store, "bounds", bounds_from_afar)

    async def read(reader: str) -> None:
        try:
            await log.read(NEW, wait=30, reader=reader)
        except TooMany as error:
            refused.append(error)

    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(read, str(number))
            await anyio.wait_all_tasks_blocked()
            assert (log.reader.waiting, len(refused)) == (2, 3)
            await log.append("s/a")
    assert log.reader.waiting == 0
    await log.store.stop()


async def test_nobody_takes_all_the_places_to_wait() -> None:
    log = Log(most_waiting=12)
    await log.store.start()
    refused: Counter[str] = Counter()

    async def read(reader: str) -> None:
        try:
            await log.read(NEW, wait=30, reader=reader)
        except TooMany:
            refused[reader] += 1

    with anyio.fail_after(HANG_SECONDS):
        async with anyio.create_task_group() as tasks:
            for reader, times in (("greedy", 20), ("second", 20), *((f"late {n}", 1) for n in range(3))):
                for _ in range(times):
                    tasks.start_soon(read, reader)
                await anyio.wait_all_tasks_blocked()
            # Half of all, then half of the rest; whoever comes later for the first time finds a place.
            assert refused == {"greedy": 14, "second": 17}
            tasks.start_soon(read, "later still")
            await anyio.wait_all_tasks_blocked()
            assert refused["later still"] == 1
            await log.append("s/a")
    assert log.reader._readers == {}
    await log.store.stop()


async def test_unknown_streams_and_stores_that_are_away_are_told_apart(log: Log) -> None:
    with pytest.raises(NotFound):
        await log.reader.read(Query(stream="other", filter="s/#"))
    with pytest.raises(NotFound):
        await StreamReader(None, StreamMap()).read(Query(stream="s", filter="s/#"))
    await log.store.stop()
    with pytest.raises(StreamUnavailable):
        await log.read()


@given(
    topics=st.lists(st.sampled_from(["s/a", "s/b", "s/a/c"]), max_size=40),
    kept=st.integers(1, 50),
    limit=st.integers(1, 9),
    topic_filter=st.sampled_from(["s/#", "s/a", "s/+", "#"]),
)
def test_pages_together_are_what_the_stream_keeps(
    topics: list[str], kept: int, limit: int, topic_filter: str
) -> None:
    async def collected() -> list[int | None]:
        streams = StreamMap([StreamConfiguration("s", "s/#", max_messages=kept)])
        log = Log(streams)
        await log.store.start()
        await log.append(*topics)
        found, page = [], await log.read(EARLIEST, topic_filter, limit=limit)
        while page.publications:
            found += offsets(page)
            assert len(page.publications) <= limit
            page = await log.read(page.next, topic_filter, limit=limit, epoch=page.bounds.epoch)
            assert page.missed is None
        await log.store.stop()
        return found

    fits = {"s/#": {"s/a", "s/b", "s/a/c"}, "s/a": {"s/a"}, "s/+": {"s/a", "s/b"}}
    fits["#"] = fits["s/#"]
    expected = [number for number, topic in enumerate(topics, 1) if topic in fits[topic_filter]]
    assert asyncio.run(collected()) == [number for number in expected if number > len(topics) - kept]


class Holed:
    """The log of a model, which may have holes."""

    def __init__(self, count: int, *gone: int) -> None:
        self.store = ModelStore("s")
        for number in range(1, count + 1):
            self.store.logs["s"].append(Publication("s/a", f"m{number}", number, b"1"))
        for offset in gone:
            self.store.logs["s"].remove(offset)
        self.reader = StreamReader(self.store, STREAMS)

    async def read(self, offset: int, topic_filter: str = "s/#", **how: object) -> Reading:
        start = Start(StartKind.OFFSET, offset)
        return await self.reader.read(Query(stream="s", filter=topic_filter, start=start, **how))  # type: ignore[arg-type]  # keywords of the test's


async def test_a_hole_is_told_before_what_follows_it_one_to_an_answer() -> None:
    log = Holed(30, 3, 4, 10, 30)
    first = await log.read(1)
    assert (offsets(first), first.next, first.missed) == ([1, 2], 3, None)
    second = await log.read(first.next)
    assert (offsets(second), second.next) == ([5, 6, 7, 8, 9], 10)
    assert second.missed == Missed("trimmed", 3, 4)
    third = await log.read(second.next)
    assert (third.missed, offsets(third), third.next) == (
        Missed("trimmed", 10, 10),
        list(range(11, 30)),
        30,
    )


async def test_who_waits_at_the_end_is_told_of_a_hole_there_at_once() -> None:
    log = Holed(5, 4, 5)
    async with asyncio.timeout(HANG_SECONDS):
        told = await log.read(4, wait=60)
    assert (offsets(told), told.missed, told.next) == ([], Missed("trimmed", 4, 5), 6)


@given(
    kept=st.sets(st.integers(1, 40)),
    begin=st.integers(1, 40),
    limit=st.integers(1, 15),
    wait=st.sampled_from([0.0, 30.0]),
    topic_filter=st.sampled_from(["s/#", "s/a"]),
)
def test_answers_together_tell_of_every_offset_once(
    kept: set[int], begin: int, limit: int, wait: float, topic_filter: str
) -> None:
    async def read_all() -> tuple[list[int | None], list[int]]:
        log = Holed(40, *(set(range(1, 41)) - kept))
        found: list[int | None] = []
        missed: list[int] = []
        at = begin
        while at <= 40:
            reading = await log.read(at, topic_filter, limit=limit, wait=wait)
            assert reading.next > at, "each answer leads on"
            found += offsets(reading)
            if reading.missed is not None:
                assert reading.missed.last is not None
                missed += range(reading.missed.first or 0, reading.missed.last + 1)
            at = reading.next
        return found, missed

    found, missed = asyncio.run(read_all())
    assert found == sorted(each for each in kept if each >= begin)
    assert missed == [each for each in range(begin, 41) if each not in kept]
