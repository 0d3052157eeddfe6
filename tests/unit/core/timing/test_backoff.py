from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timing.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_limit() -> None:
    backoff = Backoff()
    assert [backoff.ceiling(n) for n in (1, 2, 3, 7, 8, 9)] == [0.25, 0.5, 1.0, 16.0, 30.0, 30.0]
    assert backoff.ceiling(10**9) == 30.0


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), st.floats(0, 600))
def test_a_wait_is_anywhere_below_the_ceiling(failures: int, random: float, asked: float) -> None:
    backoff = Backoff(random=lambda: random)
    assert asked <= backoff.wait(failures, at_least=asked) <= asked + backoff.ceiling(failures)


def test_only_a_stable_connection_starts_again() -> None:
    backoff = Backoff(stable_seconds=5.0)
    assert backoff.failures(7, lived_seconds=4.9) == 8
    assert backoff.failures(7, lived_seconds=5.0) == 1
    assert backoff.failures(0, lived_seconds=0.0) == 1
