"""All routes of a node, from its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.app import arguments
from gateway.app import http as doors
from gateway.app.hooks import hook_routes
from gateway.app.streams import last_value_routes, stream_routes
from gateway.engine.lasting import LastingRequests
from gateway.http_api.administration import administration_routes
from gateway.http_api.audit import AuditRoute, audited
from gateway.http_api.authentication import administrators, principal_finder
from gateway.http_api.descriptions.routes import description_routes
from gateway.http_api.publishing.cloudevents import CloudEventPublishing
from gateway.http_api.publishing.endpoints import rest_routes
from gateway.http_api.session import SessionRoutes
from gateway.http_api.settings import SettingsRoutes
from gateway.http_api.statistics import StatisticsRoutes
from gateway.transports.server.console import console_routes
from gateway.transports.server.probes import probe_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.routing import BaseRoute

    from gateway.app.groups import GroupParts
    from gateway.app.streams import StreamParts
    from gateway.auth.requests import RequestPrincipals
    from gateway.codecs.cloudevents import CloudEventReader
    from gateway.codecs.publish_items import PublishItems
    from gateway.engine.administration import GuardedAuthenticator
    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.engine.cluster.statistics import StatisticsService
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.publishing import PublishService
    from gateway.engine.purging import PurgeService
    from gateway.engine.sessions import Sessions
    from gateway.http_api.settings import NodeSettings
    from gateway.observability.health import Health
    from gateway.observability.metrics import Metrics
    from gateway.redis.expiring_texts import ExpiringTexts
    from gateway.settings import Settings
    from gateway.transports.server.origins import OriginPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteParts:
    """What answers requests."""

    settings: Settings
    metrics: Metrics
    health: Health
    refusals: Refusals
    publisher: PublishService
    items: PublishItems
    streams: StreamParts
    groups: GroupParts
    purging: PurgeService
    administration: ClusterAdministration
    authenticator: GuardedAuthenticator
    principals: RequestPrincipals
    origins: OriginPolicy
    sessions: Sessions
    event_reader: CloudEventReader
    shared_memory: ExpiringTexts | None
    statistics: StatisticsService
    setup: NodeSettings
    clock: Callable[[], float]
    wall_clock: Callable[[], float]


def gateway_routes(parts: RouteParts, subscribing: Sequence[BaseRoute]) -> list[BaseRoute]:
    """The routes of a node, with those of its subscribers."""
    settings, limits = parts.settings, parts.settings.limits
    publishing_limits = arguments.publishing_limits(limits)
    authenticate = principal_finder(parts.principals)
    administrator = administrators(authenticate)
    lasting = LastingRequests(
        parts.sessions, parts.authenticator, clock=parts.clock, wall_clock=parts.wall_clock
    )
    bodies, unverified = doors.build_body_readers(limits, parts.refusals, parts.metrics)
    topic_limits = arguments.topic_limits(limits)
    last_values = last_value_routes(
        parts.streams, authenticate=authenticate, lasting=lasting, topic_limits=topic_limits
    )
    administrative = audited(
        [
            *hook_routes(
                settings,
                publisher=parts.publisher,
                reader=parts.streams.reader,
                authenticate=authenticate,
                administrator=administrator,
                administration=parts.administration,
                lasting=lasting,
                bodies=unverified,
                shared=parts.shared_memory,
                metrics=parts.metrics,
            ),
            *administration_routes(parts.administration, administrator),
            *StatisticsRoutes(parts.statistics, administrator, lasting).routes(),
            *stream_routes(
                parts.streams,
                parts.purging,
                authenticate=authenticate,
                administrator=administrator,
                lasting=lasting,
                topic_limits=topic_limits,
                groups=parts.groups.administration,
            ),
            *parts.groups.routes(
                authenticate=authenticate, administrator=administrator, lasting=lasting, bodies=bodies
            ),
            *AuditRoute(parts.administration, administrator).routes(),
            *SettingsRoutes(parts.setup, authenticate=authenticate, administrator=administrator).routes(),
        ],
        parts.administration.trail,
    )
    routes: list[BaseRoute] = [
        *rest_routes(
            publisher=parts.publisher,
            authenticate=authenticate,
            lasting=lasting,
            limits=publishing_limits,
            bodies=bodies,
            items=parts.items,
            read_topic=last_values.read_topic,
        ),
        *last_values.routes(),
        *CloudEventPublishing(
            parts.publisher,
            authenticate,
            reader=parts.event_reader,
            lasting=lasting,
            limits=publishing_limits,
            bodies=bodies,
            requests_per_minute=60 * limits.publishes_per_second_per_subject,
        ).routes(),
        *administrative,
        *SessionRoutes(parts.authenticator, arguments.credentials(settings, parts.origins)).routes(),
        *subscribing,
        *probe_routes(
            parts.health,
            parts.metrics,
            administrator=administrator,
            check_anonymous=parts.origins.check_anonymous,
        ),
        *description_routes(publishing_limits),
    ]
    if settings.server.console:
        routes += console_routes()
    return routes
