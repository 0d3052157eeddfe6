"""What every store promises about topics: reading by them, last values, and purging."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from gateway.codecs.record import encode_record
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.pages import PURGED, Hole
from gateway.core.streams.topic_keys import topic_key
from gateway.core.topics.grammar import matches
from gateway.errors import StreamUnavailable, TooMany
from gateway.streams.base import Appended, Dedupe
from gateway.streams.statistics import Extent
from tests.conformance.store_contenders import (
    CONTENDERS,
    LIMITS,
    Contender,
    Elapsed,
    ids,
    offsets,
    until,
)
from tests.purging import purge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.streams.base import Store, TopicSummary

TOPICS = [
    "s", "s/", "s/a", "s/a/b", "s/a/b/c", "s/b", "s/b/b", "s/c/b", "s//b", "s/$x", "s.a/b", "s!", "sa/b",
    "/", "//", "/s", "a", "a/b", "é", "é/b", "\U00010000/b", "\uffff/b", "$s", "$s/a", "$s/a/b",
]  # fmt: skip
FILTERS = [
    "#", "+", "+/#", "+/+", "+/b", "+/+/b", "+/b/#", "s/#", "s/+", "s/+/#", "s/+/b", "s/a/#", "s/a", "s//b",
    "s/", "s//#", "/#", "/+", "//#", "+//b", "é/#", "é", "\uffff/+", "$s/#", "$s/+", "$s", "no", "no/#",
    "s/+/no",
]  # fmt: skip


@pytest.fixture(params=CONTENDERS)
def contender(request: pytest.FixtureRequest) -> Contender:
    return CONTENDERS[request.param](request)


def on(topic: str, number: int = 0, body: bytes | None = b"1", *, deleted: bool = False) -> Publication:
    return Publication(topic, f"m{number}", 0, None if deleted else body, deleted=deleted)


async def fill(store: Store, *topics: str) -> None:
    await asyncio.gather(*(store.append("s", on(topic, number)) for number, topic in enumerate(topics, 1)))


async def select_all(
    store: Store, filters: Sequence[str], *, after: int = 0, messages: int = 100, size: int = 10**6
) -> tuple[list[int | None], list[Hole]]:
    """Everything, page by page, each begun where the one before ended."""
    found: list[int | None] = []
    holes: list[Hole] = []
    while True:
        page = await store.select("s", filters, after, messages=messages, size=size)
        assert page is not None
        assert len(page.publications) <= messages
        found += offsets(page)
        holes += page.holes
        assert all(after < (each.offset or 0) <= page.through for each in page.publications)
        if page.through >= page.bounds.last:
            return found, holes
        assert page.through > after, "a page leads on"
        after = page.through


async def read_all(store: Store) -> tuple[list[int | None], list[Hole]]:
    page = await store.read("s", 0, messages=1000)
    return offsets(page), list(page.holes)


async def topics_of(store: Store, topic_filter: str = "#", *, limit: int = 3) -> list[TopicSummary]:
    found: list[TopicSummary] = []
    after: str | None = None
    while True:
        page = await store.topics("s", topic_filter, after=after, limit=limit)
        assert len(page.topics) <= limit
        found += page.topics
        if page.next is None:
            return found
        assert after is None or topic_key(page.next) > topic_key(after), "a page leads on"
        after = page.next


async def values_of(store: Store, topic_filter: str = "#", *, messages: int = 2) -> list[str]:
    """The labels of the last values, page by page."""
    page = await store.snapshot("s", topic_filter, 0, None, messages=messages)
    through, found = page.bounds.last, ids(page)
    while page.through < through:
        page = await store.snapshot("s", topic_filter, page.through, through, messages=messages)
        found += ids(page)
    return found


def matching(topics: Sequence[str], *filters: str) -> list[int]:
    """The offsets, from 1, of those of ``topics`` that match."""
    return [number for number, topic in enumerate(topics, 1) if any(matches(each, topic) for each in filters)]


async def test_what_a_filter_selects_is_what_a_scan_finds(contender: Contender) -> None:
    said = [*TOPICS, *TOPICS[::2], *TOPICS[::-1]]
    async with contender.running() as store:
        await fill(store, *said)
        for each in FILTERS:
            assert await select_all(store, [each]) == (matching(said, each), []), each
        for one, other in zip(FILTERS, FILTERS[3:], strict=False):
            assert await select_all(store, [one, other, one], messages=7) == (matching(said, one, other), [])


@pytest.mark.parametrize("messages", [1, 2, 5])
async def test_selected_pages_lead_through_all(contender: Contender, messages: int) -> None:
    said = [*TOPICS, *TOPICS]
    async with contender.running() as store:
        await fill(store, *said)
        for each in ("s/+/b", "+/#", "s/a", "$s/#"):
            found, _ = await select_all(store, [each], messages=messages)
            assert found == matching(said, each)


async def test_a_selected_page_begins_behind_the_offset_and_tells_where_it_ends(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, *["s/a", "s/b", "s/c"] * 4)
        page = await store.select("s", ["s/b"], 2, messages=2)
        assert page is not None
        assert (offsets(page), page.bounds) == ([5, 8], await store.bounds("s"))
        assert 8 <= page.through < 11
        page = await store.select("s", ["s/b"], page.through, messages=2)
        assert page is not None
        assert (offsets(page), page.through) == ([11], 12)
        for after in (12, 13, 1000):
            page = await store.select("s", ["s/b"], after, messages=2)
            assert page is not None
            assert (offsets(page), list(page.holes)) == ([], [])
        page = await store.select("s", [], 0, messages=2)
        assert page is not None
        assert (offsets(page), page.through) == ([], 12)


async def test_a_selected_page_is_bounded_in_bytes_and_holds_one_at_least(contender: Contender) -> None:
    async with contender.running() as store:
        for number in range(1, 9):
            await store.append("s", on("s/ab"[:: 1 + number % 2], number, b'"' + b"x" * 998 + b'"'))
        page = await store.select("s", ["s/ab"], 0, messages=9, size=1)
        assert page is not None
        assert offsets(page) == [2]
        assert page.through < 4
        page = await store.select("s", ["s/ab"], 2, messages=9, size=2_500)
        assert page is not None
        assert offsets(page) in ([4, 6], [4, 6, 8])


async def test_everything_of_a_selected_publication_is_there(contender: Contender) -> None:
    async with contender.running() as store:
        for number in range(20):
            await store.append("s", on("s/other", number))
        sent = Publication("s/é", "x", 5, None, b"\x00\xff", "image/png", {"h": "v"}, "k")
        await store.append("s", sent)
        gone = on("s/é", 2, deleted=True)
        await store.append("s", gone)
        page = await store.select("s", ["s/é"], 0, messages=9)
        read = (await store.read("s", 20, messages=9)).publications
        assert page is not None
        for found in (page.publications, read):
            assert [encode_record(each) for each in found] == [encode_record(sent), encode_record(gone)]
            assert [(each.stream, each.offset, each.time) for each in found] == [
                ("s", 21, sent.time),
                ("s", 22, gone.time),
            ]
            assert [each.deleted for each in found] == [False, True]


async def test_what_was_trimmed_is_not_selected(contender: Contender) -> None:
    said = [TOPICS[number % len(TOPICS)] for number in range(80)]
    async with contender.running(StreamConfiguration("s", "#", max_messages=30)) as store:
        await fill(store, *said)
        for each in FILTERS:
            kept = [offset for offset in matching(said, each) if offset > 50]
            assert await select_all(store, [each]) == (kept, [])
        page = await store.select("s", ["s/a"], 3, messages=1)
        assert page is not None
        assert page.bounds.first == 51


async def test_topics_go_with_their_last_publication(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "#", max_messages=10)) as store:
        for begin in range(0, 300, 20):
            await fill(store, *(f"jobs/{number}" for number in range(begin, begin + 20)))
        assert [each.topic for each in await topics_of(store)] == [f"jobs/{each}" for each in range(290, 300)]
        assert (await store.describe("s")).topics in (None, 10)
        # So many have come that the newest alone may be looked at.
        page = await store.select("s", ["jobs/+"], 0, messages=100)
        assert page is not None
        assert len(page.publications) == 10


async def test_more_topics_than_one_read_may_look_at(contender: Contender) -> None:
    many = [f"s/{number:03}" for number in range(LIMITS.topics_per_read + 1)]
    async with contender.running() as store:
        await fill(store, *many, "s/a/b", "s/000")
        # All of the log is asked for: a store may answer from the part that is enough.
        assert await store.select("s", ["s/#"], 0, messages=1000) is None
        assert await store.select("s", many, 0, messages=1000) is None
        assert await store.before_newest("s", "s/+", 1000) is None
        with pytest.raises(TooMany, match=str(LIMITS.topics_per_read)):
            await store.newest_by_topic("s", "s/+", 1, 0, None, messages=10)
        page = await store.select("s", ["s/a/#"], 0, messages=10)
        assert page is not None
        assert offsets(page) == [len(many) + 1]
        assert len(await topics_of(store, "s/#", limit=1000)) == len(many) + 1


async def test_the_newest_that_match(contender: Contender) -> None:
    said = [TOPICS[number * 7 % len(TOPICS)] for number in range(90)]
    async with contender.running(StreamConfiguration("s", "#", max_messages=60)) as store:
        await fill(store, *said)
        for each in FILTERS:
            kept = [offset for offset in matching(said, each) if offset > 30]
            for count in (1, 2, 5, 1000):
                before = await store.before_newest("s", each, count)
                assert before is not None
                assert before >= 30
                assert [offset for offset in kept if offset > before] == kept[-count:], (each, count)


async def test_the_newest_of_each_topic(contender: Contender) -> None:
    said = [TOPICS[number * number % len(TOPICS)] for number in range(90)]
    async with contender.running(StreamConfiguration("s", "#", max_messages=60)) as store:
        await fill(store, *said)
        for each in ("#", "s/+", "+/b", "$s/#", "s/a", "no"):
            for count, through in ((1, 90), (3, 90), (2, 70), (1, 31), (1, 12)):
                kept = [offset for offset in matching(said, each) if 30 < offset <= through]
                by_topic = {said[offset - 1]: [] for offset in kept}
                for offset in kept:
                    by_topic[said[offset - 1]].append(offset)
                expected = sorted(offset for group in by_topic.values() for offset in group[-count:])
                found, after = [], 0
                while True:
                    page = await store.newest_by_topic("s", each, count, after, through, messages=4)
                    found += offsets(page)
                    if page.through >= through:
                        break
                    assert page.through > after, "a page leads on"
                    after = page.through
                assert found == expected, (each, count, through)
        now = await store.newest_by_topic("s", "s/a", 1, 0, None, messages=4)
        assert now.bounds.last == now.through == 90


async def test_the_newest_of_each_are_as_of_an_offset_whatever_comes_meanwhile(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, *["s/a", "s/b", "s/c"] * 3)
        page = await store.newest_by_topic("s", "s/+", 2, 0, None, messages=3)
        assert offsets(page) == [4, 5, 6]
        through = page.bounds.last
        await fill(store, *["s/a", "s/d"] * 3)
        page = await store.newest_by_topic("s", "s/+", 2, page.through, through, messages=30)
        assert (offsets(page), page.through) == ([7, 8, 9], through)


async def test_the_topics_of_a_log(contender: Contender) -> None:
    said = [*TOPICS, *TOPICS[::3]]
    async with contender.running(StreamConfiguration("s", "#", max_messages=25)) as store:
        await fill(store, *said)
        first = len(said) - 25
        kept = {offset: said[offset - 1] for offset in range(first + 1, len(said) + 1)}
        times = {each.offset: each.time for each in (await store.read("s", 0, messages=100)).publications}
        for each in FILTERS:
            for limit in (1, 4, 100):
                expected = sorted({topic for topic in kept.values() if matches(each, topic)}, key=topic_key)
                found = await topics_of(store, each, limit=limit)
                assert [summary.topic for summary in found] == expected
                for summary in found:
                    own = [offset for offset, topic in kept.items() if topic == summary.topic]
                    assert (summary.first, summary.last) == (own[0], own[-1])
                    assert (summary.time, summary.last_value) == (times[own[-1]], False)


VALUES = StreamConfiguration("s", "#", max_messages=3, last_values=True)


async def test_last_values_stay_when_the_log_lets_go(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a", "s/b", "s/a", "$s/c", "s/d", "s/e", "s/d", "s/f")
        assert await values_of(store) == ["m2", "m3", "m6", "m7", "m8"]
        assert await values_of(store, "+/+", messages=100) == ["m2", "m3", "m6", "m7", "m8"]
        assert await values_of(store, "$s/+") == ["m4"]
        assert await values_of(store, "s/a") == ["m3"]
        bounds, value = await store.last_value("s", "s/a")
        assert value is not None
        assert (bounds, value.id, value.offset, value.stream) == (await store.bounds("s"), "m3", 3, "s")
        assert (await store.last_value("s", "s/none"))[1] is None
        told = {each.topic: each for each in await topics_of(store)}
        assert all(each.last_value for each in told.values())
        assert (told["s/a"].first, told["s/a"].last, told["s/a"].time) == (3, 3, value.time)
        assert (told["s/d"].first, told["s/d"].last) == (7, 7)
        # By the log they are not found any more.
        assert await select_all(store, ["s/a", "s/d"]) == ([7], [])
    if contender.durable:
        async with contender.running(VALUES) as store:
            assert await values_of(store) == ["m2", "m3", "m6", "m7", "m8"]
            assert len(await topics_of(store)) == 5


@pytest.mark.parametrize("delay", [0xC0, 0xC3C0, 600_000])
async def test_what_groups_see_later_is_a_last_value_at_once(contender: Contender, delay: int) -> None:
    """Whatever the bytes of the delay are, of which some might be a deletion's."""
    async with contender.running(VALUES) as store:
        await store.append("s", Publication("s/a", "m1", 0, b"1", delay=delay))
        assert await values_of(store) == ["m1"]


async def test_a_stream_without_last_values_has_none(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "#", max_messages=3)) as store:
        await fill(store, "s/a", "s/b", "s/c", "s/d")
        page = await store.snapshot("s", "#", 0, None, messages=10)
        assert (ids(page), page.bounds, page.through) == ([], await store.bounds("s"), 4)
        assert (await store.last_value("s", "s/d"))[1] is None
        assert [each.topic for each in await topics_of(store)] == ["s/b", "s/c", "s/d"]


async def test_a_deletion_ends_a_last_value(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a", "s/b", "s/c")
        assert await store.append("s", on("s/a", 4, deleted=True)) == Appended("m4", 4)
        assert await values_of(store) == ["m2", "m3"]
        assert (await store.last_value("s", "s/a"))[1] is None
        (deleted,) = (await store.read("s", 3, messages=10)).publications
        assert (deleted.deleted, deleted.data, deleted.binary) == (True, None, None)
        await fill(store, "s/d", "s/e", "s/f")
        assert "s/a" not in [each.topic for each in await topics_of(store)]
        await store.append("s", on("s/a", 8))
        assert await values_of(store) == ["m2", "m3", "m1", "m2", "m3", "m8"]


async def test_a_snapshot_leaves_out_what_is_newer(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a", "s/b", "s/c", "s/d", "s/e")
        page = await store.snapshot("s", "#", 0, None, messages=2)
        assert (ids(page), page.bounds.last) == (["m1", "m2"], 5)
        assert 2 <= page.through < 3
        await store.append("s", on("s/d", 6))
        await store.append("s", on("s/new", 7))
        page = await store.snapshot("s", "#", page.through, 5, messages=10)
        assert (ids(page), page.through) == (["m3", "m5"], 5)
        assert page.bounds.last == 7


async def test_a_snapshot_page_is_bounded_in_bytes(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        for number in range(1, 6):
            await store.append("s", on(f"s/{number}", number, b'"' + b"x" * 998 + b'"'))
        assert ids(await store.snapshot("s", "#", 0, None, messages=9, size=1)) == ["m1"]
        page = await store.snapshot("s", "s/+", 0, None, messages=9, size=2_500)
        assert ids(page) in (["m1", "m2"], ["m1", "m2", "m3"])
        assert page.through < 4


async def test_the_last_values_that_changed_longest_ago_go_first(contender: Contender) -> None:
    bounded = StreamConfiguration("s", "#", max_messages=2, last_values=True, last_values_max_topics=3)
    async with contender.running(bounded) as store:
        for number, topic in enumerate(["s/a", "s/b", "s/c", "s/a"], 1):
            await store.append("s", on(topic, number))
        assert await values_of(store) == ["m2", "m3", "m4"]
        assert store.statistics().last_values_evicted == 0
        await store.append("s", on("s/d", 5))
        await store.append("s", on("s/e", 6))
        assert await values_of(store) == ["m4", "m5", "m6"]
        assert store.statistics().last_values_evicted == 2
        assert [each.topic for each in await topics_of(store)] == ["s/a", "s/d", "s/e"]


async def test_last_values_go_with_age(contender: Contender) -> None:
    young = StreamConfiguration("s", "#", max_messages=1, last_values=True, last_values_max_age=0.5)
    async with contender.running(young) as store:
        young = Elapsed(contender)
        await fill(store, "s/a", "s/b")
        assert await values_of(store) == ["m1", "m2"] or not young.below(0.5)
        await contender.pass_time(0.6)

        async def gone() -> bool:
            return not await values_of(store) and [each.topic for each in await topics_of(store)] == ["s/b"]

        await until(gone)
        assert (await store.last_value("s", "s/a"))[1] is None
        young = Elapsed(contender)
        await store.append("s", on("s/c", 3))
        assert await values_of(store) == ["m3"] or not young.below(0.5)


async def test_what_is_purged_is_a_hole_to_every_reader(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, *["s/a", "s/b", "s/b", "s/c"] * 5)
        size = len(encode_record(on("s/b", 2)))
        before = await store.describe("s")
        assert await purge(store, "s", "s/b") == 10
        holes = [Hole(first, first + 1, PURGED) for first in range(2, 20, 4)]
        left = [offset for offset in range(1, 21) if offset % 4 in (0, 1)]
        assert await read_all(store) == (left, holes)
        assert await select_all(store, ["s/a"]) == (left[::2], holes)
        assert await select_all(store, ["s/b"], messages=2) == ([], holes)
        told = await store.describe("s")
        assert told.bounds == before.bounds
        assert told.bytes < before.bytes - 10 * (size - 2)
        assert [each.topic for each in await topics_of(store)] == ["s/a", "s/c"]
        assert await store.before_newest("s", "s/a", 2) in range(9, 13)
        assert store.statistics().purged == 10
        assert await purge(store, "s", "s/b") == 0
        # Another topic's publication between two holes makes one of them.
        assert await purge(store, "s", "+/c") == 5
        assert (await read_all(store))[1] == [Hole(first, first + 2, PURGED) for first in range(2, 20, 4)]
    if contender.durable:
        async with contender.running() as store:
            holes = [Hole(first, first + 2, PURGED) for first in range(2, 20, 4)]
            assert await read_all(store) == (left[::2], holes)
            assert await select_all(store, ["#"]) == (left[::2], holes)
            assert (await store.append("s", on("s/b"))).offset == 21


async def test_what_a_purge_would_remove_is_told_before(contender: Contender) -> None:
    async with contender.running() as store:
        for _ in range(6):
            await fill(store, *["s/a", "s/b", "s/b", "s/c"] * 100)
        size = len(encode_record(on("s/b", 2)))
        before = await store.describe("s")
        found = await store.measure("s", "s/b")
        assert (found.messages, found.first, found.last) == (1200, 2, 2399)
        assert 1200 * size <= found.bytes <= 1200 * (size + 3)
        assert await store.measure("s", "s/b", 7) == await store.measure("s", "s/b", 6 + 1)
        assert (await store.measure("s", "s/b", 7)).last == 6
        assert await store.measure("s", "s/no") == Extent()
        assert await store.measure("s", "s/a", 1) == Extent()
        assert (await store.measure("s", "#")).bytes == before.bytes
        assert await store.describe("s") == before
        assert await purge(store, "s", "s/b") == 1200
        assert await store.measure("s", "s/b") == Extent()
        assert (await store.describe("s")).bytes == before.bytes - found.bytes
        assert (await store.measure("s", "s/+")).messages == 1200


async def test_last_values_of_what_is_gone_are_told_before(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a", "s/b", "s/c", "s/a", "s/d", "s/e")
        found = await store.measure("s", "s/+")
        assert found.messages == await purge(store, "s", "s/+")
        assert (found.first, found.last) == (2, 6)


async def test_a_purge_that_is_left_has_removed_what_it_said(contender: Contender) -> None:
    async with contender.running() as store:
        for _ in range(10):
            await fill(store, *["s/a"] * 200)
        async with aclosing(store.purge("s", "s/a")) as steps:
            removed = 0
            async for count in steps:
                removed += count
                if removed:
                    break
        assert (await store.measure("s", "s/a")).messages == 2000 - removed
        assert await purge(store, "s", "s/a") == 2000 - removed


async def test_holes_that_meet_become_one(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, *["s/a", "s/b", "s/c"] * 4)
        assert await purge(store, "s", "s/c") == 4
        assert await purge(store, "s", "s/a") == 4
        assert await purge(store, "s", "s/b", 9) == 3
        assert await read_all(store) == ([11], [Hole(1, 10, PURGED), Hole(12, 12, PURGED)])
        assert await select_all(store, ["s/+"]) == await read_all(store)
        page = await store.read("s", 4, messages=1)
        assert (offsets(page), page.holes[0]) == ([11], Hole(5, 10, PURGED))


async def test_everything_may_be_purged_and_offsets_go_on(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, *["s/a", "s/b"] * 10)
        bounds = await store.bounds("s")
        assert await purge(store, "s", "#") == 20
        assert (await store.bounds("s")).last == 20
        assert (await store.bounds("s")).epoch == bounds.epoch
        assert (await store.describe("s")).bytes == 0
        reader = asyncio.create_task(store.read("s", 20, messages=10, wait=60))
        await asyncio.sleep(0)
        assert (await store.append("s", on("s/a", 21))).offset == 21
        assert offsets(await reader) == [21]
        assert (await select_all(store, ["s/a"]))[0] == [21]


async def test_only_what_is_before_an_offset_is_purged(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, *["s/a", "s/b"] * 10)
        assert await purge(store, "s", "s/a", 9) == 4
        assert (await select_all(store, ["s/a"]))[0] == [9, 11, 13, 15, 17, 19]
        assert await purge(store, "s", "s/+", 1) == 0
        assert await purge(store, "s", "s/b", 1000) == 10
        assert (await select_all(store, ["#"]))[0] == [9, 11, 13, 15, 17, 19]


async def test_last_values_are_purged_too(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a", "s/b", "s/c", "s/a", "s/d", "s/e")
        # Of s/c nothing but the last value is left.
        assert await purge(store, "s", "s/c") == 1
        assert await purge(store, "s", "s/a", 4) == 0
        assert await values_of(store) == ["m2", "m4", "m5", "m6"]
        assert await purge(store, "s", "s/a", 5) == 1
        assert await values_of(store) == ["m2", "m5", "m6"]
        assert (await store.last_value("s", "s/a"))[1] is None
        assert await purge(store, "s", "+/+") == 3
        assert await values_of(store) == []
        assert await topics_of(store) == []
        await store.append("s", on("s/a", 7))
        assert await values_of(store) == ["m7"]
    if contender.durable:
        async with contender.running(VALUES) as store:
            assert await values_of(store) == ["m7"]


async def test_an_idempotency_key_keeps_its_offset(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, "s/a")
        await store.append("s", on("s/b", 2), Dedupe("k", b"f"))
        assert await purge(store, "s", "s/b") == 1
        assert await store.append("s", on("s/b", 3), Dedupe("k", b"f")) == Appended("m2", 2, repeated=True)
        assert (await store.bounds("s")).last == 2


async def test_holes_leave_with_the_log(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "#", max_messages=10)) as store:
        await fill(store, *["s/a", "s/b"] * 5)
        assert await purge(store, "s", "s/b") == 5
        await fill(store, *["s/a"] * 25)
        bounds = await store.bounds("s")
        assert bounds.first == 26
        assert await read_all(store) == (list(range(26, 36)), [])
        assert await select_all(store, ["#"]) == (list(range(26, 36)), [])


async def test_a_log_with_holes_keeps_what_it_may(contender: Contender) -> None:
    limits = StreamConfiguration("s", "#", max_bytes=10 * len(encode_record(on("s/a", 1))))
    async with contender.running(limits) as store:
        await fill(store, *["s/a", "s/b"] * 4)
        assert await purge(store, "s", "s/b") == 4
        await fill(store, *["s/a"] * 6)
        assert (await read_all(store))[0] == [1, 3, 5, 7, 9, 10, 11, 12, 13, 14]


async def test_a_stopped_store_knows_no_topics(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a")
    for call in (
        store.select("s", ["s/a"], 0, messages=1),
        store.before_newest("s", "s/a", 1),
        store.newest_by_topic("s", "s/a", 1, 0, None, messages=1),
        store.snapshot("s", "s/a", 0, None, messages=1),
        store.last_value("s", "s/a"),
        store.topics("s", "s/a", after=None, limit=1),
        purge(store, "s", "s/a"),
        store.measure("s", "s/a"),
    ):
        with pytest.raises(StreamUnavailable):
            await call


async def test_what_was_purged_where_the_log_begins_goes_as_what_is_kept_does(contender: Contender) -> None:
    async with contender.running(VALUES) as store:
        await fill(store, "s/a", "s/b", "s/c")
        assert await purge(store, "s", "s/a") == 1
        await fill(store, "s/d")
        bounds = await store.bounds("s")
        assert bounds.first in {1, 2}, "what was purged may count as what is kept, or not"
        for _ in range(2):
            assert (await select_all(store, ["s/+"]))[0] == [2, 3, 4]
            assert await values_of(store) == ["m2", "m3", "m1"]
            assert await store.bounds("s") == bounds
