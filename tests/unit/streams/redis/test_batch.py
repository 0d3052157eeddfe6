"""What waits to be appended: in order, one batch at a time, within its bounds and its time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import Conflict, RateLimited, StoreFull, StreamUnavailable
from gateway.redis.batch_state import BatchState
from gateway.redis.wire import CommandRefused
from gateway.streams.base import Appended, Dedupe
from gateway.streams.redis.batch import AppendBudget, LogQueue
from gateway.streams.redis.log import RedisLog
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from gateway.streams.redis.batch import AppendBatch

ARGUMENTS = 10 + 1 + 5 + 7  # keys and their number, what was seen, limits


@dataclass
class Link:
    """Takes what is submitted, and does nothing: the test is the server."""

    calls: list[AppendBatch] = field(default_factory=list)
    accepting: bool = True
    up: bool = True

    def submit(self, call: AppendBatch) -> None:
        self.calls.append(call)

    def take(self) -> tuple[AppendBatch, list[Any]]:
        """The next call, on its way now, and what is particular to it."""
        call = self.calls.pop(0)
        return call, list(call.arguments()[ARGUMENTS:])


def reply(*answers: object, first: int = 1, last: int = 1, more: int = 0) -> list[object]:
    return [b"1-x", first, last, b"5 0 w", 0, 1_700_000_000_000, more, 0, *answers]


def message(number: int, body: bytes = b"1") -> Publication:
    return Publication("s/t", f"m{number}", 0, body)


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def queue(link: Link) -> LogQueue:
    return make_queue(link)


def make_queue(link: Link, *, timeout: float = 60, messages: int = 10_000) -> LogQueue:
    log = RedisLog(StreamConfiguration("s", "s/#"), "test")
    log.appending = link  # type: ignore[assignment]
    return LogQueue(log, AppendBudget(messages=messages, size=10**7, timeout=timeout, publish="PUBLISH"))


async def test_what_is_appended_in_one_turn_goes_together(queue: LogQueue, link: Link) -> None:
    answers = [queue.append(message(number), None) for number in range(3)]
    assert len(link.calls) == 1
    batch, items = link.take()
    assert len(items) == 6
    publication = message(3)
    late = queue.append(publication, None)
    assert link.calls == []
    batch.answered(reply(1, 2, 3, last=3))
    assert [each.result() for each in answers] == [Appended(f"m{number}", number + 1) for number in range(3)]
    batch, items = link.take()
    assert len(items) == 2
    batch.answered(reply(4, last=4))
    assert late.result() == Appended("m3", 4)
    assert (publication.stream, publication.offset, publication.time) == ("s", 4, 1_700_000_000_000)
    assert (queue.budget.appended, queue.budget.commits) == (4, 2)
    assert (queue.budget.messages, queue.budget.bytes, queue.idle) == (0, 0, True)


async def test_a_batch_is_bounded(queue: LogQueue, link: Link) -> None:
    answers = [queue.append(message(number), None) for number in range(1200)]
    sizes = []
    while link.calls:
        batch, items = link.take()
        sizes.append(len(items) // 2)
        done = sum(sizes) - sizes[-1]
        batch.answered(reply(*range(done + 1, done + sizes[-1] + 1), last=sum(sizes)))
    assert sizes == [512, 512, 176]
    assert [each.result().offset for each in answers] == list(range(1, 1201))


async def test_a_batch_is_bounded_in_bytes(queue: LogQueue, link: Link) -> None:
    for number in range(5):
        queue.append(message(number, b"1" * 600_000), None)
    sizes = []
    while link.calls:
        batch, items = link.take()
        sizes.append(len(items) // 2)
        batch.answered(reply(*range(1, sizes[-1] + 1)))
    assert sizes == [2, 2, 1]


async def test_keys_travel_with_their_fingerprints(queue: LogQueue, link: Link) -> None:
    answers = [
        queue.append(message(1), Dedupe("k", b"\x00f")),
        queue.append(message(2), None),
        queue.append(message(3), Dedupe("l", b"")),
        queue.append(message(4), Dedupe("k", b"other")),
    ]
    batch = link.calls.pop()
    arguments = batch.arguments()
    assert arguments[0] == 13
    assert arguments[11:14] == tuple(queue.log.keys.once(key) for key in "klk")
    assert arguments[-13:-10] == (b"=\x00f", "m1", "120000")
    batch.answered(reply([7, b"m0"], 8, 9, -1, last=9))
    assert answers[0].result() == Appended("m0", 7, repeated=True)
    assert [each.result().offset for each in answers[1:3]] == [8, 9]
    with pytest.raises(Conflict):
        answers[3].result()
    assert (queue.budget.appended, queue.budget.repeated, queue.budget.messages) == (2, 1, 0)


async def test_what_is_refused_was_not_kept(queue: LogQueue, link: Link) -> None:
    answers = [queue.append(message(number), None) for number in range(2)]
    batch, _ = link.take()
    batch.refused(CommandRefused("command not allowed when used memory > 'maxmemory'.", "OOM"))
    for answer in answers:
        with pytest.raises(StoreFull):
            answer.result()
    assert (queue.budget.failed, queue.budget.messages, queue.idle) == (2, 0, True)


async def test_what_is_lost_may_have_been_kept_and_the_next_one_goes(queue: LogQueue, link: Link) -> None:
    first = queue.append(message(1), None)
    batch, _ = link.take()
    queue.append(message(2), None)
    batch.lost("the connection is gone")
    with pytest.raises(StreamUnavailable, match="may have been kept"):
        first.result()
    assert len(link.calls) == 1


async def test_what_was_not_done_goes_again_before_all_others(queue: LogQueue, link: Link) -> None:
    first = queue.append(message(1), None)
    batch, _ = link.take()
    second = queue.append(message(2), None)
    batch.again()
    async with asyncio.timeout(HANG_SECONDS):
        while not link.calls:  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.001)
    again, items = link.take()
    assert again is batch
    assert len(items) == 2
    again.answered(reply(1))
    batch, _ = link.take()
    batch.answered(reply(2, last=2))
    assert (first.result().offset, second.result().offset) == (1, 2)


async def test_publishers_do_not_wait_longer_than_their_time(link: Link) -> None:
    queue = make_queue(link, timeout=0.01)
    going = queue.append(message(1), None)
    batch, _ = link.take()
    waiting = queue.append(message(2), None)
    with pytest.raises(StreamUnavailable, match="may have been kept"):
        await going
    with pytest.raises(StreamUnavailable, match="away"):
        await waiting
    assert queue.budget.messages == 0
    assert link.calls == []  # the first one is still on its way
    batch.answered(reply(1))
    assert queue.idle
    later = queue.append(message(3), None)
    batch, _ = link.take()
    batch.answered(reply(2, last=2))
    assert (await later).offset == 2


async def test_no_more_waits_than_may(link: Link) -> None:
    queue = make_queue(link, messages=2)
    answers = [queue.append(message(number), None) for number in range(2)]
    with pytest.raises(RateLimited):
        queue.append(message(3), None)
    batch, _ = link.take()
    batch.answered(reply(1, 2, last=2))
    assert all(each.done() for each in answers)
    queue.append(message(3), None)


async def test_a_server_that_is_away_takes_nothing(queue: LogQueue, link: Link) -> None:
    link.accepting = False
    with pytest.raises(StreamUnavailable):
        queue.append(message(1), None)
    queue.log.appending = None
    with pytest.raises(StreamUnavailable):
        queue.append(message(1), None)


async def test_trimming_goes_on_while_there_is_more_to_trim(queue: LogQueue, link: Link) -> None:
    queue.tidy()
    batch, items = link.take()
    assert items == []
    queue.tidy()
    assert link.calls == []
    batch.answered(reply(more=1))
    batch, _ = link.take()
    batch.answered(reply())
    assert (link.calls, queue.idle, queue.budget.commits) == ([], True, 0)


async def test_a_stream_is_looked_through_as_often_as_its_age_asks_for(queue: LogQueue, link: Link) -> None:
    def looks(queue: LogQueue, seconds: int) -> int:
        count = 0
        for now in range(100, 100 + seconds):
            queue.tidy_at(now)
            while link.calls:
                link.take()[0].answered(reply())
                count += 1
        return count

    assert looks(queue, 121) == 3
    brief = RedisLog(StreamConfiguration("s", "s/#", max_age=20), "test")
    brief.appending = link  # type: ignore[assignment]
    assert looks(LogQueue(brief, queue.budget), 10) == 5


async def test_giving_up_answers_everybody(queue: LogQueue, link: Link) -> None:
    answers = [queue.append(message(number), None) for number in range(600)]
    link.take()
    queue.discard("the node ends")
    assert all(isinstance(each.exception(), StreamUnavailable) for each in answers)
    assert queue.budget.messages == 0


async def test_publishers_that_have_gone_disturb_nobody(queue: LogQueue, link: Link) -> None:
    gone, stays = (queue.append(message(number), None) for number in range(2))
    gone.cancel()
    batch, _ = link.take()
    batch.answered(reply(1, 2, last=2))
    assert stays.result().offset == 2


async def test_a_reply_that_comes_after_the_time_is_up_takes_no_answer_back(link: Link) -> None:
    queue = make_queue(link, timeout=0.01)
    answer = queue.append(message(1), None)
    batch, _ = link.take()
    with pytest.raises(StreamUnavailable):
        await answer
    assert batch.state is BatchState.UNKNOWN
    batch.answered(reply(1))
    assert batch.state is BatchState.UNKNOWN
    assert queue.log.offset == 1  # the node knows all the same


async def test_the_states_of_a_batch(queue: LogQueue, link: Link) -> None:
    queue.append(message(1), None)
    states = [link.calls[0].state]
    batch, _ = link.take()
    states.append(batch.state)
    batch.again()
    states.append(batch.state)
    assert batch.full
    batch.arguments()
    batch.arguments()  # with the script's text this time
    states.append(batch.state)
    batch.answered(reply(1))
    states.append(batch.state)
    assert states == [
        BatchState.QUEUED,
        BatchState.IN_FLIGHT,
        BatchState.RETURNED,
        BatchState.IN_FLIGHT,
        BatchState.KEPT,
    ]
