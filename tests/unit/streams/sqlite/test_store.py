"""What is particular to streams in SQLite; the rest is tests/conformance/test_store.py."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import RateLimited, StoreFull, StreamUnavailable
from gateway.streams.base import Appended, Dedupe
from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite.store import SqliteStore
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

STREAM = StreamConfiguration("s", "s/#")


def message(number: int, size: int = 1) -> Publication:
    return Publication("s/t", f"m{number}", 0, b'"%b"' % (b"x" * size))


@asynccontextmanager
async def opened(
    path: Path, *configurations: StreamConfiguration, **options: Any
) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path / "streams.db", configurations or [STREAM], **options)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def in_writing_thread(store: SqliteStore, job: Callable[[], object]) -> object:
    worker = store._writing._worker
    assert worker is not None
    return await worker.run(job)


async def allow_pages(store: SqliteStore, pages: int) -> None:
    """Let the database grow to as many pages, as a disk of that size would."""
    connection = store._writing._writer._connection
    assert connection is not None
    await in_writing_thread(store, lambda: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())


@asynccontextmanager
async def hanging(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writing thread busy, as a disk that doesn't answer does."""
    begun, gate = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        gate.wait(30)

    hung = asyncio.ensure_future(in_writing_thread(store, hang))
    await asyncio.to_thread(begun.wait)
    try:
        yield
    finally:
        gate.set()
        await hung


async def test_appends_of_one_tick_share_a_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await asyncio.gather(*(store.append("s", message(number)) for number in range(100)))
        assert store.statistics().commits == 1


async def test_publishers_that_go_on_after_each_answer_share_every_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        async def publish(number: int) -> None:
            for _ in range(20):
                await store.append("s", message(number))

        await asyncio.gather(*(publish(number) for number in range(50)))
        assert store.statistics().appended == 1000
        assert store.statistics().commits <= 25


async def test_the_newest_are_read_without_a_thread_and_older_ones_all_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=StoreLimits(timeout=HANG_SECONDS, recent_messages=10)) as store:
        sent = [message(number) for number in range(30)]
        await asyncio.gather(*(store.append("s", each) for each in sent))
        async with hanging(store):
            newest = await store.read("s", 20, messages=100)
        assert [id(each) for each in newest.publications] == [id(each) for each in sent[20:]]
        older = await store.read("s", 5, messages=100)
        assert [each.offset for each in older.publications] == list(range(6, 31))


async def test_more_than_may_wait_is_refused_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=StoreLimits(timeout=HANG_SECONDS, waiting_messages=10)) as store:
        async with hanging(store):
            appends = [store.append("s", message(number)) for number in range(10)]
            with pytest.raises(RateLimited):
                store.append("s", message(11))
            assert store.statistics().waiting == 10
            assert store.statistics().waiting_bytes > 0
        assert len(await asyncio.gather(*appends)) == 10
        assert (await store.append("s", message(11))).offset == 11


async def test_a_disk_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=StoreLimits(timeout=0.1)) as store:
        async with hanging(store):
            appends = [store.append("s", message(number)) for number in range(2)]
            for each in appends:
                with pytest.raises(StreamUnavailable, match="may have been kept"):
                    await each
            assert not store.statistics().connected
            assert store.statistics().failed == 2
        while True:
            with suppress(StreamUnavailable):  # a disk may take longer than it is waited for here
                await store.append("s", message(3), Dedupe("k", b"f"))
                assert store.statistics().connected
                kept = [each.id for each in (await store.read("s", 0, messages=10)).publications]
                break
        assert kept.count("m3") == 1


async def test_what_was_accepted_is_finished_as_the_store_stops(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=StoreLimits(timeout=HANG_SECONDS)) as store:
        appends = [store.append("s", message(number)) for number in range(5000)]
        await asyncio.sleep(0)
    answers = [each.result() for each in appends]
    async with opened(tmp_path) as store:
        assert (await store.bounds("s")).last == len(answers) == 5000


async def test_an_answer_that_nobody_waits_for_undoes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.append("s", message(1)).cancel()
        assert (await store.append("s", message(2))).offset == 2


async def test_where_there_is_no_room_nothing_of_a_transaction_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append("s", message(1), Dedupe("k", b"f"))
        before = await store.bounds("s")
        await allow_pages(store, 20)
        full = [
            store.append("s", message(number, 10_000), Dedupe(f"k{number}", b"f")) for number in range(20)
        ]
        for each in full:
            with pytest.raises(StoreFull):
                await each
        assert await store.bounds("s") == before
        assert not store.statistics().connected
        assert [each.id for each in (await store.read("s", 0, messages=100)).publications] == ["m1"]
        await allow_pages(store, 10_000)
        answers = await asyncio.gather(
            *(store.append("s", message(number, 10_000), Dedupe(f"k{number}", b"f")) for number in range(20))
        )
        assert answers == [Appended(f"m{number}", number + 2) for number in range(20)]
        assert store.statistics().connected


async def test_a_store_without_room_notices_by_itself_when_there_is_some(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=StoreLimits(timeout=HANG_SECONDS, sweep_seconds=0.01)) as store:
        await allow_pages(store, 20)
        with pytest.raises(StoreFull):
            await store.append("s", message(1, 200_000))
        await allow_pages(store, 10_000)
        async with asyncio.timeout(HANG_SECONDS):
            while not store.statistics().connected:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.002)


async def test_a_database_replaced_while_it_is_used_begins_new_epochs(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=StoreLimits(timeout=HANG_SECONDS, sweep_seconds=0.01)) as store:
        await store.append("s", message(1))
        old = await store.bounds("s")
        reader = asyncio.create_task(store.read("s", 1, messages=10, wait=60))
        await asyncio.sleep(0)
        (tmp_path / "streams.db").unlink()
        (tmp_path / "streams.db-wal").unlink()
        async with asyncio.timeout(HANG_SECONDS):
            page = await reader
        assert (page.bounds.epoch != old.epoch, page.bounds.last) == (True, 0)
        assert (await store.append("s", message(2))).offset == 1
        assert [each.id for each in (await store.read("s", 0, messages=10)).publications] == ["m2"]


async def test_much_that_is_too_old_goes_in_bounded_steps(tmp_path: Path) -> None:
    now = 0
    stream = StreamConfiguration("s", "s/#", max_age=1, dedupe_window=1)
    limits = StoreLimits(timeout=HANG_SECONDS, sweep_seconds=0.01, recent_messages=10)
    async with opened(tmp_path, stream, limits=limits, clock=lambda: now) as store:
        await asyncio.gather(
            *(store.append("s", message(number), Dedupe(f"k{number}", b"f")) for number in range(5000))
        )
        commits = store.statistics().commits
        now = 10_000
        # Steps leave their time to others, of whom a busy machine has many.
        async with asyncio.timeout(3 * HANG_SECONDS):
            while (await store.bounds("s")).first <= 5000 or store._writing._writer._logs["s"].keys:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert store.statistics().commits - commits >= 5


async def test_keys_are_bounded_until_their_window_has_passed(tmp_path: Path) -> None:
    now = 0
    stream = StreamConfiguration("s", "s/#", dedupe_window=10)
    limits = StoreLimits(timeout=HANG_SECONDS, dedupe_keys=2, sweep_seconds=60)
    for _ in range(2):
        async with opened(tmp_path, stream, limits=limits, clock=lambda: now) as store:
            for number in range(2):
                await store.append("s", message(number), Dedupe(f"1:{number}/k", b"f"))
            with pytest.raises(RateLimited, match="'s' remembers 2 idempotency keys"):
                await store.append("s", message(3), Dedupe("1:3/k", b"f"))
    now = 10_000
    async with opened(tmp_path, stream, limits=limits, clock=lambda: now) as store:
        assert (await store.append("s", message(3), Dedupe("1:3/k", b"f"))).offset == 3


async def test_one_publisher_leaves_room_for_the_keys_of_others(tmp_path: Path) -> None:
    now = 0
    stream = StreamConfiguration("s", "s/#", dedupe_window=10)
    limits = StoreLimits(timeout=HANG_SECONDS, dedupe_keys=4, sweep_seconds=60)
    for start in range(2):
        async with opened(tmp_path, stream, limits=limits, clock=lambda: now) as store:
            for number in range(2):
                await store.append("s", message(number), Dedupe(f"1:a/{number}", b"f"))
            with pytest.raises(RateLimited, match="2 of them of this publisher"):
                await store.append("s", message(3), Dedupe("1:a/3", b"f"))
            again = await store.append("s", message(4), Dedupe("1:b/0", b"f"))
            assert again.repeated == bool(start)
    now = 10_000
    async with opened(tmp_path, stream, limits=limits, clock=lambda: now) as store:
        for number in (3, 4):
            await store.append("s", message(number), Dedupe(f"1:a/{number}", b"f"))


async def test_time_does_not_go_back_with_the_clock_not_even_after_a_start(tmp_path: Path) -> None:
    for now in (5000, 4000, 6000):
        async with opened(tmp_path, clock=lambda: now) as store:  # noqa: B023 - it ends in this turn
            await store.append("s", message(now))
            kept = (await store.read("s", 0, messages=10)).publications
    assert [each.time for each in kept] == [5000, 5000, 6000]


async def test_a_stream_no_longer_configured_stays_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append("s", message(1))
        old = await store.bounds("s")
    async with opened(tmp_path, StreamConfiguration("other", "o/#")) as store:
        await store.append("other", message(1))
    async with opened(tmp_path) as store:
        assert await store.bounds("s") == old


@pytest.mark.parametrize(("synchronous", "value"), [("full", 2), ("normal", 1)])
async def test_the_database_is_as_durable_as_was_asked_for(
    tmp_path: Path, synchronous: Any, value: int
) -> None:
    async with opened(tmp_path, synchronous=synchronous) as store:
        connection = store._writing._writer._connection
        assert connection is not None

        def pragmas() -> list[object]:
            return [
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]

        assert await in_writing_thread(store, pragmas) == ["wal", value]


async def test_what_the_writing_thread_cannot_be_given_is_answered_and_the_next_is_stored(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as store:
        worker = store._writing._worker
        assert worker is not None
        run = worker.run

        def fail(job: Callable[[], object]) -> None:
            worker.run = run  # type: ignore[method-assign]
            raise ZeroDivisionError

        worker.run = fail  # type: ignore[method-assign,assignment]
        with pytest.raises(StreamUnavailable):
            await store.append("s", message(1))
        assert (await store.append("s", message(2))).offset == 1
        assert store._supervision.statistics() == {"store": 1}


async def test_a_store_that_lost_the_thread_of_what_it_stored_is_given_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        store._writing._take_committed = fail  # type: ignore[method-assign]
        with pytest.raises(StreamUnavailable):
            await store.append("s", message(1))
        assert store._supervision.given_up() == ("store",)
