"""A sign of life through a real pipe, on a clock of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.workers.pulse import LOOK_SECONDS, Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_START = 30


@pytest.fixture
def pulse() -> Iterator[Pulse]:
    pulse = Pulse(seconds=5, now=0)
    yield pulse
    pulse.close()


def looks_until_stopped(pulse: Pulse, now: float) -> int:
    for look in range(1, 100):
        if pulse.stopped(now + look * LOOK_SECONDS):
            return look
    pytest.fail("never")


def test_what_beats_lives(pulse: Pulse) -> None:
    for now in range(1, 200):
        pulse.beat()
        assert not pulse.stopped(now)


def test_what_has_begun_and_falls_silent_has_stopped_after_its_time(pulse: Pulse) -> None:
    pulse.beat()
    assert not pulse.stopped(1)
    assert looks_until_stopped(pulse, 1) == 5


def test_one_beat_begins_the_time_anew(pulse: Pulse) -> None:
    pulse.beat()
    for now in range(1, 5):
        assert not pulse.stopped(now)
    pulse.beat()
    assert not pulse.stopped(5)
    assert looks_until_stopped(pulse, 5) == 5


def test_a_start_may_take_longer_but_not_for_ever(pulse: Pulse) -> None:
    assert looks_until_stopped(pulse, 0) == LONGEST_START + 5


def test_a_parent_that_was_frozen_does_not_blame_its_child(pulse: Pulse) -> None:
    pulse.beat()
    assert not pulse.stopped(1)
    assert not pulse.stopped(1_000_000)
    pulse.beat()
    assert not pulse.stopped(1_000_001)


def test_a_child_never_waits_for_a_parent_that_does_not_look(pulse: Pulse) -> None:
    for _ in range(200_000):
        pulse.beat()
    assert not pulse.stopped(1)


def test_beats_of_a_long_time_are_no_store_of_life(pulse: Pulse) -> None:
    """What was said while the parent did not look counts once, not once per look."""
    for _ in range(10_000):
        pulse.beat()
    assert not pulse.stopped(1)
    assert looks_until_stopped(pulse, 1) == 5


def test_a_child_whose_parent_has_gone_goes_on(pulse: Pulse) -> None:
    other = Pulse(seconds=5, now=0)
    other.close()
    other.beat()
