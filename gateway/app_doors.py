"""What stands before and beside the routes: middleware, and the metrics of hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from gateway.ingest.problems import problem_of
from gateway.transports.origins import OriginGuard
from gateway.transports.proxies import TrustedProxies
from gateway.transports.security_headers import SecurityHeaders

if TYPE_CHECKING:
    from gateway.ingest.hooks import HookPublishing
    from gateway.observability.metrics import Metrics
    from gateway.settings import Settings
    from gateway.transports.origins import OriginPolicy


def middleware(settings: Settings, origins: OriginPolicy) -> list[Middleware]:
    """Return the middleware from the outermost; each sees what those before it have let through."""
    layers = [Middleware(SecurityHeaders)]
    if settings.server.trusted_proxies:
        layers.append(Middleware(TrustedProxies, networks=settings.server.trusted_proxies))
    layers.append(Middleware(OriginGuard, policy=origins, refuse=problem_of))
    if settings.origins.allow:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins.allow,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["*"],
                allow_credentials=True,
                expose_headers=["Retry-After"],
            )
        )
    return layers


def register_hook_metrics(metrics: Metrics, hooks: HookPublishing) -> None:
    """Have ``metrics`` tell what became of webhook deliveries, by hook."""
    metrics.counters(
        "hook_deliveries", "Webhook deliveries published.", "hook", lambda: hooks.statistics().accepted
    )
    metrics.counters(
        "hook_repeats", "Webhook deliveries seen before.", "hook", lambda: hooks.statistics().repeated
    )
    metrics.counters(
        "hook_refusals", "Webhook deliveries not verified.", "hook", lambda: hooks.statistics().unverified
    )
