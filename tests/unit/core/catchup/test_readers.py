"""Readers: what the windows hold, then pages, then the live path."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.catchup.readers import SCANNED, HistoryReader, from_bounds, from_window, resume_at
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox
from gateway.core.messages.commands import START_NEW, Overflow, Position, Start, StartKind
from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import Page
from gateway.core.streams.stream import FollowedStream
from gateway.errors import NotFound
from tests.unit.core.streaming import bring, captured, connection, drain, followed_stream, labels, written
from tests.unit.core.wire import publication


def reading(
    *starts: tuple[FollowedStream, int], topic_filter: str = "s/#"
) -> tuple[Hub, Outbox, HistoryReader]:
    """A subscription that reads its history from these places on."""
    hub = Hub()
    outbox = connection(hub)
    paths = tuple(path for path, _ in starts)
    hub.subscribe(outbox, topic_filter, Overflow.SPILL, paths, live=False)
    positions = {path: Position("e1", offset) for path, offset in starts}
    reader = HistoryReader(outbox.encoder, topic_filter, positions)
    hub.read(outbox, outbox.subscriptions[topic_filter], reader)
    return hub, outbox, reader


def page(first: int, last: int, *offsets: int, epoch: str = "e1", topic: str = "s/a") -> Page:
    return Page(Bounds(epoch, first, last), [captured(offset, topic) for offset in offsets])


def gap(reason: str, **fields: Any) -> dict[str, Any]:
    return {"op": "gap", "reason": reason, "dropped": None, "filter": "s/#", "stream": "s"} | fields


def test_what_the_window_holds_comes_at_once_with_its_filter() -> None:
    path = followed_stream()
    hub, outbox, reader = reading((path, 1))
    bring(hub, path, *(captured(offset) for offset in range(1, 5)))
    step = reader.step(10_000)
    assert [frame.count(b'"filter": "s/#"') for frame in step.frames] == [1, 1, 1]
    assert labels(step.frames) == ["s2", "s3", "s4"]
    assert hub.may_join(outbox, reader, step)


def test_a_subscription_that_reads_is_in_no_live_path() -> None:
    path = followed_stream()
    hub, outbox, _ = reading((path, 0))
    bring(hub, path, captured(1))
    assert written(hub, outbox) == []


def test_live_topics_come_meanwhile_with_the_filter() -> None:
    path = followed_stream()
    hub, outbox, _ = reading((path, 0), topic_filter="#")
    hub.subscribe(outbox, "t")
    hub.deliver(publication("t", "both"))
    hub.deliver(publication("u", "reader's"))
    assert written(hub, outbox) == [
        {"id": "both"},
        {"id": "both", "filter": "#"},
        {"id": "reader's", "filter": "#"},
    ]


def test_live_topics_wait_for_a_reader_that_takes_nothing_and_stay_its_own() -> None:
    path = followed_stream()
    hub, outbox, _ = reading((path, 0), topic_filter="#")
    hub.subscribe(outbox, "t/#")
    hub.block(outbox, 0, now=0.0)
    hub.deliver(publication("t/a", "1"))
    hub.flush_run()
    assert outbox.waiting_messages == 2
    hub.unsubscribe(outbox, "#")
    drain(hub, outbox)
    assert written(hub, outbox) == [{"id": "1"}]


def test_what_waited_for_a_reader_is_counted_where_its_subscription_becomes_live_instead() -> None:
    path = followed_stream()
    hub, outbox, _ = reading((path, 0), topic_filter="#")
    hub.subscribe(outbox, "t/#")
    hub.block(outbox, 0, now=0.0)
    hub.deliver(publication("t/a", "1"))
    hub.subscribe(outbox, "#", Overflow.SPILL, (path,))
    drain(hub, outbox)
    assert written(hub, outbox) == [
        {"op": "gap", "reason": "overflow", "dropped": 1, "filter": "#"},
        {"id": "1"},
    ]


def test_what_waited_for_a_reader_stays_for_the_next_one() -> None:
    path = followed_stream()
    hub, outbox, _ = reading((path, 0), topic_filter="#")
    hub.block(outbox, 0, now=0.0)
    hub.deliver(publication("t/a", "1"))
    hub.subscribe(outbox, "#", Overflow.SPILL, (path,), live=False)
    drain(hub, outbox)
    assert written(hub, outbox) == [{"id": "1", "filter": "#"}]


def test_it_joins_in_one_step_without_gap_or_repeat() -> None:
    path = followed_stream()
    hub, outbox, reader = reading((path, 0))
    bring(hub, path, captured(1), captured(2))
    step = reader.step(10_000)
    hub.join(outbox, outbox.subscriptions[reader.filter])
    assert reader.ended
    bring(hub, path, captured(3))
    assert labels(step.frames) == ["s1", "s2"]
    assert written(hub, outbox) == [{"id": "s3"}]


def test_all_its_streams_join_together() -> None:
    one, other = followed_stream("s"), followed_stream("t", last=9)
    hub, outbox, reader = reading((one, 0), (other, 5), topic_filter="#")
    bring(hub, one, captured(1))
    step = reader.step(10_000)
    assert (step.level, step.needed) == ([one], (other, 5))
    assert not hub.may_join(outbox, reader, step)
    assert labels(reader.take(other, page(1, 9, 6, 7, 8, 9, topic="t/a"), 10_000) or []) == [
        "t6",
        "t7",
        "t8",
        "t9",
    ]
    assert hub.may_join(outbox, reader, reader.step(10_000))


def test_it_does_not_join_while_its_connection_is_behind_on_the_stream() -> None:
    path = followed_stream()
    hub, outbox, reader = reading((path, 0), topic_filter="s/#")
    hub.subscribe(outbox, "s/a", Overflow.SPILL, (path,))
    hub.interrupt(path)
    assert not hub.may_join(outbox, reader, reader.step(1000))
    hub.rejoin(outbox, path)
    assert hub.may_join(outbox, reader, reader.step(1000))


def test_a_step_is_bounded_in_bytes_and_in_what_is_looked_at() -> None:
    path = followed_stream()
    hub, _, reader = reading((path, 0))
    bring(hub, path, *(captured(offset) for offset in range(1, 11)))
    assert len(reader.step(100).frames) < 10
    hub, _, reader = reading((path := followed_stream(), 0), topic_filter="s/rare")
    bring(hub, path, *(captured(offset) for offset in range(1, SCANNED + 3)))
    assert reader.step(100).frames == []
    assert reader.positions[path].offset == SCANNED


def test_streams_are_served_in_turn() -> None:
    one, other = followed_stream("s"), followed_stream("t")
    hub, _, reader = reading((one, 0), (other, 0), topic_filter="#")
    for offset in (1, 2, 3):
        bring(hub, one, captured(offset))
        bring(hub, other, captured(offset, "t/a"))
    served = [labels(reader.step(1).frames)[0] for _ in range(6)]
    assert served == ["s1", "t1", "s2", "t2", "s3", "t3"]


def test_a_page_is_followed_no_further_than_the_tail() -> None:
    path = followed_stream(last=3)
    _, _, reader = reading((path, 0))
    assert labels(reader.take(path, page(1, 5, 1, 2, 3, 4, 5), 10_000) or []) == ["s1", "s2", "s3"]
    assert reader.step(1000).level == [path]


def test_a_page_may_begin_before_the_reader_and_be_taken_in_parts() -> None:
    path = followed_stream(last=4)
    _, _, reader = reading((path, 1))
    whole = page(1, 4, 1, 2, 3, 4)
    assert labels(reader.take(path, whole, 1) or []) == ["s2"]
    assert labels(reader.take(path, whole, 1000) or []) == ["s3", "s4"]


@pytest.mark.parametrize("brought", [page(7, 9, 7, 8, 9), page(7, 6)])
def test_what_was_trimmed_is_told_and_passed_over(brought: Page) -> None:
    path = followed_stream(last=max(brought.bounds.last, 6))
    _, _, reader = reading((path, 2))
    frames = labels(reader.take(path, brought, 10_000) or [])
    assert frames[0] == gap("trimmed", dropped=4, **{"from": 3, "to": 6})
    assert frames[1:] == [f"s{each.offset}" for each in brought.publications]


def test_the_window_knows_what_was_trimmed() -> None:
    path = followed_stream(last=9, first=7)
    _, _, reader = reading((path, 2))
    step = reader.step(1000)
    assert labels(step.frames) == [gap("trimmed", dropped=4, **{"from": 3, "to": 6})]
    assert step.needed == (path, 6)


def test_a_new_epoch_begins_with_the_first_publication_there_is() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5))
    path.tail.restart("e2", 8, first=7)
    frames = labels(reader.take(path, page(7, 8, 7, 8, epoch="e2"), 10_000) or [])
    assert frames == [gap("epoch", epoch="e2", offset=6), "s7", "s8"]


def test_a_page_of_an_epoch_that_the_tail_does_not_know_waits_for_the_tail() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5))
    assert reader.take(path, page(1, 8, 6, 7, 8, epoch="e2"), 10_000) is None
    assert reader.positions == {path: Position("e1", 5)}
    path.tail.restart("e2", 8, first=1)
    assert labels(reader.step(1000).frames) == [gap("epoch", epoch="e2", offset=0)]


def test_an_epoch_that_the_tail_has_never_met_is_left_for_the_first_there_is() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5))
    # A life so short that only this reader has seen it.
    reader.positions[path] = Position("e2", 5)
    path.tail.restart("e3", 8, first=7)
    frames = labels(reader.take(path, page(7, 8, 7, 8, epoch="e3"), 10_000) or [])
    assert frames == [gap("epoch", epoch="e3", offset=6), "s7", "s8"]


@pytest.mark.parametrize(("had", "goes_on"), [(2, 2), (6, 6), (8, 6)])
def test_a_reader_goes_on_behind_what_it_had_of_what_both_lives_hold(had: int, goes_on: int) -> None:
    path = followed_stream()
    hub, _, reader = reading((path, had))
    bring(hub, path, *(captured(offset) for offset in range(1, 9)))
    path.tail.part("e2", 6, first=1)
    bring(hub, path, captured(7, "s/b"))
    expected = [gap("epoch", epoch="e2", offset=goes_on), *(f"s{each}" for each in range(goes_on + 1, 8))]
    assert labels(reader.step(10_000).frames) == expected
    assert reader.positions == {path: Position("e2", 7)}


def test_a_reader_ahead_of_the_tail_waits_for_it() -> None:
    path = followed_stream(last=4)
    hub, outbox, reader = reading((path, 6))
    assert reader.step(1000) == type(reader.step(1000))()
    bring(hub, path, captured(5), captured(6))
    assert hub.may_join(outbox, reader, reader.step(1000))


def test_a_log_that_was_trimmed_past_the_tail_waits_for_the_tail() -> None:
    path = followed_stream(last=4)
    _, _, reader = reading((path, 2))
    assert reader.take(path, page(9, 9, 9), 1000) is None


def test_a_stream_it_has_left_brings_nothing() -> None:
    path = followed_stream(last=4)
    _, _, reader = reading((path, 2))
    assert reader.take(followed_stream("t"), page(1, 4, 3, 4), 1000) == []


@pytest.mark.parametrize("end", ["unsubscribe", "replace", "detach"])
def test_a_reader_ends_with_its_subscription(end: str) -> None:
    path = followed_stream()
    hub, outbox, reader = reading((path, 0))
    if end == "unsubscribe":
        hub.unsubscribe(outbox, "s/#")
    elif end == "replace":
        hub.subscribe(outbox, "s/#", Overflow.SPILL, (path,))
    else:
        hub.detach(outbox)
    assert reader.ended
    hub.deliver(publication("s/live", "not captured"))
    expected = [{"id": "not captured"}] if end == "replace" else []
    assert written(hub, outbox) == expected


def test_a_subscription_that_waits_for_its_streams_gets_nothing() -> None:
    path = followed_stream()
    hub = Hub()
    outbox = connection(hub)
    hub.subscribe(outbox, "#", Overflow.SPILL, (path,), live=False)
    hub.deliver(publication("t"))
    bring(hub, path, captured(1))
    assert written(hub, outbox) == []
    hub.join(outbox, outbox.subscriptions["#"])
    bring(hub, path, captured(2))
    assert written(hub, outbox) == [{"id": "s2"}]
    with pytest.raises(NotFound):
        hub.unsubscribe(outbox, "s/#")


BOUNDS = Bounds("e1", 11, 20)


@pytest.mark.parametrize(
    ("start", "before", "offset"),
    [
        (START_NEW, None, 20),
        (Start(StartKind.EARLIEST), None, 10),
        (Start(StartKind.OFFSET, 15), None, 14),
        (Start(StartKind.OFFSET, 21), None, 20),
        (Start(StartKind.OFFSET, 99), None, 20),
        (Start(StartKind.LAST, 3), None, 17),
        (Start(StartKind.LAST, 30), None, 10),
        (Start(StartKind.TIME, 5), 12, 12),
        (Start(StartKind.TIME, 5), 4, 10),
    ],
)
def test_where_from_begins(start: Start, before: int | None, offset: int) -> None:
    beginning = from_bounds("s/#", followed_stream(), start, BOUNDS, before)
    assert beginning.position == Position("e1", offset)
    assert beginning.gap is None


def test_an_offset_that_is_trimmed_begins_with_a_gap() -> None:
    beginning = from_bounds("s/#", followed_stream(), Start(StartKind.OFFSET, 4), BOUNDS)
    assert beginning.position == Position("e1", 10)
    assert beginning.gap is not None
    assert (beginning.gap.first, beginning.gap.last, beginning.gap.dropped) == (4, 10, 7)


@pytest.mark.parametrize("offset", [10, 15, 20])
def test_a_position_within_the_log_is_recovered(offset: int) -> None:
    beginning = resume_at("s/#", followed_stream(), Position("e1", offset), BOUNDS)
    assert (beginning.position, beginning.recovered, beginning.gap) == (Position("e1", offset), True, None)


def test_a_trimmed_position_says_which_offsets_are_missing() -> None:
    beginning = resume_at("s/a", followed_stream(), Position("e1", 6), BOUNDS)
    assert (beginning.position, beginning.recovered) == (Position("e1", 10), False)
    assert beginning.gap is not None
    # On some of them the topic is another one: nobody knows how many are lost.
    assert (beginning.gap.first, beginning.gap.last, beginning.gap.dropped) == (7, 10, None)


@pytest.mark.parametrize("wanted", [Position("e0", 15), Position("e1", 21)])
def test_another_epoch_or_a_place_beyond_the_end_begins_with_the_first_there_is(wanted: Position) -> None:
    beginning = resume_at("s/#", followed_stream(), wanted, BOUNDS)
    assert (beginning.position, beginning.recovered) == (Position("e1", 10), False)
    assert beginning.gap is not None
    assert (beginning.gap.reason, beginning.gap.epoch) == ("epoch", "e1")


def test_what_the_window_holds_needs_no_store() -> None:
    path = followed_stream(last=10)
    for offset in range(11, 16):
        path.tail.push(captured(offset))
    for asked, offset in (
        (START_NEW, 15),
        (Start(StartKind.LAST, 5), 10),
        (Position("e1", 10), 10),
        (Position("e1", 15), 15),
    ):
        found = from_window(path, asked)
        assert found is not None
        assert found.position == Position("e1", offset)
    for beyond in (
        Start(StartKind.LAST, 6),
        Start(StartKind.EARLIEST),
        Position("e1", 9),
        Position("e1", 16),
        Position("e2", 12),
    ):
        assert from_window(path, beyond) is None
