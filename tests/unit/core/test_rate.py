from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.rate import RateLimit


def test_a_burst_passes_then_the_rate_holds() -> None:
    limit = RateLimit(10, 3, now=0.0)
    assert [limit.allow(0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allow(0.1)
    assert not limit.allow(0.1)


@given(st.lists(st.floats(0, 0.5), max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate_allow(pauses: list[float], per_second: int, burst: int) -> None:
    limit = RateLimit(per_second, burst, now=0.0)
    now, allowed = 0.0, 0
    for pause in pauses:
        now += pause
        allowed += limit.allow(now)
        assert allowed <= burst + now * per_second + 1e-6
