"""What the probes are told."""

from __future__ import annotations

from gateway.observability.health import Health, Readiness
from gateway.supervision import Supervision


def started() -> Health:
    health = Health()
    health.started = True
    return health


def test_a_part_that_is_away_degrades() -> None:
    health = started()
    health.parts = {"redis": lambda: False, "store": lambda: True}
    assert health.readiness() == Readiness("degraded", ready=True, away=("redis",))


def test_with_a_task_that_only_fails_the_node_is_not_ready_and_with_one_given_up_not_alive() -> None:
    health, supervision = started(), Supervision()
    health.parts = {"redis": lambda: False}
    health.broken, health.given_up = (lambda: ("bus",)), supervision.given_up
    assert health.readiness() == Readiness("failing", ready=False, failing=("bus",))
    assert health.alive
    supervision.fatal("store", ZeroDivisionError())
    assert not health.alive
