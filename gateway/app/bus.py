"""Chooses and builds what carries publications between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.bus.local import LocalBus
from gateway.engine.metrics.node_metrics import register_bus_metrics

if TYPE_CHECKING:
    from gateway.bus.base import Bus
    from gateway.codecs.gateway_v1 import GatewayV1
    from gateway.observability.health import Health
    from gateway.observability.metrics import Metrics
    from gateway.settings.redis import Redis
    from gateway.supervision import Supervision


def build_bus(redis: Redis, *, node: str, codec: GatewayV1, supervision: Supervision) -> Bus:
    """Build the bus of ``node``, whose tasks ``supervision`` keeps running; nothing is opened yet.

    Raises:
        ValueError: the URL is none that can be used.
    """
    if redis.url is None:
        return LocalBus()
    from gateway.bus.redis.bus import RedisBus, RedisLimits  # noqa: PLC0415 - a second and 40 MB, for many nodes only

    limits = RedisLimits(
        timeout=redis.timeout,
        beat=min(1.0, redis.silence_timeout / 3),
        silence=redis.silence_timeout,
        publish_bytes=redis.publish_queue_bytes,
        receive_bytes=redis.receive_queue_bytes,
    )
    try:
        return RedisBus(
            redis.url.get_secret_value(),
            node=node,
            encoder=codec,
            prefix=redis.prefix,
            partitions=redis.partitions,
            limits=limits,
            supervision=supervision,
        )
    except ValueError as exc:
        raise ValueError(f"redis.url: {exc}") from exc


def watch_bus(bus: Bus, metrics: Metrics, health: Health) -> None:
    """Show in metrics and readiness how it stands with the other nodes."""
    register_bus_metrics(metrics, bus)
    health.parts["redis"] = lambda: bus.statistics().connected
