"""Readers: what the windows hold, then pages, then the live path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.catchup.page_choice import Matching, NewestByTopic, PageRequest, SnapshotSource
from gateway.core.catchup.readers import SCANNED, HistoryReader
from gateway.core.catchup.spill_reader import SpillReader
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox
from gateway.core.messages.commands import Overflow, Position
from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import Hole, Page, SelectedPage
from gateway.core.streams.stream import FollowedStream
from gateway.errors import NotFound
from tests.unit.core.streaming import (
    ENCODER,
    bring,
    captured,
    connection,
    drain,
    followed_stream,
    labels,
    written,
)
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


def shared(stream: FollowedStream) -> PageRequest:
    return PageRequest(stream, "e1", 0)


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
    assert (step.level, step.needed) == ([one], PageRequest(other, "e1", 5))
    assert not hub.may_join(outbox, reader, step)
    assert labels(reader.take(shared(other), page(1, 9, 6, 7, 8, 9, topic="t/a"), 10_000) or []) == [
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
    assert labels(reader.take(shared(path), page(1, 5, 1, 2, 3, 4, 5), 10_000) or []) == [
        "s1",
        "s2",
        "s3",
    ]
    assert reader.step(1000).level == [path]


def test_a_page_may_begin_before_the_reader_and_be_taken_in_parts() -> None:
    path = followed_stream(last=4)
    _, _, reader = reading((path, 1))
    whole = page(1, 4, 1, 2, 3, 4)
    assert labels(reader.take(shared(path), whole, 1) or []) == ["s2"]
    assert labels(reader.take(shared(path), whole, 1000) or []) == ["s3", "s4"]


@pytest.mark.parametrize("brought", [page(7, 9, 7, 8, 9), page(7, 6)])
def test_what_was_trimmed_is_told_and_passed_over(brought: Page) -> None:
    path = followed_stream(last=max(brought.bounds.last, 6))
    _, _, reader = reading((path, 2))
    frames = labels(reader.take(shared(path), brought, 10_000) or [])
    assert frames[0] == gap("trimmed", dropped=4, **{"from": 3, "to": 6})
    assert frames[1:] == [f"s{each.offset}" for each in brought.publications]


def test_the_window_knows_what_was_trimmed() -> None:
    path = followed_stream(last=9, first=7)
    _, _, reader = reading((path, 2))
    step = reader.step(1000)
    assert labels(step.frames) == [gap("trimmed", dropped=4, **{"from": 3, "to": 6})]
    assert step.needed == PageRequest(path, "e1", 6)


def test_a_new_epoch_begins_with_the_first_publication_there_is() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5))
    path.tail.restart("e2", 8, first=7)
    frames = labels(reader.take(shared(path), page(7, 8, 7, 8, epoch="e2"), 10_000) or [])
    assert frames == [gap("epoch", epoch="e2", offset=6), "s7", "s8"]


def test_a_page_of_an_epoch_that_the_tail_does_not_know_waits_for_the_tail() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5))
    assert reader.take(shared(path), page(1, 8, 6, 7, 8, epoch="e2"), 10_000) is None
    assert reader.positions == {path: Position("e1", 5)}
    path.tail.restart("e2", 8, first=1)
    assert labels(reader.step(1000).frames) == [gap("epoch", epoch="e2", offset=0)]


def test_an_epoch_that_the_tail_has_never_met_is_left_for_the_first_there_is() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5))
    # A life so short that only this reader has seen it.
    reader.positions[path] = Position("e2", 5)
    path.tail.restart("e3", 8, first=7)
    frames = labels(reader.take(shared(path), page(7, 8, 7, 8, epoch="e3"), 10_000) or [])
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
    assert reader.take(shared(path), page(9, 9, 9), 1000) is None


def test_a_stream_it_has_left_brings_nothing() -> None:
    path = followed_stream(last=4)
    _, _, reader = reading((path, 2))
    assert reader.take(shared(followed_stream("t")), page(1, 4, 3, 4), 1000) == []


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


# Selected pages, and phases


def selected(
    stream: FollowedStream, after: int, *offsets: int, through: int, topic: str = "s/rare", holes: Any = ()
) -> SelectedPage:
    bounds = Bounds("e1", 1, through)
    return SelectedPage(bounds, [captured(offset, topic) for offset in offsets], through, holes)


def asked(reader: HistoryReader) -> PageRequest:
    needed = reader.step(0).needed
    assert needed is not None
    return needed


def test_what_is_rare_is_selected_and_the_place_moves_past_what_did_not_match() -> None:
    path = followed_stream(last=1000)
    _, _, reader = reading((path, 0), topic_filter="s/rare")
    request = asked(reader)
    assert request == PageRequest(path, "e1", 0, Matching(("s/rare",)))
    frames = reader.take(request, selected(path, 0, 7, 900, through=1200), 10_000)
    assert labels(frames or []) == ["s7", "s900"]
    assert reader.step(0).level == [path], "no further than the tail, and all the way there"


def test_a_selected_page_with_nothing_in_it_leads_on_too() -> None:
    path = followed_stream(last=1000)
    _, _, reader = reading((path, 0), topic_filter="s/rare")
    assert reader.take(asked(reader), selected(path, 0, through=600), 10_000) == []
    assert reader.positions[path].offset == 600
    assert reader.take(asked(reader), selected(path, 600, through=600), 10_000) is None


def test_a_selected_page_of_a_log_that_was_trimmed_past_the_tail_waits_for_the_tail() -> None:
    path = followed_stream(last=4)
    _, _, reader = reading((path, 2), topic_filter="s/rare")
    assert reader.take(asked(reader), SelectedPage(Bounds("e1", 9, 8), [], 8), 1000) is None
    assert reader.positions[path].offset == 2, "what is gone in between would not be told"


def test_a_selected_page_is_taken_in_parts() -> None:
    path = followed_stream(last=1000)
    _, _, reader = reading((path, 0), topic_filter="s/rare")
    request, page_of_all = asked(reader), selected(path, 0, 7, 900, through=1000)
    assert labels(reader.take(request, page_of_all, 1) or []) == ["s7"]
    assert reader.positions[path].offset == 7
    assert labels(reader.take(asked(reader), page_of_all, 1) or []) == ["s900"]


def test_holes_of_a_selected_page_are_told_where_they_lie() -> None:
    path = followed_stream(last=1000)
    _, _, reader = reading((path, 0), topic_filter="s/rare")
    holes = [Hole(3, 6, "purged"), Hole(901, 901)]
    frames = reader.take(asked(reader), selected(path, 0, 7, 900, through=1000, holes=holes), 10_000)
    told = [
        each if isinstance(each, str) else (each["reason"], each["from"]) for each in labels(frames or [])
    ]
    assert told == [("purged", 3), "s7", "s900", ("trimmed", 901)]


def test_much_that_matches_is_read_in_shared_pages_and_little_selected_again() -> None:
    path = followed_stream(last=10_000)
    _, _, reader = reading((path, 0), topic_filter="s/rare")
    reader.take(asked(reader), selected(path, 0, *range(1, 301), through=1000), 10_000_000)
    request = asked(reader)
    assert request == PageRequest(path, "e1", 1000)
    others = [captured(offset, "s/other") for offset in range(1001, 1401)]
    reader.take(request, Page(Bounds("e1", 1, 10_000), others), 10_000)
    assert asked(reader) == PageRequest(path, "e1", 1400, Matching(("s/rare",)))


def test_where_the_index_can_not_tell_shared_pages_do() -> None:
    path = followed_stream(last=1000)
    _, _, reader = reading((path, 0), topic_filter="s/rare")
    assert reader.take(asked(reader), None, 10_000) == []
    assert asked(reader) == PageRequest(path, "e1", 0)


def test_a_selected_page_of_another_life_is_not_taken_for_this_one() -> None:
    path = followed_stream(last=9)
    _, _, reader = reading((path, 5), topic_filter="s/#")
    reader._chosen()._shared[path] = -1
    request = asked(reader)
    path.tail.restart("e2", 8, first=1)
    page_of_e2 = SelectedPage(Bounds("e2", 1, 8), [captured(7)], 8)
    assert labels(reader.take(request, page_of_e2, 10_000) or []) == [gap("epoch", epoch="e2", offset=0)]
    assert reader.positions[path] == Position("e2", 0), "what lies before the place asked for is yet to come"


def phased(
    stream: FollowedStream, source: NewestByTopic | SnapshotSource, *, before: int = 0
) -> tuple[Hub, Outbox, HistoryReader]:
    hub = Hub()
    outbox = connection(hub)
    hub.subscribe(outbox, "s/+", Overflow.SPILL, (stream,), live=False)
    snapshots = [stream] if isinstance(source, SnapshotSource) else []
    starts = {stream: Position("e1", before)}
    reader = HistoryReader(outbox.encoder, "s/+", starts, {stream: source}, snapshots)
    hub.read(outbox, outbox.subscriptions["s/+"], reader)
    return hub, outbox, reader


def test_a_phase_comes_first_and_the_log_goes_on_behind_it() -> None:
    path = followed_stream(last=1000)
    hub, outbox, reader = phased(path, source := NewestByTopic("s/+", 2, 1000))
    step = reader.step(10_000)
    assert (step.needed, step.level) == (PageRequest(path, "e1", 0, source), [])
    first = SelectedPage(Bounds("e1", 1, 1000), [captured(10), captured(20)], 20)
    assert labels(reader.take(asked(reader), first, 10_000) or []) == ["s10", "s20"]
    assert asked(reader).after == 20
    bring(hub, path, captured(1001))
    rest = SelectedPage(Bounds("e1", 1, 1001), [captured(30)], 1000)
    assert labels(reader.take(asked(reader), rest, 10_000) or []) == ["s30"]
    step = reader.step(10_000)
    assert labels(step.frames) == ["s1001"]
    assert hub.may_join(outbox, reader, step)


def test_a_phase_may_be_ahead_of_the_tail_which_is_awaited_then() -> None:
    path = followed_stream(last=10)
    hub, outbox, reader = phased(path, NewestByTopic("s/+", 2, 12))
    page_of_all = SelectedPage(Bounds("e1", 1, 12), [captured(9), captured(12)], 12)
    assert labels(reader.take(asked(reader), page_of_all, 10_000) or []) == ["s9", "s12"]
    step = reader.step(10_000)
    assert (step.frames, step.needed, step.level) == ([], None, [])
    bring(hub, path, captured(11), captured(12))
    assert hub.may_join(outbox, reader, reader.step(10_000))


def test_what_is_trimmed_is_told_in_a_phase_but_not_of_last_values() -> None:
    path = followed_stream(last=1000)
    trimmed = SelectedPage(Bounds("e1", 101, 1000), [captured(200)], 1000)
    for before, gaps in ((40, [(41, 100)]), (100, []), (199, [])):
        _, _, reader = phased(path, NewestByTopic("s/+", 2, 1000), before=before)
        told = labels(reader.take(asked(reader), trimmed, 10_000) or [])
        assert [each if isinstance(each, str) else (each["from"], each["to"]) for each in told] == [
            *gaps,
            "s200",
        ]
    _, _, reader = phased(path, SnapshotSource("s/+", 1000), before=150)
    kept = SelectedPage(Bounds("e1", 101, 1000), [captured(20), captured(200)], 1000)
    assert labels(reader.take(asked(reader), kept, 10_000) or []) == ["s20", "s200"]


def test_a_phase_that_can_not_go_on_gives_everything_behind_its_place() -> None:
    path = followed_stream(last=1000)
    _, _, reader = phased(path, NewestByTopic("s/+", 2, 1000))
    reader.take(asked(reader), SelectedPage(Bounds("e1", 1, 1000), [captured(10)], 10), 10_000)
    assert reader.take(asked(reader), None, 10_000) == []
    assert (reader.phases, reader.positions[path].offset) == ({}, 10)


def test_last_values_say_so_and_what_follows_does_not() -> None:
    path = followed_stream(last=100)
    _, _, reader = phased(path, SnapshotSource("s/+", 100))
    page = SelectedPage(Bounds("e1", 90, 100), [captured(7)], 100)
    (frame,) = map(json.loads, reader.take(asked(reader), page, 10_000) or [])
    assert (frame["filter"], frame["snapshot"]) == ("s/+", True)
    path.tail.push(captured(101))
    (frame,) = map(json.loads, reader.step(10_000).frames)
    assert frame == {"id": "s101", "filter": "s/+"}


def test_nobody_is_level_before_what_replaced_a_value_that_was_left_out() -> None:
    path = followed_stream(last=10)
    hub, outbox, reader = phased(path, SnapshotSource("s/+", 10))
    # The log goes on to 12, where one of the values was replaced; the tail has yet to see that.
    page = SelectedPage(Bounds("e1", 1, 12), [captured(9)], 10)
    assert labels(reader.take(asked(reader), page, 10_000) or []) == ["s9"]
    assert (reader.positions[path], reader.phases) == (Position("e1", 10), {})
    step = reader.step(10_000)
    assert (step.frames, step.needed, step.level) == ([], None, [])
    bring(hub, path, captured(11), captured(12))
    step = reader.step(10_000)
    assert labels(step.frames) == ["s11", "s12"]
    assert hub.may_join(outbox, reader, step)


def test_a_new_epoch_begins_a_snapshot_anew() -> None:
    path = followed_stream(last=10)
    _, _, reader = phased(path, SnapshotSource("s/+", 10))
    page = SelectedPage(Bounds("e1", 1, 10), [captured(9)], 10)
    reader.take(asked(reader), page, 10_000)
    assert reader.phases == {}
    path.tail.restart("e2", 8, first=4)
    step = reader.step(10_000)
    assert [each["reason"] for each in labels(step.frames)] == ["epoch"]
    assert step.needed == PageRequest(path, "e2", 0, SnapshotSource("s/+", 8))
    again = SelectedPage(Bounds("e2", 4, 8), [captured(2)], 8)
    assert labels(reader.take(step.needed, again, 10_000) or []) == ["s2"]
    assert reader.step(10_000).level == [path]


def test_a_new_epoch_ends_a_phase() -> None:
    path = followed_stream(last=1000)
    _, _, reader = phased(path, NewestByTopic("s/+", 2, 1000))
    path.tail.restart("e2", 8, first=1)
    step = reader.step(10_000)
    assert [each["reason"] for each in labels(step.frames)] == ["epoch"]
    assert (reader.phases, reader.positions[path]) == ({}, Position("e2", 0))


def test_a_selected_page_is_not_taken_once_the_connection_wants_more() -> None:
    path = followed_stream(last=1000)
    wanted = ("s/a", "s/b")
    reader = SpillReader(
        ENCODER, filters_of=lambda _: wanted, picker_of=lambda _: lambda topic: topic in wanted
    )
    reader.positions[path] = Position("e1", 0)
    request = reader.step(0).needed
    assert request is not None
    wanted = ("s/a", "s/b", "s/c")
    reader.subscriptions_changed()
    assert reader.take(request, selected(path, 0, 5, through=1000, topic="s/a"), 10_000) == []
    assert reader.positions[path].offset == 0
    wanted = ("s/a",)
    reader.subscriptions_changed()
    reader.positions[path] = Position("e1", 3)
    request = reader.step(0).needed
    assert request is not None
    reader.positions[path] = Position("e1", 1)
    assert reader.take(request, selected(path, 3, 5, through=1000, topic="s/a"), 10_000) == []
    assert reader.positions[path].offset == 1, "it has gone back meanwhile"
    reader.positions[path] = Position("e1", 3)
    assert len(reader.take(request, selected(path, 0, 5, through=1000, topic="s/a"), 10_000) or []) == 1
