"""The bounds of stores fit each other, or a store would refuse, time out or give up by itself."""

from __future__ import annotations

from dataclasses import fields

import pytest

from gateway.streams.limits import RedisStoreLimits, StoreLimits


def test_a_transaction_has_room_for_no_more_than_may_wait() -> None:
    limits = StoreLimits()
    assert limits.transaction_messages <= limits.waiting_messages
    assert limits.transaction_bytes <= limits.waiting_bytes


def test_silence_is_longer_than_the_beats_of_a_connection_that_has_nothing_to_do() -> None:
    limits = RedisStoreLimits()
    assert limits.beat + limits.timeout <= limits.silence
    assert limits.tidy <= limits.look


def test_a_store_here_and_one_in_redis_take_as_much_and_as_long() -> None:
    here, redis = StoreLimits(), RedisStoreLimits()
    shared = {field.name for field in fields(here)} & {field.name for field in fields(redis)}
    assert shared == {"timeout", "waiting_messages", "waiting_bytes", "topics_per_read"}
    assert all(getattr(here, name) == getattr(redis, name) for name in shared)


@pytest.mark.parametrize("limits", [StoreLimits(), RedisStoreLimits()])
def test_every_bound_but_the_number_of_replicas_leaves_room(limits: StoreLimits | RedisStoreLimits) -> None:
    assert [field.name for field in fields(limits) if getattr(limits, field.name) <= 0] in ([], ["replicas"])
