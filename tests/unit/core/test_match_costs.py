"""What one publish and one command cost at worst, in operations: no shape of filters makes them expensive."""

from __future__ import annotations

import pytest

from benchmarks.hostile_shapes import BOUNDS, SHAPES, measure
from gateway.core.fanout import targets as targets_module
from gateway.core.fanout.limits import HubLimits


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_makes_a_publish_or_a_command_expensive(name):
    most = measure(name, filters=5000, topics=3000, rounds=60)
    assert {each: figure for each, figure in most.items() if figure > BOUNDS[each]} == {}


def test_what_is_remembered_is_bounded_in_bytes():
    bound = 4 << 20
    most = measure(
        "each topic matches other 500 filters",
        filters=1000,
        topics=1500,
        rounds=1,
        limits=HubLimits(match_cache_bytes=bound),
    )
    assert bound * 0.8 < most["cache_bytes"] <= bound


def test_the_shapes_are_expensive_where_nothing_bounds_them(monkeypatch):
    monkeypatch.setattr(targets_module, "_PORTION", 1 << 30)
    unbounded = HubLimits(filter_shapes=1 << 30, shapes=1 << 30)
    most = measure("wildcards anywhere in 32 levels", filters=2000, topics=10, rounds=10, limits=unbounded)
    assert most["publish_visited"] > 4 * BOUNDS["publish_visited"]
    most = measure("each topic matches other 500 filters", filters=1000, topics=300, rounds=10)
    assert most["command_links"] > 4 * BOUNDS["command_links"]
