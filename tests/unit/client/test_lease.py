"""How long a delivery is surely its member's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from gateway.client.lease import ClientLease

pytestmark = pytest.mark.anyio


def connection() -> Any:
    return SimpleNamespace(ended=anyio.Event())


async def test_a_lease_is_counted_from_when_it_came_or_was_extended() -> None:
    lease = ClientLease("t", ("s", "g"), 30.0, now=100.0, connection=connection())
    assert (lease.ends, lease.extend_at, lease.ages_at()) == (130.0, 110.0, 115.0)
    assert lease.fresh(107.0)
    assert not lease.fresh(108.0)
    lease.confirm(120.0, connection(), seconds=5.0)
    assert (lease.ends, lease.extend_at) == (125.0, 130.0)


async def test_a_lease_is_extended_sooner_where_the_gateway_says_that_it_ends_sooner() -> None:
    lease = ClientLease("t", ("s", "g"), 30.0, now=100.0, connection=connection(), left=3.0)
    assert (lease.ends, lease.extend_at, lease.ages_at()) == (130.0, 101.0, 115.0)
    assert lease.fresh(100.5)
    assert not lease.fresh(101.0)
    lease.confirm(101.0, connection())
    assert (lease.ends, lease.extend_at) == (131.0, 111.0)
    assert lease.fresh(108.0)
    past = ClientLease("t", ("s", "g"), 30.0, now=100.0, connection=connection(), left=-600.0)
    assert (past.ends, past.extend_at) == (130.0, 100.0)


async def test_a_lease_is_doubtful_once_its_connection_has_ended_until_it_is_confirmed_on_another() -> None:
    first, second = connection(), connection()
    lease = ClientLease("t", ("s", "g"), 30.0, now=100.0, connection=first)
    first.ended.set()
    assert lease.doubtful()
    assert not lease.fresh(101.0)
    lease.confirm(101.0, second)
    assert not lease.doubtful()
    assert lease.fresh(102.0)


async def test_whoever_watches_is_told_once_that_it_is_lost() -> None:
    lease = ClientLease("t", ("s", "g"), 30.0, now=100.0, connection=connection())
    told: list[str] = []
    lease.on_lost(lambda: told.append("before"))
    lease.lose()
    lease.lose()
    lease.on_lost(lambda: told.append("after"))
    assert (lease.lost, told) == (True, ["before", "after"])
    assert not lease.fresh(100.0)
