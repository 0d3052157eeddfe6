from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timing.steady_time import SteadyTime


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(-(10**9), 10**9)), max_size=30))
def test_time_passes_as_fast_as_it_does_whatever_is_done_to_the_clock(steps: list[tuple[int, int]]) -> None:
    """Each step: milliseconds that pass, and by how many the clock is set in between."""
    monotonic, wall = 5_000, 10**12
    time = SteadyTime(lambda: wall * 1_000_000, lambda: monotonic / 1000)
    before = time.milliseconds()
    for passed, set_by in steps:
        monotonic += passed
        wall += passed + set_by
        now = time.milliseconds()
        # Forward it follows the clock; a millisecond is what rounding may cost.
        assert before + passed - 1 <= now <= max(before + passed, wall) + 1
        assert now >= wall - 1
        before = now
