from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timing.timer_wheel import TimerWheel


def test_an_item_comes_out_once_and_not_early() -> None:
    wheel: TimerWheel[str] = TimerWheel(now=10.0)
    wheel.schedule("a", 12.5)
    assert wheel.turn(12.4) == []
    assert wheel.turn(13.0) == ["a"]
    assert wheel.turn(20.0) == []


def test_a_cancelled_item_does_not_come_out() -> None:
    wheel: TimerWheel[str] = TimerWheel(now=10.0)
    slot = wheel.schedule("a", 12.0)
    wheel.cancel("a", slot)
    wheel.cancel("a", slot)
    assert wheel.turn(100.0) == []


@given(st.lists(st.floats(0, 1000), unique=True), st.lists(st.floats(0, 2000)).map(sorted))
def test_everything_comes_out_within_a_second_of_a_turn(deadlines: list[float], turns: list[float]) -> None:
    wheel: TimerWheel[float] = TimerWheel(now=0.0)
    for deadline in deadlines:
        wheel.schedule(deadline, deadline)
    waiting = set(deadlines)
    for now in turns:
        due = wheel.turn(now)
        assert len(due) == len(set(due))
        assert all(deadline <= now for deadline in due)
        waiting -= set(due)
        assert all(deadline > now - 1 for deadline in waiting)
