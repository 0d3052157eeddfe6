"""Webhooks: what takes them in, what other nodes remember of them, and their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.app import arguments
from gateway.http_api.webhooks.endpoint import HookPublishing
from gateway.http_api.webhooks.fetching import Fetcher
from gateway.http_api.webhooks.journal_routes import JournalRoutes

if TYPE_CHECKING:
    from starlette.routing import Route

    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.engine.following.reading import StreamReader
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.publishing import PublishService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.bodies import BodyReader
    from gateway.observability.metrics import Metrics
    from gateway.redis.expiring_texts import ExpiringTexts
    from gateway.settings import Settings
    from gateway.settings.redis import Redis


def build_shared_memory(redis: Redis) -> ExpiringTexts | None:
    """Build what all nodes remember of deliveries to live topics; None where there is one node.

    Raises:
        ValueError: the URL is none that can be used.
    """
    if redis.url is None:
        return None
    from gateway.redis.expiring_texts import ExpiringTexts  # noqa: PLC0415 - as the bus, for many nodes only

    try:
        return ExpiringTexts(redis.url.get_secret_value(), prefix=redis.prefix, timeout=redis.timeout)
    except ValueError as exc:
        raise ValueError(f"redis.url: {exc}") from exc


def hook_routes(
    settings: Settings,
    *,
    publisher: PublishService,
    reader: StreamReader,
    authenticate: RequestAuthenticator,
    administrator: RequestAuthenticator,
    administration: ClusterAdministration,
    lasting: LastingRequests,
    bodies: BodyReader,
    shared: ExpiringTexts | None,
    metrics: Metrics,
) -> list[Route]:
    """The routes of all hooks, whose deliveries ``metrics`` tells of.

    Args:
        settings: of the whole gateway.
        publisher: publishes.
        reader: reads what streams keep.
        authenticate: finds who sends to hooks that verify nothing.
        administrator: lets administrators through alone.
        administration: reaches the deliveries of other nodes.
        lasting: ends bodies whose senders lose their rights.
        bodies: reads bodies that are not verified yet.
        shared: what other nodes remember, if there are any.
        metrics: of the node.

    Raises:
        ValueError: a hook's settings break a rule.
    """
    hooks = arguments.hooks(settings)
    publishing = HookPublishing(
        hooks,
        publisher,
        authenticate,
        lasting=lasting,
        limits=arguments.publishing_limits(settings.limits),
        bodies=bodies,
        shared=shared,
        fetcher=Fetcher(),
    )
    register_hook_metrics(metrics, publishing)
    journal = JournalRoutes(
        hooks,
        publishing.journal,
        publisher=publisher,
        reader=reader,
        administration=administration,
        administrator=administrator,
    )
    return [*publishing.routes(), *journal.routes()]


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
    metrics.counters(
        "hook_ignored", "Webhook deliveries ignored as told.", "hook", lambda: hooks.statistics().ignored
    )
    metrics.counters_by(
        "hook_refused",
        "Webhook deliveries refused, by reason.",
        ("hook", "reason"),
        lambda: hooks.statistics().refused,
    )
