"""What publishers were told is never taken back, and what is in doubt is never sent again."""

from __future__ import annotations

import pytest

from gateway.redis.batch_state import FINAL, TRANSITIONS, BatchState


def test_every_state_has_its_row() -> None:
    assert TRANSITIONS.keys() == set(BatchState)


def test_nothing_follows_on_an_answer() -> None:
    assert all(not TRANSITIONS[state] for state in FINAL)


def test_every_other_state_leads_to_an_answer() -> None:
    assert all(TRANSITIONS[state] & FINAL for state in set(BatchState) - FINAL)


def test_only_what_was_sent_is_kept() -> None:
    assert [state for state in BatchState if BatchState.KEPT in TRANSITIONS[state]] == [BatchState.IN_FLIGHT]


def test_a_batch_takes_more_only_before_it_is_sent() -> None:
    assert not any(BatchState.QUEUED in following for following in TRANSITIONS.values())


def test_what_comes_back_goes_again() -> None:
    state = BatchState.QUEUED
    for following in (BatchState.IN_FLIGHT, BatchState.RETURNED, BatchState.IN_FLIGHT, BatchState.KEPT):
        state = state.to(following)
    assert state is BatchState.KEPT


@pytest.mark.parametrize(
    ("state", "following"),
    [
        (BatchState.UNKNOWN, BatchState.IN_FLIGHT),
        (BatchState.KEPT, BatchState.UNKNOWN),
        (BatchState.QUEUED, BatchState.RETURNED),
    ],
)
def test_other_steps_are_defects(state: BatchState, following: BatchState) -> None:
    with pytest.raises(AssertionError, match=following.value):
        state.to(following)
