"""Reading: what an answer means, and how long one asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from gateway.codecs.record import encode_record
from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import Bounds, StreamConfiguration
from gateway.core.streams.pages import Hole
from gateway.errors import StreamUnavailable
from gateway.redis.wire import CommandRefused
from gateway.streams.redis.calls import DescribeCall, ReadCall
from gateway.streams.redis.log import RedisLog
from gateway.streams.statistics import StreamStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.streams.redis.calls import ReadOnlyCall

HEAD = [b"1-x", 1, 9, b"5 0 w", 0]
PAGE = [*HEAD, 9, []]


@dataclass
class Link:
    """Answers each call as the test says, one after another."""

    answers: list[Callable[[ReadOnlyCall[Any]], None]]
    asked: list[tuple[object, ...]] = field(default_factory=list)
    accepting: bool = True
    up: bool = True

    def submit(self, call: ReadOnlyCall[Any]) -> None:
        self.asked.append(call.arguments())
        if self.answers:
            self.answers.pop(0)(call)


def log_by(link: Link | None) -> RedisLog:
    log = RedisLog(StreamConfiguration("s", "s/#"), "test")
    log.reading = link  # type: ignore[assignment]
    return log


def read(log: RedisLog, after: int = 0, timeout: float = 5) -> ReadCall:
    return ReadCall(log, "PUBLISH", after, messages=10, size=1000, timeout=timeout)


def entry(offset: int, record: bytes | None = None) -> list[bytes]:
    kept = encode_record(Publication("s/t", f"m{offset}", 0, b"1")) if record is None else record
    return [b"%d-0" % offset, b"%d 0 w" % (offset * 10), kept]


async def test_a_page() -> None:
    link = Link([lambda call: call.answered([*HEAD, 4, [], *entry(3), *entry(4)])])
    page = await read(log_by(link), 2).answer()
    assert page.bounds == Bounds("1-x", 1, 9)
    assert [(each.id, each.offset, each.time, each.stream) for each in page.publications] == [
        ("m3", 3, 30, "s"),
        ("m4", 4, 40, "s"),
    ]
    assert page.holes == ()
    assert link.asked[0][-3:] == (2, 10, 1000)


async def test_what_is_missing_or_damaged_up_to_where_was_looked_is_a_hole() -> None:
    reply = [*HEAD, 8, [], *entry(3), *entry(5), *entry(6, b"?")]
    page = await read(log_by(Link([lambda call: call.answered(reply)])), 1).answer()
    assert [each.offset for each in page.publications] == [3, 5]
    assert page.holes == [Hole(2, 2), Hole(4, 4), Hole(6, 8)]


async def test_a_lost_answer_is_asked_for_again_and_a_refusal_is_not() -> None:
    lost = Link(
        [lambda call: call.lost("cut"), lambda call: call.again(), lambda call: call.answered([*PAGE])]
    )
    log = log_by(lost)
    assert (await read(log, 9).answer()).publications == []
    assert len(lost.asked) == 3
    with pytest.raises(StreamUnavailable, match="WRONGTYPE"):
        await read(
            log_by(Link([lambda call: call.refused(CommandRefused("WRONGTYPE", "WRONGTYPE"))]))
        ).answer()


@pytest.mark.parametrize("link", [None, Link([])])
async def test_no_answer_in_time(link: Link | None) -> None:
    call = read(log_by(link), timeout=0.02)
    with pytest.raises(StreamUnavailable, match="does not answer"):
        await call.answer()
    assert call.over


async def test_a_server_that_is_away_is_not_waited_for() -> None:
    with pytest.raises(StreamUnavailable, match="away"):
        await read(log_by(Link([], accepting=False))).answer()


async def test_notifications_since_the_answer_are_told_apart() -> None:
    def own(call: ReadOnlyCall[Any]) -> None:
        call.answered([*PAGE])

    def crossed(call: ReadOnlyCall[Any]) -> None:
        log.signal.note_end("1-x", 12)
        call.answered([*PAGE])

    log = log_by(Link([own, crossed]))
    call = read(log, 9)
    await call.answer()
    assert call.notified == log.signal.notified
    call = read(log, 9)
    await call.answer()
    assert call.notified == log.signal.notified - 1


async def test_a_description() -> None:
    link = Link([lambda call: call.answered([*HEAD, 70, 10, 90, 4, 0])] * 2)
    log = log_by(link)
    told, before = await DescribeCall(log, "PUBLISH", timeout=5, time=45).answer()
    assert told == StreamStatistics(Bounds("1-x", 1, 9), 70, 10, 90)
    assert before == 4
    await DescribeCall(log, "PUBLISH", timeout=5, seen=Position("1-x", 12)).answer()
    asked = link.asked[1]
    assert asked[8:11] == ("1-x", 12, b"")


async def test_what_the_node_has_seen_travels_with_each_call() -> None:
    link = Link([lambda call: call.answered([*PAGE])] * 2)
    log = log_by(link)
    for _ in range(2):
        await read(log, 9).answer()
    assert [asked[8:11] for asked in link.asked] == [("", 0, b""), ("1-x", 9, b"5 0 w")]


async def test_an_empty_log_has_no_times() -> None:
    link = Link([lambda call: call.answered([b"1-x", 1, 0, b"", 0, 0, -1, -1, 0, 0])])
    told, _ = await DescribeCall(log_by(link), "PUBLISH", timeout=5).answer()
    assert (told.first_time, told.last_time) == (None, None)


async def test_a_reader_that_leaves_is_over() -> None:
    call = read(log_by(Link([])))
    task = asyncio.create_task(call.answer())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert call.over
