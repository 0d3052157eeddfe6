"""The newest publications in memory, against a plain list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.recent import Kept, Recent, Surplus, TailWindow, surplus
from tests.unit.core.streaming import captured

steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 30), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("bound"), st.integers(0, 60), st.integers(0, 300)),
    ),
    max_size=40,
)


def publication(offset: int) -> Publication:
    return Publication("a", f"m{offset}", offset // 3, b"1", None, None, None, None, "s", offset)


@given(st.integers(0, 100), steps)
def test_it_holds_what_a_list_would(begin: int, steps: list[tuple[str, int, int]]) -> None:
    recent = Recent(begin)
    model: list[tuple[int, int]] = []
    last = begin
    for step, one, other in steps:
        if step == "push":
            for _ in range(one):
                last += 1
                recent.push(publication(last), other)
                model.append((last, other))
        elif step == "drop":
            recent.drop(one)
            del model[:one]
        else:
            recent.bound(one, other)
            while len(model) > one or sum(size for _, size in model) > other:
                del model[0]
    first = model[0][0] if model else last + 1
    assert (len(recent), recent.first, recent.last) == (len(model), first, last)
    assert recent.bytes == sum(size for _, size in model)
    assert list(recent.oldest()) == [Kept(size, offset // 3) for offset, size in model]
    assert recent.times() == ((first // 3, last // 3) if model else None)
    assert recent.after(first - 2, 10, 100) is None
    for after in range(first - 1, last + 1):
        held = recent.after(after, 10, 20)
        assert held is not None
        offsets = [each.offset for each in held]
        assert offsets == list(range(after + 1, after + 1 + len(held)))
        sizes = [size for offset, size in model if offset > after]
        assert len(held) <= 10
        assert held or after == last
        assert len(held) == 1 or sum(sizes[: len(held)]) <= 20
        assert (
            len(held) in (10, last - after)
            or sum(sizes[: len(held) + 1]) > 20
            or sum(sizes[: len(held)]) == 20
        )


sparse_steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 30)),
        st.tuples(st.sampled_from(["drop", "drop_before", "bound"]), st.integers(0, 60)),
        st.tuples(st.just("remove"), st.sets(st.integers(1, 120), min_size=1)),
    ),
    max_size=30,
)


@given(sparse_steps)
def test_what_is_taken_out_is_passed(steps: list[tuple[str, Any]]) -> None:
    recent = Recent()
    model: list[int] = []
    first = 1
    for step, value in steps:
        if step == "push":
            for _ in range(value):
                recent.push(publication(recent.last + 1), recent.last % 7)
                model.append(recent.last)
        elif step == "remove":
            removed = recent.remove(sorted(value))
            assert [each.offset for each in removed] == [each for each in model if each in value]
            model = [each for each in model if each not in value]
        elif step == "drop_before":
            recent.drop_before(value)
            first = max(first, min(value, recent.last + 1))
            model = [each for each in model if each >= value]
        else:
            gone = value if step == "drop" else max(0, len(model) - value)
            if step == "drop":
                assert [each.offset for each in recent.drop(value)] == model[:gone]
            else:
                recent.bound(value, 10**6)
            first = max([first, *(each + 1 for each in model[:gone])])
            model = model[gone:]
    assert (len(recent), recent.first) == (len(model), first)
    assert recent.bytes == sum((each - 1) % 7 for each in model)
    for each in model:
        found, size = recent.get(each)
        assert (found.offset, size) == (each, (each - 1) % 7)
    for after in range(first - 1, recent.last + 1):
        held = recent.after(after, 5, 10**6)
        assert held is not None
        assert [each.offset for each in held] == [each for each in model if each > after][:5]
    assert recent.after(first - 2, 5, 10) is None
    for time in range(recent.last // 3 + 2):
        later = [each for each in model if each // 3 >= time]
        assert recent.before(time) == (later[0] - 1 if later else recent.last)


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 25))
def test_a_time_is_found(times: list[int], time: int) -> None:
    recent = Recent(5)
    for number, each in enumerate(sorted(times)):
        recent.push(Publication("a", f"m{number}", each, offset=6 + number), 1)
    recent.drop(3)
    later = [each for each in sorted(times)[3:] if each >= time]
    assert recent.before(time) == recent.last - len(later)


def test_what_left_does_not_stay_in_memory() -> None:
    recent = Recent()
    for offset in range(1, 10_001):
        recent.push(publication(offset), 1)
        recent.bound(100, 1000)
    assert len(recent._publications) < 300


def test_a_window_only_takes_what_follows() -> None:
    window = TailWindow("s", "e1", 4)
    with pytest.raises(ValueError, match="6"):
        window.push(captured(6))
    window.push(captured(5))
    assert (window.last, window.held_after) == (5, 4)


def test_what_is_not_held_is_the_stores_to_give() -> None:
    window = TailWindow("s", "e1", 10)
    for offset in (11, 12, 13):
        window.push(captured(offset))
    assert window.after(9, 5) is None
    assert [each.offset for each in window.after(11, 5) or ()] == [12, 13]
    assert window.after(13, 5) == window.after(20, 5) == []


def test_a_restart_holds_nothing_and_remembers_the_epoch_that_ended() -> None:
    window = TailWindow("s", "e1", 0)
    window.push(captured(1))
    window.restart("e2", 7, first=3)
    assert (window.epoch, window.first, window.last, len(window)) == ("e2", 3, 7, 0)
    assert window.former == {"e1": None}
    assert window.goes_on(Position("e1", 5)) == Position("e2", 2)
    assert window.after(6, 1) is None
    window.restart("e2", 9, first=9)
    assert window.former == {"e1": None}


def test_a_life_that_parts_keeps_what_both_hold() -> None:
    window = TailWindow("s", "e1", 2)
    for offset in range(3, 9):
        window.push(captured(offset))
    size = window._recent.bytes
    window.part("e2", 6, first=1)
    assert [each.offset for each in window.after(2, 9) or ()] == [3, 4, 5, 6]
    assert (window.epoch, window.last, window._recent.bytes) == ("e2", 6, size * 4 // 6)
    window.push(captured(7))
    assert [window.goes_on(Position("e1", offset)).offset for offset in (1, 6, 8)] == [1, 6, 6]


def test_lives_share_no_more_than_those_between_them() -> None:
    window = TailWindow("s", "e1", 0)
    for offset in range(1, 9):
        window.push(captured(offset))
    for epoch, shared in (("e2", 5), ("e3", 5), ("e4", 3)):
        window.part(epoch, shared, first=1)
    assert window.former == {"e1": 3, "e2": 3, "e3": 3}
    window.restart("e5", 1, first=1)
    assert window.former == {"e1": None, "e2": None, "e3": None, "e4": None}
    # One that comes back is no former life any more.
    window.restart("e2", 1, first=1)
    assert "e2" not in window.former


def test_the_former_lives_remembered_are_bounded() -> None:
    window = TailWindow("s", "0", 0)
    for number in range(1, 100):
        window.part(str(number), 0, first=1)
    assert list(window.former) == [str(number) for number in range(83, 99)]


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=300),
    st.integers(1, 40),
    st.integers(500, 20_000),
    st.integers(1, 50),
)
def test_a_window_is_the_end_of_the_list_within_its_bounds(
    sizes: list[int], messages: int, size: int, limit: int
) -> None:
    window = TailWindow("s", "e1", 0, messages=messages, size=size)
    everything = [captured(offset, data=b"x" * count) for offset, count in enumerate(sizes, start=1)]
    for publication in everything:
        window.push(publication)
        assert 1 <= len(window) <= messages
        assert len(window) == 1 or window._recent.bytes <= size
        # The dead front is bounded too.
        assert len(window._recent._publications) <= max(64, len(window)) + len(window) + 1
    for offset in range(len(sizes) + 1):
        held = window.after(offset, limit)
        if offset < window.held_after:
            assert held is None
        else:
            assert list(held or ()) == everything[offset : offset + limit]


logs = st.lists(st.builds(Kept, st.integers(0, 50), st.integers(0, 5000)), max_size=30).map(
    lambda kept: sorted(kept, key=lambda each: each.time)
)


@given(logs, st.integers(1, 20), st.integers(1, 300), st.integers(0, 4), st.integers(5000, 8000))
def test_only_what_must_go_goes(kept: list[Kept], messages: int, size: int, age: int, now: int) -> None:
    limits = StreamConfiguration("s", "#", max_messages=messages, max_bytes=size, max_age=age)
    total = sum(each.size for each in kept)
    gone = surplus(limits, kept, messages=len(kept), size=total, now=now)

    left = list(kept)
    while left and (
        now - left[0].time > age * 1000
        or (len(left) > 1 and (len(left) > messages or sum(each.size for each in left) > size))
    ):
        del left[0]
    assert gone == Surplus(len(kept) - len(left), total - sum(each.size for each in left))


def test_no_more_is_looked_at_than_goes_and_one() -> None:
    limits = StreamConfiguration("s", "#", max_messages=8)
    looked_at = []

    def oldest():
        for number in range(10):
            looked_at.append(number)
            yield Kept(1, 0)

    assert surplus(limits, oldest(), messages=10, size=10, now=0) == Surplus(2, 2)
    assert looked_at == [0, 1, 2]


def test_the_newest_goes_for_its_age_alone() -> None:
    small = StreamConfiguration("s", "#", max_messages=1, max_bytes=1, max_age=1)
    assert surplus(small, [Kept(100, 0)], messages=1, size=100, now=1000) == Surplus(0, 0)
    assert surplus(small, [Kept(100, 0)], messages=1, size=100, now=1001) == Surplus(1, 100)
