"""Builds the use cases of ``engine/`` that the settings bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.app import arguments
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.core.session.rate import KeyedRates
from gateway.engine.cluster.peers import NoPeers
from gateway.engine.publishing import PublishService, Receipt
from gateway.engine.runtime.upkeep import Upkeep
from gateway.engine.subjects import SubjectChanges
from gateway.engine.subscribing import SubscribeService

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.app.surroundings import NodeClock
    from gateway.bus.base import Bus
    from gateway.core.fanout.hub import Hub
    from gateway.engine.appending import Appender
    from gateway.engine.cluster.node import Cluster
    from gateway.engine.consuming import ConsumeService
    from gateway.engine.delivery import DeliveryService
    from gateway.engine.following.following import Following
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.sessions import Sessions
    from gateway.observability.health import Health
    from gateway.observability.metrics import Metrics
    from gateway.settings import Limits
    from gateway.supervision import Supervision


def build_upkeep(limits: Limits, sessions: Sessions, hub: Hub, *, clock: Callable[[], float]) -> Upkeep:
    """Build what looks after ``sessions``; start its ``run`` with the node."""
    return Upkeep(
        sessions,
        hub,
        write_timeout=limits.write_timeout,
        stalled_timeout=limits.stalled_timeout,
        clock=clock,
    )


def watch_tasks(supervision: Supervision, metrics: Metrics, health: Health) -> None:
    """Show in metrics, readiness and liveness how it stands with what is meant to run for ever."""
    metrics.counters(
        "task_failures", "Tasks that failed and began again, by task.", "task", supervision.statistics
    )
    health.broken = supervision.broken
    health.given_up = supervision.given_up


def build_publisher(
    limits: Limits, bus: Bus, refusals: Refusals, *, appender: Appender | None, clock: NodeClock
) -> PublishService:
    """Build the way in; ``appender`` takes what streams capture, None where there are none."""
    answers: IdempotencyWindow[Receipt] = IdempotencyWindow(
        seconds=limits.idempotency_window, entries=limits.idempotency_entries
    )
    per_second = limits.publishes_per_second_per_subject
    return PublishService(
        bus,
        answers=answers,
        topic_limits=arguments.topic_limits(limits),
        message_bytes=limits.message_bytes,
        refusals=refusals,
        subject_rates=KeyedRates(per_second, 5 * per_second) if per_second else None,
        appender=appender,
        clock=clock.monotonic,
        wall_clock_ns=clock.wall_ns,
    )


def build_subject_changes(
    sessions: Sessions,
    subscriber: SubscribeService,
    consumer: ConsumeService,
    delivery: DeliveryService,
    cluster: Cluster | None,
) -> SubjectChanges:
    """Build what changes what a subject hears, here and where ``cluster`` asks for it; None: nobody does."""
    changes = SubjectChanges(sessions, subscriber, consumer, delivery, cluster or NoPeers())
    if cluster is not None:
        cluster.change_subject = changes.change_here
    return changes


def build_subscriber(
    limits: Limits, hub: Hub, bus: Bus, *, refusals: Refusals, following: Following | None
) -> SubscribeService:
    """Build what carries out subscriptions; ``following`` reads streams, None where there are none."""
    return SubscribeService(
        hub,
        bus,
        topic_limits=arguments.topic_limits(limits),
        refusals=refusals,
        following=following,
    )
