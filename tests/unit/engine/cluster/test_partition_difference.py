"""Nodes that divide topics otherwise are told of, to operators and to subscribers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.core.cluster.info import NodeInfo
from gateway.engine.cluster.partition_difference import GAP_SECONDS, PartitionDifference

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def node(name: str, partitions: int) -> NodeInfo:
    return NodeInfo(name, "host", "1.0", 0, 0, 0, partitions=partitions)


def test_nodes_that_agree_or_tell_nothing_are_no_problem() -> None:
    difference = PartitionDifference(64)
    difference.announce = unexpected
    difference.compare([node("a", 64), node("b", 0)], 0.0)
    assert difference.problem is None


def test_a_difference_is_logged_once_and_told_to_subscribers_while_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.cluster")
    difference = PartitionDifference(64)
    told: list[float] = []
    now = 0.0

    def announce(affects: Callable[[str], bool], dropped: int | None) -> None:
        assert (affects("a/#"), dropped) == (True, None)
        told.append(now)

    difference.announce = announce
    while now <= GAP_SECONDS:
        difference.compare([node("a", 64), node("b", 32)], now)
        now += 2.0
    assert difference.problem == "nodes whose redis.partitions is not this node's 64: b"
    difference.compare([node("a", 64)], now)
    difference.compare([node("a", 64)], now + 2)
    assert told == [0.0, GAP_SECONDS, GAP_SECONDS + 2]
    assert difference.problem is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def unexpected(affects: Callable[[str], bool], dropped: int | None) -> None:
    raise AssertionError("nothing was lost")
