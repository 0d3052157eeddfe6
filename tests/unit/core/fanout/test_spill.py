"""What streams hold is not lost to a slow consumer: its connection leaves the live path and comes back."""

from __future__ import annotations

from gateway.core.catchup.page_choice import PageRequest
from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox
from gateway.core.fanout.subscription import Subscription
from gateway.core.messages.commands import Overflow, Position
from gateway.core.streams.stream import FollowedStream
from tests.unit.core.streaming import bring, captured, connection, drain, followed_stream, labels, written
from tests.unit.core.wire import publication


def spilled(
    path: FollowedStream, *, overflow: Overflow = Overflow.SPILL, filters: str = "s/#"
) -> tuple[Hub, Outbox]:
    """A connection with room for 3 that was offered 5 while it took nothing."""
    hub = Hub()
    outbox = connection(hub, messages=3)
    hub.subscribe(outbox, filters, overflow, (path,))
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, *(captured(offset) for offset in range(1, 6)))
    hub.flush_run()
    return hub, outbox


def ids(hub: Hub, outbox: Outbox) -> list[str]:
    return [line["id"] for line in written(hub, outbox) if "id" in line]


def test_what_does_not_fit_stays_in_the_stream() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    assert outbox.waiting_messages == 3
    assert outbox.dropped == 0
    reader = hub.spill_reader(outbox)
    assert reader is not None
    assert reader.positions == {path: Position("e1", 3)}
    assert (hub.statistics().spills, hub.statistics().spilled) == (1, 1)


def test_a_connection_that_is_behind_is_not_in_the_live_path() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    delivered = hub.statistics().delivered
    bring(hub, path, captured(6))
    hub.flush_run()
    assert hub.statistics().delivered == delivered
    drain(hub, outbox)
    bring(hub, path, captured(7))
    assert ids(hub, outbox) == ["s1", "s2", "s3"]


def test_it_reads_on_from_where_it_left_and_is_live_again() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    reader = hub.spill_reader(outbox)
    assert reader is not None
    assert hub.take_parked(outbox) == [(outbox, reader)]
    drain(hub, outbox)
    step = reader.step(10_000)
    assert labels(step.frames) == ["s4", "s5"]
    assert (step.needed, step.level) == (None, [path])
    hub.rejoin(outbox, path)
    assert reader.ended
    assert hub.spill_reader(outbox) is None
    assert hub.statistics().spilled == 0
    bring(hub, path, captured(6))
    assert ids(hub, outbox)[-1] == "s6"


def test_live_topics_go_on_while_it_is_spilled_from_a_stream() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    hub.subscribe(outbox, "t")
    drain(hub, outbox)
    hub.deliver(publication("t", "live"))
    assert ids(hub, outbox) == ["s1", "s2", "s3", "live"]


def test_a_publication_between_two_target_lists_is_not_skipped() -> None:
    """The list of the second topic is found before the run of the first is settled and overflows."""
    path = followed_stream()
    hub = Hub()
    outbox = connection(hub, messages=1)
    hub.subscribe(outbox, "s/a", Overflow.SPILL, (path,))
    hub.subscribe(outbox, "s/#", Overflow.SPILL, (path,))
    bring(hub, path, captured(1, "s/a"), captured(2, "s/b"))
    written(hub, outbox)
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, captured(3, "s/a"), captured(4, "s/a"), captured(5, "s/b"), captured(6, "s/b"))
    hub.flush_run()
    reader = hub.spill_reader(outbox)
    assert reader is not None
    assert reader.positions == {path: Position("e1", 3)}


def test_what_another_policy_governs_is_dropped_as_ever() -> None:
    path = followed_stream()
    hub, outbox = spilled(path, overflow=Overflow.DROP_OLDEST)
    assert hub.spill_reader(outbox) is None
    assert hub.statistics().dropped[Overflow.DROP_OLDEST] == 2


def test_spill_governs_what_a_stream_captured() -> None:
    path = followed_stream()
    hub = Hub()
    outbox = connection(hub, messages=1)
    hub.subscribe(outbox, "s/+", Overflow.DISCONNECT, (path,))
    hub.subscribe(outbox, "s/#", Overflow.SPILL, (path,))
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, captured(1), captured(2))
    hub.flush_run()
    assert hub.take_overflowed() == []
    assert hub.spill_reader(outbox) is not None


def test_live_publications_do_not_push_out_what_waits_from_a_stream() -> None:
    path = followed_stream()
    hub = Hub()
    outbox = connection(hub, messages=2)
    hub.subscribe(outbox, "#", Overflow.SPILL, (path,))
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, captured(1), captured(2))
    hub.deliver(publication("t", "lost"))
    hub.flush_run()
    drain(hub, outbox)
    assert ids(hub, outbox) == ["s1", "s2"]
    assert hub.statistics().dropped[Overflow.SPILL] == 1


def test_a_new_subscription_is_read_for_too() -> None:
    path = followed_stream()
    hub, outbox = spilled(path, filters="s/a")
    reader = hub.spill_reader(outbox)
    assert reader is not None
    bring(hub, path, captured(6, "s/b"))
    drain(hub, outbox)
    assert labels(reader.step(1).frames) == ["s4"]
    hub.subscribe(outbox, "s/b", Overflow.SPILL, (path,))
    assert hub.begin_live(outbox, outbox.subscriptions["s/b"]) == {path: Position("e1", 4)}
    assert labels(reader.step(10_000).frames) == ["s5", "s6"]


def test_the_last_subscription_on_a_stream_ends_its_reader() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    reader = hub.spill_reader(outbox)
    assert reader is not None
    hub.unsubscribe(outbox, "s/#")
    assert reader.ended
    assert (hub.spill_reader(outbox), hub._spills.spilled.get(path, set())) == (None, set())


def test_a_detached_connection_is_behind_nowhere() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    reader = hub.spill_reader(outbox)
    hub.detach(outbox)
    assert reader is not None
    assert reader.ended
    assert (hub._spills.spilled.get(path, set()), hub._subscriptions._streams, hub.statistics().spilled) == (
        set(),
        {},
        0,
    )


def test_replaced_options_keep_the_place_of_what_waits() -> None:
    path = followed_stream(last=7)
    hub = Hub()
    outbox = connection(hub)
    earlier = subscribed(hub, outbox, "s/#", path)
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, captured(8), captured(9))
    # Another subscription gets nothing of what waits.
    assert hub.begin_live(outbox, subscribed(hub, outbox, "s/a", path)) == {path: Position("e1", 9)}
    assert hub.begin_live(outbox, subscribed(hub, outbox, "s/#", path), earlier) == {path: Position("e1", 7)}


def test_replaced_options_do_not_go_back_before_the_subscription_began() -> None:
    path = followed_stream(last=7)
    hub = Hub()
    outbox = connection(hub)
    subscribed(hub, outbox, "s/a", path)
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, captured(8, "s/a"), captured(9, "s/b"))
    earlier = subscribed(hub, outbox, "s/#", path)
    assert hub.begin_live(outbox, earlier) == {path: Position("e1", 9)}
    bring(hub, path, captured(10))
    for _ in range(2):
        again = subscribed(hub, outbox, "s/#", path)
        assert hub.begin_live(outbox, again, earlier) == {path: Position("e1", 9)}
        earlier = again


def subscribed(hub: Hub, outbox: Outbox, topic_filter: str, path: FollowedStream) -> Subscription:
    hub.subscribe(outbox, topic_filter, Overflow.SPILL, (path,))
    return outbox.subscriptions[topic_filter]


def test_a_stuck_connection_keeps_its_positions_only() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    assert hub.release(outbox)
    assert (outbox.waiting_messages, outbox.waiting_bytes) == (0, 0)
    reader = hub.spill_reader(outbox)
    assert reader is not None
    assert reader.positions == {path: Position("e1", 0)}
    assert hub.release(outbox)


def test_a_stuck_connection_goes_back_in_the_epoch_that_it_left_in() -> None:
    path = followed_stream()
    hub, outbox = spilled(path)
    hub.interrupt(path)
    path.tail.restart("e2", 3, first=1)
    assert hub.release(outbox)
    reader = hub.spill_reader(outbox)
    assert reader is not None
    assert reader.positions == {path: Position("e1", 0)}


def test_a_stuck_connection_for_which_live_publications_wait_may_not_stay() -> None:
    path = followed_stream()
    hub = Hub()
    outbox = connection(hub)
    hub.subscribe(outbox, "#", Overflow.SPILL, (path,))
    hub.block(outbox, 0, now=0.0)
    bring(hub, path, captured(1))
    hub.deliver(publication("t"))
    assert not hub.release(outbox)
    assert outbox.waiting_messages == 2


def test_a_stuck_connection_that_reads_no_stream_may_not_stay() -> None:
    hub = Hub()
    outbox = connection(hub)
    hub.subscribe(outbox, "t")
    hub.block(outbox, 0, now=0.0)
    assert not hub.release(outbox)


def test_where_the_tail_loses_the_thread_everyone_reads_on_from_there() -> None:
    path = followed_stream()
    hub = Hub()
    one, blocked, elsewhere = connection(hub), connection(hub), connection(hub)
    for outbox in (one, blocked):
        hub.subscribe(outbox, "s/#", Overflow.SPILL, (path,))
    hub.subscribe(elsewhere, "t")
    bring(hub, path, captured(1))
    hub.block(blocked, 0, now=0.0)
    readers = hub.interrupt(path)
    assert [reader.outbox for reader in readers] == [one]
    assert hub.take_parked(blocked) == [(blocked, hub.spill_reader(blocked))]
    path.tail.restart("e2", 5, first=4)
    step = readers[0].reader.step(1000)
    assert labels(step.frames) == [
        {
            "op": "gap",
            "reason": "epoch",
            "dropped": None,
            "filter": "s/#",
            "stream": "s",
            "epoch": "e2",
            "offset": 3,
        }
    ]
    assert step.needed == PageRequest(path, "e2", 3)
