"""What all bodies hold together, counted."""

from __future__ import annotations

from gateway.http_api.body_budget import BodyBudget


async def test_a_body_that_had_to_give_way_is_not_counted_again() -> None:
    budget = BodyBudget(100)
    with budget.begin() as old, budget.begin() as young:
        old.grow(60)
        young.grow(60)
        assert old.evicted
        # Its reader has another piece before it is told that nobody wants it.
        old.grow(10)
        assert budget.bytes == 60
    assert budget.bytes == 0
