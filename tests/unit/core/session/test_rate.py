from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.session.rate import KeyedRates, RateLimit


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


def test_what_costs_more_than_the_burst_passes_when_the_bucket_is_full() -> None:
    rate = RateLimit(10, 50, now=0.0)
    assert rate.allow(0.0, 1000)
    assert not rate.allow(94.0)
    assert rate.allow(95.2)


def test_keys_have_rates_of_their_own() -> None:
    rates: KeyedRates[str] = KeyedRates(1, 2)
    assert [rates.allow("a", 0.0) for _ in range(3)] == [True, True, False]
    assert rates.allow("b", 0.0)


def test_the_key_seen_longest_ago_is_forgotten() -> None:
    rates: KeyedRates[str] = KeyedRates(1, 1, keys=2)
    assert all(rates.allow(key, 0.0) for key in "ab")
    assert not rates.allow("a", 0.0)
    assert rates.allow("c", 0.0)
    assert len(rates) == 2
    assert not rates.allow("a", 0.0)
    assert rates.allow("b", 0.0)


def test_no_rate_keeps_nothing() -> None:
    rates: KeyedRates[int] = KeyedRates(0, 0)
    assert all(rates.allow(key, 0.0) for key in range(100))
    assert len(rates) == 0
