from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import Position

STREAMS = ("s", "t")
FILTERS = ("a", "b", "c")


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def test_live_subscriptions_share_one_position() -> None:
    point = ResumePoint(["a", "b"])
    point.begin("a", {"s": at(5)})
    assert not point.complete
    point.begin("b", {"s": at(5), "t": at(1)})
    assert point.complete
    point.move("s", 6)
    assert (point.shared, point.apart) == ({"s": at(6), "t": at(1)}, {})


def test_one_that_replays_stands_apart_until_it_has_caught_up() -> None:
    point = ResumePoint(["a", "b"], replaying=["b"])
    point.begin("a", {"s": at(5)})
    point.begin("b", {"s": at(0)})
    point.move_one("b", "s", 3)
    point.move("s", 6)
    assert (point.of("a"), point.of("b")) == ({"s": at(6)}, {"s": at(3)})
    point.catch_up("b")
    assert (point.of("b"), point.apart) == ({"s": at(6)}, {})


def test_one_that_gets_last_values_has_not_begun_before_it_has_caught_up() -> None:
    point = ResumePoint(["a", "b"], replaying=["b"], snapshots=["b"])
    point.begin("a", {"s": at(5)})
    point.begin("b", {"s": at(5)})
    point.move_one("b", "s", 2)
    assert not point.complete
    assert point.of("b") == {"s": at(5)}
    point.catch_up("b")
    assert point.complete


def test_one_that_goes_on_where_it_was_has_begun_at_once() -> None:
    point = ResumePoint(["b"], replaying=["b"], snapshots=["b"])
    point.begin("b", {"s": at(5)}, recovered=True)
    assert point.complete


def test_one_that_begins_ahead_of_what_waits_for_others_keeps_its_place() -> None:
    point = ResumePoint(["a", "b"])
    point.begin("a", {"s": at(5)})
    point.begin("b", {"s": at(8)})
    point.move("s", 7)
    assert (point.of("a"), point.of("b")) == ({"s": at(7)}, {"s": at(8)})
    point.move("s", 8)
    assert point.apart == {}


def test_a_new_epoch_is_everyones_with_its_first_message() -> None:
    point = ResumePoint(["a", "b"])
    point.begin("a", {"s": at(5)})
    point.begin("b", {"s": at(5)})
    point.renew("a", "s", at(3, "f"))
    assert (point.of("a"), point.of("b")) == ({"s": at(3, "f")}, {"s": at(5)})
    point.renew("b", "s", at(3, "f"))
    point.move("s", 4)
    assert (point.shared, point.apart) == ({"s": at(4, "f")}, {})


def test_trimmed_offsets_count_as_had() -> None:
    point = ResumePoint(["a"])
    point.begin("a", {"s": at(5)})
    point.move_one("a", "s", 9)
    assert point.of("a") == {"s": at(9)}
    point.move("s", 10)
    assert (point.shared, point.apart) == ({"s": at(10)}, {})


@dataclass
class World:
    """Streams, subscriptions that read them, and what each of these was given."""

    point: ResumePoint
    end: dict[str, Position]
    read: dict[str, dict[str, int]] = field(default_factory=dict)
    had: dict[str, dict[str, int]] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)

    def begin(self, topic_filter: str, back: int, *, replaying: bool) -> None:
        offsets = {name: end.offset for name, end in self.end.items()}
        if replaying:
            offsets = {name: max(0, offset - back) for name, offset in offsets.items()}
        else:
            self.live.add(topic_filter)
        self.read[topic_filter], self.had[topic_filter] = offsets, dict(offsets)
        self.point.begin(
            topic_filter, {name: at(offset, self.end[name].epoch) for name, offset in offsets.items()}
        )

    def publish(self, stream: str, wanted: set[str]) -> None:
        end = self.end[stream] = at(self.end[stream].offset + 1, self.end[stream].epoch)
        for each in self.live:
            self.read[each][stream] = end.offset
        if wanted & self.live:
            for each in wanted & self.live:
                self.had[each][stream] = end.offset
            self.point.move(stream, end.offset)

    def replay(self, topic_filter: str, stream: str, wanted: set[str]) -> None:
        behind = self.read[topic_filter][stream] < self.end[stream].offset
        if topic_filter in self.live or not behind:
            return
        self.read[topic_filter][stream] += 1
        if topic_filter in wanted:
            self.had[topic_filter][stream] = self.read[topic_filter][stream]
            self.point.move_one(topic_filter, stream, self.had[topic_filter][stream])

    def catch_up(self, topic_filter: str) -> None:
        level = all(self.read[topic_filter][name] == end.offset for name, end in self.end.items())
        if level and topic_filter not in self.live:
            self.live.add(topic_filter)
            self.point.catch_up(topic_filter)

    def renew(self, stream: str) -> None:
        epoch = self.end[stream].epoch + "+"
        self.end[stream] = at(0, epoch)
        for each in self.read:
            self.read[each][stream] = self.had[each][stream] = 0
            self.point.renew(each, stream, at(0, epoch))

    def check(self) -> None:
        for each in self.read:
            positions = self.point.of(each)
            for stream, end in self.end.items():
                assert positions[stream].epoch == end.epoch
                assert self.had[each][stream] <= positions[stream].offset <= self.read[each][stream]


@given(st.data())
def test_nothing_is_missing_and_nothing_comes_twice_wherever_it_is_cut(
    data: st.DataObject,
) -> None:
    replaying = data.draw(st.sets(st.sampled_from(FILTERS)))
    world = World(ResumePoint(FILTERS, replaying=replaying), {name: at(4) for name in STREAMS})
    for each in FILTERS:
        world.begin(each, data.draw(st.integers(0, 4)), replaying=each in replaying)
        world.check()
    some = st.sets(st.sampled_from(FILTERS))
    for _ in range(data.draw(st.integers(0, 25))):
        stream, topic_filter = data.draw(st.sampled_from(STREAMS)), data.draw(st.sampled_from(FILTERS))
        match data.draw(st.sampled_from(["publish", "replay", "catch_up", "renew"])):
            case "publish":
                world.publish(stream, data.draw(some))
            case "replay":
                world.replay(topic_filter, stream, data.draw(some))
            case "catch_up":
                world.catch_up(topic_filter)
            case "renew":
                world.renew(stream)
        world.check()
