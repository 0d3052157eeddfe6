from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timing.due_times import DueTimes

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 50)),
        st.tuples(st.just("end"), st.integers(0, 20)),
        st.tuples(st.just("take"), st.integers(0, 60)),
    )
)


@given(STEPS)
def test_what_holds_is_taken_when_it_is_due_the_first_first(steps: list[tuple[str, int]]) -> None:
    naive: dict[int, int] = {}
    times = DueTimes[int](lambda due, what: naive.get(what) == due)
    for number, (step, value) in enumerate(steps):
        if step == "add":
            times.add(value, number)
            naive[number] = value
        elif step == "end":
            naive.pop(value, None)
        else:
            taken = []
            while (what := times.take(value)) is not None:
                taken.append(naive.pop(what))
            assert taken == sorted(taken)
            assert not [due for due in naive.values() if due <= value]
            assert not taken or taken[-1] <= value
        assert times.next == min(naive.values(), default=None)


def test_what_does_not_hold_any_more_goes_once_it_is_the_first() -> None:
    held = set[int]()
    times = DueTimes[int](lambda _, what: what in held)
    for number in range(1_000):
        held.add(number)
        times.add(number + 1_000, number)
        held.discard(number - 10)
        assert times.take(number) is None
        assert len(times) <= 11
