"""The ring against a dictionary of moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.statistics.ring import Ring

SLOTS = 5
VALUES = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 9) | st.just(0.5), max_size=3)


@given(st.lists(st.tuples(st.integers(1, 7), VALUES), max_size=20))
def test_it_tells_of_the_last_moments_what_was_given(steps) -> None:
    ring: Ring[str] = Ring(SLOTS)
    model: dict[int, dict[str, float | None]] = {}
    moment = 1000
    for step, values in steps:
        moment += step
        assert ring.add(moment, values)
        model[moment] = values
        wanted = range(moment - SLOTS + 1, moment + 1)
        columns = ring.columns(wanted)
        assert ring.end == moment
        for name in "abc":
            truth = [model.get(each, {}).get(name) for each in wanted]
            assert columns.get(name, [None] * SLOTS) == truth
        assert len(ring) == len(ring.moments(SLOTS)) <= SLOTS
        assert ring.at(moment) == {name: values.get(name) for name in columns}


def test_moments_that_are_not_kept_are_empty() -> None:
    ring: Ring[str] = Ring(SLOTS)
    assert ring.moments(3) == range(0)
    assert ring.columns(range(3)) == {}
    ring.add(10, {"a": 1})
    assert ring.columns(range(7, 14)) == {"a": [None, None, None, 1, None, None, None]}
    assert ring.columns(range(20, 23)) == {"a": [None] * 3}
    assert ring.columns(range(2, 5)) == {"a": [None] * 3}


def test_a_figure_that_nobody_tells_any_more_is_let_go() -> None:
    ring: Ring[str] = Ring(SLOTS, names=2)
    ring.add(1, {"a": 1, "b": 2, "c": 3})
    assert set(ring.at(1)) == {"a", "b"}
    for moment in range(2, 2 + SLOTS):
        ring.add(moment, {"a": 1})
    assert set(ring.at(6)) == {"a"}
    ring.add(7, {"c": 3})
    assert set(ring.at(7)) == {"a", "c"}


def test_a_clock_that_goes_back_a_little_is_waited_for_and_one_that_goes_back_far_begins_anew() -> None:
    ring: Ring[str] = Ring(SLOTS)
    ring.add(100, {"a": 1})
    assert not ring.add(100, {"a": 2})
    assert not ring.add(98, {"a": 2})
    assert ring.at(100) == {"a": 1}
    assert ring.add(50, {"a": 3})
    assert ring.moments(SLOTS) == range(50, 51)
    assert ring.add(500, {"a": 4})
    assert ring.moments(SLOTS) == range(500, 501)


def test_moments_that_come_again_are_told_anew_and_those_before_stay() -> None:
    ring: Ring[str] = Ring(20)
    for moment in range(100, 130):
        assert ring.add(moment, {"a": moment, "b": 1})
    assert ring.add(118, {"a": 7})
    assert ring.end == 118
    assert ring.moments(20) == range(110, 119)
    assert ring.columns(range(116, 121)) == {
        "a": [116, 117, 7, None, None],
        "b": [1, 1, None, None, None],
    }
    assert ring.add(121, {"a": 8})
    assert ring.columns(range(117, 122))["a"] == [117, 7, None, None, 8]
    assert ring.add(110, {"a": 9})
    assert ring.moments(20) == range(110, 111)
