"""One transaction at a time, all that waits in the next one, and an answer for every append, in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.record import encode_record
from gateway.core.messages.commands import Position
from gateway.core.streams.configuration import Bounds
from gateway.errors import RateLimited, StoreUnusable, StreamUnavailable
from gateway.streams.base import Appended
from gateway.streams.limits import StoreLimits
from gateway.streams.local_log import LocalLog
from gateway.streams.sqlite import group_commit
from gateway.streams.sqlite.group_commit import GroupCommit
from gateway.streams.sqlite.opening import Opened
from gateway.streams.sqlite.transaction import Committed
from gateway.supervision import Supervision
from tests.unit.engine.cluster_world import now, run
from tests.unit.streams.sqlite_parts import message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.streams.sqlite.append_queue import Waiting
    from gateway.streams.sqlite.seen import End
    from gateway.streams.sqlite.transaction import Job, Retention

DISK_SECONDS = 0.01
NO_CONNECTION: Any = None


class SlowThread:
    """Does one job after another, each of which takes a disk's while, on the loop's own clock."""

    seconds = DISK_SECONDS

    def __init__(self, name: str) -> None:
        self.jobs: asyncio.Queue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = asyncio.Queue()
        self.working = asyncio.create_task(self.work())

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        done = asyncio.get_running_loop().create_future()
        self.jobs.put_nowait((job, done))
        return done

    def stop(self) -> None:
        self.jobs.put_nowait(None)

    async def work(self) -> None:
        while (each := await self.jobs.get()) is not None:
            job, done = each
            try:
                result = job()
            except Exception as error:  # noqa: BLE001 - it is the caller's
                await asyncio.sleep(self.seconds)
                if not done.done():
                    done.set_exception(error)
            else:
                await asyncio.sleep(self.seconds)
                if not done.done():
                    done.set_result(result)


class Disk:
    """A writer that keeps what it is given in lists, and fails when it should.

    Attributes:
        batches: what each transaction kept.
        errors: of the transactions to come; None where one works.
        answered: how far the logs had come whenever it was opened.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.kept: list[str] = []
        self.batches: list[list[str]] = []
        self.errors: list[Exception | None] = []
        self.opening_errors: list[Exception | None] = []
        self.answered: list[Mapping[str, End]] = []
        self.sweeps = self.probes = 0
        self.more = False
        self.epoch = "e"

    def open(self, answered: Mapping[str, End]) -> Opened:
        self.answered.append(answered)
        error = self.opening_errors.pop(0) if self.opening_errors else None
        if error is not None:
            raise error
        self.is_open = True
        return Opened({"s": Bounds(self.epoch, 1, len(self.kept))}, {"s": 1}, "token", 0)

    def commit(
        self,
        batch: Sequence[Waiting],
        *,
        sweep: bool,
        jobs: Sequence[Job],
        retention: Mapping[str, Retention],
    ) -> Committed:
        batch = list(batch)
        self.sweeps += sweep
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            self.is_open = False
            raise error
        done = [job(NO_CONNECTION) for job in jobs]
        self.retention = retention
        if not batch:
            return Committed((), {}, {}, more=False, done=done)
        names = [each.publication.id for each in batch]
        self.batches.append(names)
        first = len(self.kept) + 1
        self.kept += names
        more, self.more = self.more, False
        answers = [Appended(name, first + number) for number, name in enumerate(names)]
        return Committed(answers, {"s": 7}, {"s": 1}, more, done=done)

    def probe(self) -> None:
        self.probes += 1

    def raise_epoch(self, stream: str, seen: Position) -> Bounds:
        self.epoch = "raised"
        return Bounds(self.epoch, 1, len(self.kept))

    def close(self, *, note: bool = False) -> None:
        self.is_open = False


class Store:
    def __init__(self, **limits: Any) -> None:
        self.disk = Disk()
        self.log = LocalLog()
        self.reopened = 0
        self.supervision = Supervision()
        self.writing = GroupCommit(
            self.disk,  # type: ignore[arg-type]  # in place of a writer
            {"s": self.log},
            limits=StoreLimits(**limits),
            reopened=self.reopen,
            supervision=self.supervision,
        )

    def reopen(self) -> None:
        self.reopened += 1

    def append(self, number: int) -> asyncio.Future[Appended]:
        publication = message(number)
        return self.writing.append("s", publication, encode_record(publication), None)

    def counts(self) -> dict[str, object]:
        found = self.writing.statistics(read=0)
        return {
            name: getattr(found, name) for name in ("connected", "appended", "failed", "commits", "waiting")
        }


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "Worker", SlowThread)


def test_what_comes_during_a_transaction_goes_into_the_next_one_together() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        first = store.append(0)
        await asyncio.sleep(DISK_SECONDS / 2)
        rest = [store.append(number) for number in range(1, 100)]
        answers = await asyncio.gather(first, *rest)
        assert [len(each) for each in store.disk.batches] == [1, 99]
        assert [each.offset for each in answers] == list(range(1, 101))
        await store.writing.close(note=False)

    run(main())


def test_who_is_told_of_an_offset_finds_it_in_the_log() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        answer = await store.append(0)
        page = store.log.page(0, 10, 1000)
        assert page is not None
        (found,) = page.publications
        assert (found.stream, found.offset, found.time) == ("s", answer.offset, 7)
        await store.writing.close(note=False)

    run(main())


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 0.003, 0.02])), max_size=20),
    st.lists(st.booleans(), max_size=6),
    st.integers(1, 4),
)
def test_every_append_is_answered_once_in_order_and_what_is_answered_is_kept(
    bursts: list[tuple[int, float]], works: list[bool], at_once: int
) -> None:
    async def main() -> None:
        store = Store(transaction_messages=at_once)
        store.disk.errors = [None if each else StreamUnavailable("away") for each in works]
        await store.writing.open()
        appends = []
        for count, pause in bursts:
            appends += [store.append(len(appends)) for _ in range(count)]
            await asyncio.sleep(pause)
        answers = await asyncio.gather(*appends, return_exceptions=True)
        kept = [each for each in answers if isinstance(each, Appended)]
        assert [each.id for each in kept] == store.disk.kept
        assert [each.offset for each in kept] == list(range(1, len(kept) + 1))
        assert all(len(each) <= at_once for each in store.disk.batches)
        counts = store.counts()
        assert (counts["appended"], counts["failed"]) == (len(kept), len(answers) - len(kept))
        assert counts["waiting"] == 0
        await store.writing.close(note=False)

    run(main())


def test_a_database_that_failed_is_opened_again_with_what_was_answered() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        await store.append(0)
        store.disk.errors = [StreamUnavailable("away")]
        with pytest.raises(StreamUnavailable):
            await store.append(1)
        assert not store.counts()["connected"]
        assert (await store.append(2)).offset == 2
        assert store.disk.answered == [{}, {"s": ("e", 1)}]
        assert store.reopened == 1
        assert store.counts()["connected"]
        await store.writing.close(note=False)

    run(main())


def test_a_log_that_turns_out_shorter_begins_again() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        for number in range(3):
            await store.append(number)
        store.disk.errors = [StreamUnavailable("away")]
        with pytest.raises(StreamUnavailable):
            await store.append(3)
        del store.disk.kept[1:]
        store.disk.epoch = "new"
        assert (await store.append(4)).offset == 2
        assert store.log.bounds == Bounds("new", 1, 2)
        await store.writing.close(note=False)

    run(main())


def test_while_it_can_not_be_opened_appends_fail_and_the_next_is_tried() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        store.disk.errors = [StreamUnavailable("away")]
        store.disk.opening_errors = [StreamUnavailable("still away")]
        for number in range(2):
            with pytest.raises(StreamUnavailable, match="away"):
                await store.append(number)
        assert (await store.append(2)).offset == 1
        await store.writing.close(note=False)

    run(main())


def test_a_store_that_can_not_be_opened_does_not_begin() -> None:
    async def main() -> None:
        store = Store()
        store.disk.opening_errors = [StoreUnusable("no store")]
        with pytest.raises(StoreUnusable):
            await store.writing.open()

    run(main())


def test_what_is_not_confirmed_in_time_may_have_been_kept_all_the_same() -> None:
    async def main() -> None:
        store = Store(timeout=DISK_SECONDS / 2)
        await store.writing.open()
        begun = now()
        with pytest.raises(StreamUnavailable, match="may have been kept"):
            await store.append(0)
        assert now() - begun == pytest.approx(DISK_SECONDS / 2)
        assert not store.counts()["connected"]
        await asyncio.sleep(1)
        assert store.disk.kept == ["m0"]
        assert store.counts() == {"connected": True, "appended": 1, "failed": 1, "commits": 1, "waiting": 0}
        await store.writing.close(note=False)

    run(main())


def test_more_than_may_wait_is_refused_at_once_and_leaves_the_others_alone() -> None:
    async def main() -> None:
        store = Store(waiting_messages=2)
        await store.writing.open()
        appends = [store.append(number) for number in range(2)]
        with pytest.raises(RateLimited):
            store.append(2)
        assert [each.offset for each in await asyncio.gather(*appends)] == [1, 2]
        await store.writing.close(note=False)

    run(main())


def test_a_sweep_goes_on_as_long_as_there_is_more_to_let_go() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        store.disk.more = True
        await store.append(0)
        await asyncio.sleep(1)
        assert store.disk.sweeps == 1
        store.writing.sweep()
        store.writing.sweep()
        await asyncio.sleep(1)
        assert store.disk.sweeps == 2
        await store.writing.close(note=False)

    run(main())


def test_a_sweep_finds_out_whether_a_store_that_failed_works_again() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        store.disk.errors = [StreamUnavailable("away")]
        with pytest.raises(StreamUnavailable):
            await store.append(0)
        store.writing.sweep()
        await asyncio.sleep(1)
        assert store.disk.probes == 1
        assert store.counts()["connected"]
        await store.writing.close(note=False)

    run(main())


def test_what_was_accepted_is_finished_as_it_closes() -> None:
    async def main() -> None:
        store = Store(transaction_messages=10)
        await store.writing.open()
        appends = [store.append(number) for number in range(100)]
        await store.writing.close(note=True)
        assert [each.result().offset for each in appends] == list(range(1, 101))
        assert not store.disk.is_open

    run(main())


def test_a_disk_that_hangs_keeps_nobody_from_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store = Store(timeout=1000)
        await store.writing.open()
        monkeypatch.setattr(SlowThread, "seconds", 600)
        append, begun = store.append(0), now()
        await asyncio.sleep(0.1)
        await store.writing.close(note=True)
        assert now() - begun < 15
        with pytest.raises(StreamUnavailable, match="was closed"):
            await append

    run(main())


def test_a_raised_epoch_is_told_to_who_reads_the_log() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        await store.append(0)
        for _ in range(2):
            assert await store.writing.raise_epoch("s", Position("e", 9)) == Bounds("raised", 1, 1)
        assert store.log.bounds.epoch == "raised"
        assert store.writing.statistics(read=5).epochs_raised == 1
        await store.writing.close(note=False)

    run(main())


def test_an_error_that_nobody_foresaw_fails_the_appends_of_its_transaction_alone() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        store.disk.errors = [ZeroDivisionError()]
        with pytest.raises(StreamUnavailable):
            await store.append(0)
        assert (await store.append(1)).offset == 1
        await store.writing.close(note=False)

    run(main())


def test_what_groups_keep_shares_the_transaction_of_what_is_published() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        first = store.append(0)
        await asyncio.sleep(DISK_SECONDS / 2)
        kept = [store.writing.write(lambda _, each=each: each) for each in range(3)]
        second = store.append(1)
        await first
        assert not any(each.done() for each in kept)
        await second
        assert [each.result() for each in kept] == [0, 1, 2]
        assert len(store.disk.batches) == 2
        # Without anything published too.
        assert await store.writing.write(lambda _: "alone") == "alone"
        await store.writing.close(note=False)

    run(main())


def test_what_groups_keep_fails_with_its_transaction_and_at_the_end() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        store.disk.errors = [StreamUnavailable("gone")]
        with pytest.raises(StreamUnavailable, match="gone"):
            await store.writing.write(lambda _: None)
        assert await store.writing.write(lambda _: 1) == 1
        last = store.writing.write(lambda _: 2)
        await store.writing.close(note=False)
        assert last.result() == 2
        with pytest.raises(StreamUnavailable):
            await store.writing.write(lambda _: 3)

    run(main())


def test_what_comes_after_the_end_has_begun_fails_alone() -> None:
    async def main() -> None:
        store = Store()
        await store.writing.open()
        first = store.append(0)
        await asyncio.sleep(DISK_SECONDS / 2)
        accepted = store.writing.write(lambda _: "accepted")
        closing = asyncio.create_task(store.writing.close(note=False))
        await asyncio.sleep(0)
        with pytest.raises(StreamUnavailable, match="closed"):
            await store.writing.write(lambda _: "late")
        await closing
        assert (await first).offset == 1
        assert await accepted == "accepted"

    run(main())
