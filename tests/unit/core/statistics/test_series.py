"""What several nodes are together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.statistics.series import COUNTED, NAMES, Seconds, merged

VALUES = st.lists(st.none() | st.integers(0, 9), min_size=4, max_size=4)


def test_every_figure_has_one_name() -> None:
    assert len(NAMES) == len(set(NAMES))


@given(st.lists(st.tuples(st.integers(-3, 6), VALUES), max_size=4))
def test_counts_are_added_second_by_second(told) -> None:
    nodes = [Seconds(first, {"deliveries": values}) for first, values in told]
    together = merged(nodes, range(5)).get("deliveries", [None] * 5)
    for second in range(5):
        known = [
            values[second - first]
            for first, values in told
            if 0 <= second - first < 4 and values[second - first] is not None
        ]
        assert together[second] == (sum(known) if known else None)


def test_the_worst_counts_where_a_sum_would_mean_nothing() -> None:
    one = Seconds(0, {"lag_ms": [1], "fanout_p99_ms": [5], "bus_connected": [1], "cpu": [1], "behind": [1]})
    other = Seconds(
        0, {"lag_ms": [3], "fanout_p99_ms": [2], "bus_connected": [0], "cpu": [0.2], "behind": [2]}
    )
    assert merged([one, other], range(1)) == {
        "behind": [3],
        "lag_ms": [3],
        "cpu": [1],
        "bus_connected": [0],
        "fanout_p99_ms": [5],
    }


def test_a_figure_that_no_node_of_this_version_has_is_passed_over() -> None:
    assert merged([Seconds(0, {"of_tomorrow": [1]})], range(1)) == {}
    assert "of_tomorrow" not in COUNTED
