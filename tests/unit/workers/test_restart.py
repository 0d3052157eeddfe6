"""What is started again, after which wait, and when it is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.timing.backoff import Backoff
from gateway.workers.restart import ProcessSlot, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY = RestartPolicy(ends=4, backoff=Backoff(first_seconds=1.0, limit_seconds=3.0, stable_seconds=10.0))


def waits_after(lives: Sequence[float], policy: RestartPolicy = POLICY) -> list[float | None]:
    """How long the place stays empty after each of processes that lived so long."""
    now, waits = 100.0, []
    place = ProcessSlot("worker 1", policy, now=now)
    for pid, lived in enumerate(lives, start=1):
        place.fill(pid, now)
        now += lived
        place.vacate(now)
        waits.append(None if place.due_at is None else place.due_at - now)
        now = place.due_at or now
    return waits


def test_the_first_start_is_due_at_once() -> None:
    place = ProcessSlot("worker 1", POLICY, now=7.0)
    assert (place.due_at, place.pid, place.starts) == (7.0, None, 0)


def test_a_filled_place_is_not_due() -> None:
    place = ProcessSlot("worker 1", POLICY, now=7.0)
    place.fill(42, 8.0)
    assert (place.due_at, place.pid, place.starts) == (None, 42, 1)


def test_after_a_long_life_it_is_started_again_at_once() -> None:
    assert waits_after([10.0, 1000.0, 10.0, 10.0, 10.0, 10.0]) == [0.0] * 6


def test_after_short_lives_the_waits_grow_and_then_it_is_given_up() -> None:
    assert waits_after([0.0, 1.0, 9.9, 0.0]) == [0.0, 1.0, 2.0, None]


def test_a_long_life_in_between_begins_anew() -> None:
    assert waits_after([0.0, 0.0, 0.0, 10.0, 0.0, 0.0]) == [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]


def test_what_is_given_up_says_so() -> None:
    place = ProcessSlot("worker 1", POLICY, now=0.0)
    for pid in range(1, 5):
        assert not place.given_up
        place.fill(pid, 0.0)
        place.vacate(0.0)
    assert place.given_up
    assert (place.pid, place.due_at, place.starts) == (None, None, 4)


@given(st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_by_default_six_short_lives_are_all_there_are(lives: list[int]) -> None:
    assert waits_after(lives, RestartPolicy()) == [0.0, 0.25, 0.5, 1.0, 2.0, None]


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(2, 8))
def test_a_wait_is_bounded_and_only_short_lives_in_a_row_give_up(lives: list[int], most: int) -> None:
    policy = RestartPolicy(ends=most, backoff=POLICY.backoff)
    short = 0
    for life, wait in zip(lives, waits_after(lives, policy), strict=True):
        short = 1 if life >= 10 else short + 1
        assert (wait is None) == (short >= most)
        if wait is None:
            break
        assert 0 <= wait <= 3.0
