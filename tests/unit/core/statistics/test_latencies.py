"""Percentiles out of buckets: never less than the truth, and at most a fifth more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.statistics.latencies import Latencies, percentile, since

SECONDS = st.floats(0, 100)


def counted(*seconds: float) -> Latencies:
    latencies = Latencies()
    for each in seconds:
        latencies.note(each)
    return latencies


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile(Latencies().counts, 0.5) is None


@given(st.lists(SECONDS, min_size=1, max_size=50), st.integers(1, 100))
def test_a_percentile_is_at_most_a_fifth_more_than_the_truth(seconds: list[float], percent: int) -> None:
    told = percentile(counted(*seconds).counts, percent / 100)
    truth = sorted(seconds)[-(-len(seconds) * percent // 100) - 1]
    assert told is not None
    assert truth <= told * (1 + 1e-9)
    assert told <= max(1e-5, truth * 2**0.25) * (1 + 1e-9)


def test_what_takes_for_ever_is_in_the_last_bucket() -> None:
    assert counted(1e9).counts[-1] == 1


@given(st.lists(SECONDS, max_size=20), st.lists(SECONDS, max_size=20))
def test_what_was_counted_between_two_looks(before: list[float], later: list[float]) -> None:
    latencies = counted(*before)
    first = list(latencies.counts)
    for each in later:
        latencies.note(each)
    assert since(first, latencies.counts) == counted(*later).counts
