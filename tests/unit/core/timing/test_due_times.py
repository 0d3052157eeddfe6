from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timing.due_times import DueTimes


@given(st.lists(st.one_of(st.integers(0, 50), st.none())))
def test_what_is_first_is_what_is_due_first(steps: list[int | None]) -> None:
    times, naive = DueTimes[int](), list[int]()
    for number, due in enumerate(steps):
        if due is not None:
            times.add(due, number)
            naive.append(due)
        elif naive:
            times.pop()
            naive.remove(min(naive))
        assert len(times) == len(naive)
        first = times.first
        assert (None if first is None else first[0]) == min(naive, default=None)
        assert first is None or steps[first[1]] == first[0]
