"""What every store of streams promises, over each of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.codecs.record import encode_record
from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import Conflict, StreamUnavailable
from gateway.streams.base import Appended, Dedupe
from tests.conformance.store_contenders import (
    CONTENDERS,
    Contender,
    Elapsed,
    ids,
    message,
    offsets,
    until,
)
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from gateway.streams.base import Store

FIELDS = ("topic", "id", "time", "data", "binary", "content_type", "headers", "key", "stream", "offset")
SIZE = len(encode_record(message(10)))


@pytest.fixture(params=CONTENDERS)
def contender(request: pytest.FixtureRequest) -> Contender:
    return CONTENDERS[request.param](request)


async def fill(store: Store, first: int, last: int) -> None:
    await asyncio.gather(*(store.append("s", message(number)) for number in range(first, last + 1)))


async def test_offsets_are_consecutive_from_1(contender: Contender) -> None:
    async with contender.running() as store:
        empty = await store.bounds("s")
        assert (empty.first, empty.last) == (1, 0)
        assert await store.append("s", message(1)) == Appended("m1", 1)
        answers = await asyncio.gather(*(store.append("s", message(number)) for number in range(2, 12)))
        assert answers == [Appended(f"m{number}", number) for number in range(2, 12)]
        full = await store.bounds("s")
        assert (full.epoch, full.first, full.last) == (empty.epoch, 1, 11)


async def test_every_field_of_a_publication_is_kept(contender: Contender) -> None:
    sent = [
        Publication("s/a", "1", 5, b'{"x": [1, "\xc3\xa9"]}', None, "application/json", {"h": "v"}, "k"),
        Publication("s/b", "2", 6, None, b"\x00\xff", "image/png"),
        Publication("s", "3", 7, None, b""),
        Publication("s/c", "4", 8, b'"' + b"x" * 70_000 + b'"'),
    ]

    def fields(publication: Publication) -> list[object]:
        return [getattr(publication, name) for name in FIELDS if name != "time"]

    async with contender.running() as store:
        for each in sent:
            await store.append("s", each)
        kept = (await store.read("s", 0, messages=10)).publications
        assert [each.offset for each in sent] == [1, 2, 3, 4]
        assert [each.stream for each in sent] == ["s"] * 4
        assert [fields(each) for each in kept] == [fields(each) for each in sent]
    if contender.durable:
        async with contender.running() as store:
            again = (await store.read("s", 0, messages=10)).publications
            assert [fields(each) for each in again] == [fields(each) for each in sent]
            assert [each.time for each in again] == [each.time for each in kept]


async def test_time_is_the_stores_and_never_goes_back(contender: Contender) -> None:
    async with contender.running() as store:
        for number in range(1, 6):
            await store.append("s", Publication("s/t", f"m{number}", 10**15 - number, b"1"))
            await contender.pass_time(0.002)
        times = [each.time for each in (await store.read("s", 0, messages=10)).publications]
        assert times == sorted(times)
        assert times[0] < 10**14


async def test_streams_do_not_touch_one_another(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("a", "a/#"), StreamConfiguration("b", "b/#")) as store:
        answers = await asyncio.gather(
            *(
                store.append("ab"[number % 2], message(number), Dedupe(f"{number // 2}", b"f"))
                for number in range(10)
            )
        )
        assert [each.offset for each in answers] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        assert ids(await store.read("a", 0, messages=10)) == ["m0", "m2", "m4", "m6", "m8"]
        assert ids(await store.read("b", 0, messages=10)) == ["m1", "m3", "m5", "m7", "m9"]
        assert (await store.bounds("a")).epoch != (await store.bounds("b")).epoch


async def test_a_page_starts_behind_the_offset_asked_for(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 20)
        page = await store.read("s", 7, messages=5)
        assert offsets(page) == [8, 9, 10, 11, 12]
        assert (page.bounds.first, page.bounds.last) == (1, 20)
        assert offsets(await store.read("s", 18, messages=5)) == [19, 20]
        for beyond in (20, 21, 1000):
            page = await store.read("s", beyond, messages=5)
            assert offsets(page) == []
            assert page.bounds.last == 20


async def test_a_page_is_bounded_in_bytes_and_holds_one_at_least(contender: Contender) -> None:
    async with contender.running() as store:
        for number in range(1, 6):
            await store.append("s", message(number, b'"' + b"x" * 998 + b'"'))
        assert offsets(await store.read("s", 0, messages=5, size=1)) == [1]
        assert offsets(await store.read("s", 2, messages=5, size=2_500)) in ([3, 4], [3, 4, 5])
        assert offsets(await store.read("s", 0, messages=5, size=10_000)) == [1, 2, 3, 4, 5]


async def test_a_reader_at_the_end_waits_for_what_comes(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 3)
        readers = [asyncio.create_task(store.read("s", 3, messages=10, wait=60)) for _ in range(5)]
        await asyncio.sleep(0)
        assert not any(reader.done() for reader in readers)
        await store.append("s", message(4))
        pages = await asyncio.wait_for(asyncio.gather(*readers), HANG_SECONDS)
        assert [offsets(page) for page in pages] == [[4]] * 5
        assert [page.bounds.last for page in pages] == [4] * 5


async def test_a_reader_that_waits_in_vain_gets_an_empty_page(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 3)
        page = await store.read("s", 3, messages=10, wait=0.02)
        assert (offsets(page), page.bounds.last) == ([], 3)


async def test_beyond_the_end_there_is_no_waiting(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 3)
        page = await asyncio.wait_for(store.read("s", 5, messages=10, wait=60), HANG_SECONDS)
        assert (offsets(page), page.bounds.last) == ([], 3)


async def test_a_reader_that_waits_hears_of_a_new_epoch(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 3)
        # Redis gets a script that it has never seen again, behind the calls that came after it: the reader
        # would begin in the new epoch.
        old = (await store.read("s", 3, messages=10)).bounds
        reader = asyncio.create_task(store.read("s", 3, messages=10, wait=60))
        await asyncio.sleep(0)
        await store.raise_epoch("s", Position(old.epoch, 9))
        page = await asyncio.wait_for(reader, HANG_SECONDS)
        assert offsets(page) == []
        assert page.bounds.epoch != old.epoch


async def test_a_reader_may_stop_waiting(contender: Contender) -> None:
    async with contender.running() as store:
        reader = asyncio.create_task(store.read("s", 0, messages=10, wait=60))
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await store.append("s", message(1))
        assert offsets(await store.read("s", 0, messages=10, wait=60)) == [1]


async def test_a_repeat_gets_the_first_answer(contender: Contender) -> None:
    async with contender.running() as store:
        first = await store.append("s", message(1), Dedupe("k", b"f"))
        again = await store.append("s", message(2), Dedupe("k", b"f"))
        other = await store.append("s", message(3), Dedupe("l", b"f"))
        assert first == Appended("m1", 1)
        assert again == Appended("m1", 1, repeated=True)
        assert other == Appended("m3", 2)
        assert ids(await store.read("s", 0, messages=10)) == ["m1", "m3"]
        assert store.statistics().repeated == 1


async def test_repeats_of_one_tick_take_effect_once(contender: Contender) -> None:
    async with contender.running() as store:
        answers = await asyncio.gather(
            *(store.append("s", message(number), Dedupe("k", b"f")) for number in range(1, 9))
        )
        assert answers[0] == Appended("m1", 1)
        assert answers[1:] == [Appended("m1", 1, repeated=True)] * 7
        assert (await store.bounds("s")).last == 1


async def test_a_key_with_another_content_is_a_conflict(contender: Contender) -> None:
    async with contender.running() as store:
        await store.append("s", message(1), Dedupe("k", b"f"))
        answers = await asyncio.gather(
            store.append("s", message(2), Dedupe("k", b"other")),
            store.append("s", message(3)),
            return_exceptions=True,
        )
        assert isinstance(answers[0], Conflict)
        assert answers[1] == Appended("m3", 2)
        assert ids(await store.read("s", 0, messages=10)) == ["m1", "m3"]


async def test_a_key_is_forgotten_after_the_dedupe_window(contender: Contender) -> None:
    streams = (
        StreamConfiguration("long", "long/#", dedupe_window=60.0),
        StreamConfiguration("brief", "brief/#", dedupe_window=0.05),
    )
    async with contender.running(*streams) as store:
        for stream in ("long", "brief"):
            await store.append(stream, message(1), Dedupe("k", b"f"))
        await contender.pass_time(0.06)
        assert (await store.append("long", message(2), Dedupe("k", b"f"))).repeated
        new = Dedupe("k", b"other", seconds=60.0)
        assert await store.append("brief", message(3), new) == Appended("m3", 2)
        assert await store.append("brief", message(4), new) == Appended("m3", 2, repeated=True)


async def test_a_key_may_be_remembered_for_longer_than_the_dedupe_window(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", dedupe_window=0.05)) as store:
        await store.append("s", message(1), Dedupe("long", b"f", seconds=3600))
        await store.append("s", message(2), Dedupe("longer", b"f", seconds=7200))
        await store.append("s", message(3), Dedupe("short", b"f", seconds=0.01))
        await contender.pass_time(0.1)
        assert await store.append("s", message(4), Dedupe("short", b"f")) == Appended("m4", 4)
        assert await store.append("s", message(5), Dedupe("long", b"f")) == Appended("m1", 1, repeated=True)
        assert await store.append("s", message(6), Dedupe("longer", b"f")) == Appended("m2", 2, repeated=True)


async def test_a_repeat_is_known_although_the_first_was_trimmed(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", max_messages=2)) as store:
        await store.append("s", message(1), Dedupe("k", b"f"))
        await fill(store, 2, 9)
        assert await store.append("s", message(10), Dedupe("k", b"f")) == Appended("m1", 1, repeated=True)


async def test_the_oldest_go_when_there_are_too_many(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", max_messages=10)) as store:
        await fill(store, 1, 10)
        assert offsets(await store.read("s", 0, messages=100)) == list(range(1, 11))
        await fill(store, 11, 14)
        page = await store.read("s", 0, messages=100)
        assert offsets(page) == list(range(5, 15))
        assert (page.bounds.first, page.bounds.last) == (5, 14)
        assert offsets(await store.read("s", 2, messages=2)) == [5, 6]


async def test_the_oldest_go_when_they_are_too_large(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", max_bytes=5 * SIZE)) as store:
        await fill(store, 10, 29)
        assert offsets(await store.read("s", 0, messages=100)) == [16, 17, 18, 19, 20]
        assert (await store.describe("s")).bytes == 5 * SIZE


async def test_the_newest_stays_however_large(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", max_bytes=100)) as store:
        await fill(store, 1, 2)
        await store.append("s", message(3, b'"' + b"x" * 1000 + b'"'))
        assert offsets(await store.read("s", 0, messages=100)) == [3]
        await store.append("s", message(4))
        assert offsets(await store.read("s", 0, messages=100)) == [4]


async def test_the_old_go_although_nobody_appends(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", max_age=0.3)) as store:
        epoch = (await store.bounds("s")).epoch
        await fill(store, 1, 3)
        await contender.pass_time(0.4)

        async def empty() -> bool:
            bounds = await store.bounds("s")
            return (bounds.epoch, bounds.first, bounds.last) == (epoch, 4, 3)

        await until(empty)
        assert offsets(await store.read("s", 0, messages=100)) == []
        young = Elapsed(contender)
        assert (await store.append("s", message(4))).offset == 4
        page = await store.read("s", 0, messages=100)
        assert offsets(page) == [4] or not young.below(0.3)


async def test_the_place_of_a_time(contender: Contender) -> None:
    async with contender.running(StreamConfiguration("s", "s/#", max_messages=6)) as store:
        assert await store.before("s", 0) == 0
        for number in range(1, 10):
            await store.append("s", message(number))
            await contender.pass_time(0.003)
        kept = (await store.read("s", 0, messages=100)).publications
        assert await store.before("s", 0) == 3
        for each in kept:
            assert each.offset is not None
            assert await store.before("s", each.time) < each.offset
            assert await store.before("s", each.time + 1) >= each.offset
        assert await store.before("s", kept[-1].time + 1) == 9


async def test_a_stream_describes_itself(contender: Contender) -> None:
    async with contender.running() as store:
        empty = await store.describe("s")
        assert (empty.bytes, empty.first_time, empty.last_time) == (0, None, None)
        await fill(store, 10, 14)
        told = await store.describe("s")
        kept = (await store.read("s", 0, messages=10)).publications
        assert told.bounds == await store.bounds("s")
        assert told.bytes == 5 * SIZE
        assert (told.first_time, told.last_time) == (kept[0].time, kept[-1].time)


async def test_an_epoch_is_raised_only_if_something_was_lost(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 5)
        old = await store.bounds("s")
        assert await store.raise_epoch("s", Position(old.epoch, 5)) == old
        assert await store.raise_epoch("s", Position("another", 9)) == old
        raised = await store.raise_epoch("s", Position(old.epoch, 6))
        assert raised.epoch != old.epoch
        assert (raised.first, raised.last) == (1, 5)
        assert await store.raise_epoch("s", Position(old.epoch, 6)) == raised
        assert await store.bounds("s") == raised
        assert store.statistics().epochs_raised == 1


async def test_offsets_go_on_behind_the_end_in_a_new_epoch(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 5)
        raised = await store.raise_epoch("s", Position((await store.bounds("s")).epoch, 6))
        assert (await store.append("s", message(6))).offset == 6
        page = await store.read("s", 3, messages=10)
        assert (offsets(page), page.bounds.epoch) == ([4, 5, 6], raised.epoch)
    if contender.durable:
        async with contender.running() as store:
            assert (await store.bounds("s")).epoch == raised.epoch


async def test_a_store_is_the_same_after_it_was_closed(contender: Contender) -> None:
    if not contender.durable:
        return
    async with contender.running(StreamConfiguration("s", "s/#", max_messages=10)) as store:
        await fill(store, 10, 24)
        await store.append("s", message(25), Dedupe("k", b"f"))
        told = await store.describe("s")
    async with contender.running(
        StreamConfiguration("s", "s/#", max_messages=10), StreamConfiguration("new", "new")
    ) as store:
        assert await store.describe("s") == told
        assert await store.append("s", message(1), Dedupe("k", b"f")) == Appended("m25", 16, repeated=True)
        assert offsets(await store.read("s", 0, messages=100)) == list(range(7, 17))
        assert (await store.append("s", message(26))).offset == 17
        assert (await store.bounds("new")).last == 0


async def test_a_stopped_store_takes_and_gives_nothing(contender: Contender) -> None:
    async with contender.running() as store:
        reader = asyncio.create_task(store.read("s", 0, messages=10, wait=60))
        await asyncio.sleep(0.01)
    with pytest.raises(StreamUnavailable):
        await asyncio.wait_for(reader, HANG_SECONDS)
    with pytest.raises(StreamUnavailable):
        await store.append("s", message(1))
    with pytest.raises(StreamUnavailable):
        await store.read("s", 0, messages=10)
    with pytest.raises(StreamUnavailable):
        await store.bounds("s")
    assert not store.statistics().connected


async def test_what_a_store_has_done_is_counted(contender: Contender) -> None:
    async with contender.running() as store:
        await fill(store, 1, 5)
        await store.read("s", 2, messages=10)
        told = store.statistics()
        assert told.connected
        assert (told.appended, told.read, told.waiting, told.waiting_bytes) == (5, 3, 0, 0)
        assert 1 <= told.commits <= 5
