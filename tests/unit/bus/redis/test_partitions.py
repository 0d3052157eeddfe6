"""Every topic that a filter matches is in a partition that the filter hears."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.redis.partitions import CONTROL_PARTITIONS, partition_of, partitions_of
from gateway.core.cluster.control import ALL_NODES, topic_of
from gateway.core.topics.grammar import matches

LEVELS = st.sampled_from(["", "a", "b", "$a", "é"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=3).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(LEVELS | st.just("+"), min_size=1, max_size=3), st.sampled_from(["", "/#"]))
    .map(lambda parts: "/".join(parts[0]) + parts[1])
    .filter(bool)
) | st.just("#")


@given(TOPICS, FILTERS, st.integers(1, 100))
def test_what_matches_is_heard(topic: str, topic_filter: str, count: int) -> None:
    number = partition_of(topic, count)
    assert 0 <= number < count
    if matches(topic_filter, topic):
        assert number in partitions_of(topic_filter, count)


def test_the_hash_stays_what_it_is() -> None:
    """Nodes of different versions share a Redis while a new one is rolled out."""
    assert [partition_of(topic, 64) for topic in ("orders/1", "orders", "", "é/x")] == EXPECTED
    assert partitions_of("orders/#", 64) == range(EXPECTED[0], EXPECTED[0] + 1)
    assert partitions_of("+/x", 64) == partitions_of("#", 64) == range(64)


@given(st.text("0123456789abcdef", min_size=1), st.integers(1, 100))
def test_what_nodes_tell_each_other_is_in_no_partition_of_clients(node: str, count: int) -> None:
    own = partition_of(topic_of(node), count)
    assert partition_of(ALL_NODES, count) == count < own < count + CONTROL_PARTITIONS
    assert list(partitions_of(topic_of(node), count)) == [own]
    assert list(partitions_of(ALL_NODES, count)) == [count]


EXPECTED = [46, 46, 0, 62]
