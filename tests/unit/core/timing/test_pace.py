"""Steps become smaller where they take long, and larger where they don't, within their bounds."""

from __future__ import annotations

from gateway.core.timing.pace import Pace


def sizes(pace: Pace, *seconds: float) -> list[int]:
    found = []
    for each in seconds:
        pace.took(each)
        found.append(pace.size)
    return found


def test_a_step_that_took_too_long_is_followed_by_a_smaller_one() -> None:
    assert sizes(Pace(100, least=20, most=500, seconds=0.02), 0.03, 0.03, 0.5, 9.0) == [50, 25, 20, 20]


def test_one_that_was_quick_by_a_larger_one() -> None:
    assert sizes(Pace(100, least=20, most=500, seconds=0.02), 0.001, 0.001, 0.001, 0.001) == [
        200,
        400,
        500,
        500,
    ]


def test_one_that_took_about_its_time_by_the_same() -> None:
    assert sizes(Pace(100, least=20, most=500, seconds=0.02), 0.02, 0.006, 0.01) == [100, 100, 100]
