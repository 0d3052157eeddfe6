"""Timeouts of one length: any history expires as a timer each would."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.runtime.timeout_queue import TimeoutQueue
from tests.unit.clock_loop import ClockLoop


def make(seconds: float = 10) -> tuple[Any, TimeoutQueue, list[str]]:
    loop: Any = ClockLoop()
    return loop, TimeoutQueue(loop, seconds), []


def test_a_deadline_calls_once_when_its_time_is_over() -> None:
    loop, deadlines, expired = make()
    deadlines.start("a", lambda: expired.append("a"))

    loop.pass_time(9)
    assert expired == []
    loop.pass_time(1)
    loop.pass_time(20)
    assert expired == ["a"]
    assert "a" not in deadlines


def test_a_stopped_deadline_does_not_call() -> None:
    loop, deadlines, expired = make()
    deadlines.start("a", lambda: expired.append("a"))
    deadlines.start("b", lambda: expired.append("b"))
    deadlines.stop("a")
    deadlines.stop("never started")

    loop.pass_time(30)

    assert expired == ["b"]


def test_a_deadline_started_anew_begins_again() -> None:
    loop, deadlines, expired = make()
    deadlines.start("a", lambda: expired.append("old"))
    loop.pass_time(6)
    deadlines.start("a", lambda: expired.append("new"))

    loop.pass_time(6)
    assert expired == []
    loop.pass_time(4)
    assert expired == ["new"]


@given(st.lists(st.tuples(st.sampled_from(["start", "stop", "wait"]), st.integers(0, 5)), max_size=60))
def test_any_history_expires_as_a_timer_each_would_and_holds_one_timer(history: list) -> None:
    loop, deadlines, expired = make(3)
    due: dict[int, float] = {}
    expected: list[int] = []

    for what, number in history:
        if what == "start":
            deadlines.start(number, lambda number=number: expired.append(number))
            due.pop(number, None)
            due[number] = loop.now + 3
        elif what == "stop":
            deadlines.stop(number)
            due.pop(number, None)
        else:
            loop.pass_time(number)
            late = [owner for owner, when in due.items() if when <= loop.now]
            expected += late
            for owner in late:
                del due[owner]
        assert expired == expected
        assert len(deadlines) == len(due)
        assert len(loop.timers) <= 1
