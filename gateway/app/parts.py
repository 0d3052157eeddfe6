"""The one place where the parts of a node are built and handed to each other."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from gateway.app import arguments, use_cases
from gateway.app import http as doors
from gateway.app.auth import build_authenticator
from gateway.app.bus import build_bus, watch_bus
from gateway.app.cluster import build_administration, facts_of
from gateway.app.groups import build_groups
from gateway.app.hooks import build_shared_memory
from gateway.app.reloading import Reloading
from gateway.app.routes import RouteParts, gateway_routes
from gateway.app.sending import Sending
from gateway.app.statistics import build_statistics
from gateway.app.streams import build_streams, watch_streams
from gateway.app.surroundings import Surroundings
from gateway.auth.authenticators import CredentialAuthenticator
from gateway.auth.requests import RequestPrincipals
from gateway.bus.local import LocalBus
from gateway.codecs.cloudevents_json import CloudEventsJson
from gateway.codecs.publish_items import PublishItems
from gateway.core.cluster.block_list import BlockList
from gateway.core.fanout.hub import Hub
from gateway.engine.administration import GuardedAuthenticator
from gateway.engine.admission import Admission
from gateway.engine.authentication import Authentication
from gateway.engine.cluster.partition_difference import PartitionDifference
from gateway.engine.commands import CommandDispatcher
from gateway.engine.delivery import DeliveryService
from gateway.engine.metrics.node_metrics import register_cluster_metrics, register_metrics
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.purging import PurgeService
from gateway.engine.sessions import Sessions
from gateway.http_api.problems import problem_of
from gateway.observability.connection_log import ConnectionLog
from gateway.observability.health import Health
from gateway.observability.log_stream import dropped_records
from gateway.observability.metrics import Metrics
from gateway.supervision import Supervision
from gateway.transports.services import Services
from gateway.transports.websocket.endpoint import WebSocketDoor

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from starlette.routing import BaseRoute
    from structlog.stdlib import BoundLogger

    from gateway.app.auth import FindPrincipals
    from gateway.core.cluster.control import ForgetStream
    from gateway.core.fanout.outbox import Outbox
    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.engine.cluster.node import Cluster
    from gateway.engine.cluster.statistics import StatisticsService
    from gateway.engine.statistics import StatisticsRecorder
    from gateway.settings import Settings
    from gateway.transports.server.tls import Certificate


class NodeParts:
    """What one node is made of; it runs as a ``GatewayNode``.

    Attributes:
        asgi: the application, for any ASGI server with lifespan support.
        hub: all subscriptions.
        publisher: the way in for code in this process.
        subjects: changes what a subject's connections hear.
        services: what its sessions share.
        health: what the probes say.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        certificate: Certificate | None = None,
        find_principals: FindPrincipals = RequestPrincipals,
        log: BoundLogger | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Build a node.

        Args:
            settings: of the whole gateway.
            certificate: to begin with, where one is loaded already; else the settings' files are read.
            find_principals: makes what says for whom requests speak.
            log: what is told goes there; None: to the process' own, see ``configure_logs``.
            surroundings: the time, and what stands in for bus and store; None: nothing does.

        Raises:
            ValueError: what a setting names (a key, a certificate, a template) breaks a rule.
        """
        limits = settings.limits
        self._settings = settings
        surroundings = surroundings or Surroundings()
        self._time = surroundings.clock
        self._clock = self._time.monotonic
        self._log = log or structlog.stdlib.get_logger("gateway")
        self.node = secrets.token_hex(4)
        self.health = Health()
        self._supervision = Supervision()
        self.metrics = Metrics()
        self.hub = Hub(arguments.hub_limits(limits))
        self._codec = arguments.codec(limits)
        self._event_reader = arguments.cloudevent_reader(settings)
        self._bus = surroundings.bus(
            build_bus(settings.redis, node=self.node, codec=self._codec, supervision=self._supervision)
        )
        self._shared_memory = build_shared_memory(settings.redis) if settings.hooks else None
        self._refusals = Refusals()
        self._streams = build_streams(settings, self._bus, self._supervision, self._refusals, surroundings)
        self._delivery = DeliveryService(self.hub, resumed=self._resume_readers)
        self._sending = Sending(settings, self._delivery, self._log)
        self._streams.tell_losses(self._delivery)
        self._following = self._streams.follow(self.hub, self._delivery)
        self._sessions = Sessions(limit=limits.connections, clock=self._clock, refusals=self._refusals)
        self._admission = Admission(arguments.admission_limits(limits), self._refusals, clock=self._clock)
        self._room, self._unread = doors.build_room(
            settings, self._sessions, self._admission, self._refusals, self.metrics
        )
        self._upkeep = use_cases.build_upkeep(limits, self._sessions, self.hub, clock=self._clock)
        self.publisher = use_cases.build_publisher(
            limits, self._bus, self._refusals, appender=self._streams.appender, clock=self._time
        )
        self._subscriber = use_cases.build_subscriber(
            limits, self.hub, self._bus, refusals=self._refusals, following=self._following
        )
        self._groups = build_groups(
            self._streams,
            self._delivery,
            self._following,
            self._refusals,
            node=self.node,
            topic_limits=arguments.topic_limits(limits),
            # As the store's own, or as that of all nodes: leases end by it.
            clock=self._time.steady.milliseconds if settings.redis.url is None else self._time.milliseconds,
        )
        known_otherwise = find_principals is not RequestPrincipals
        self._origins = arguments.origin_policy(
            settings, refused=doors.tell_refused(self._refusals), authenticated=known_otherwise
        )
        self._keys = build_authenticator(
            settings.auth, known_otherwise=known_otherwise, wall_clock=self._time.wall
        )
        blocks = BlockList()
        self._authenticator = GuardedAuthenticator(
            self._keys, blocks, self._refusals, clock=self._clock, wall_clock=self._time.wall
        )
        self._partitions = PartitionDifference(settings.redis.partitions)
        self._partitions.announce = self._delivery.announce_loss
        self._cluster, self._administration = self._build_administration(blocks)
        self._recorder, self._statistics = self._build_statistics()
        parts = (self._sessions, self._subscriber, self._groups.consumer, self._delivery)
        self.subjects = use_cases.build_subject_changes(*parts, self._cluster)
        self._principals = find_principals(
            self._authenticator, arguments.credentials(settings, self._origins)
        )
        self._certificate = certificate or arguments.certificate(settings)
        self._reloading = Reloading(
            settings,
            store=self._streams.store,
            certificate=self._certificate,
            build=lambda again: NodeParts(again, certificate=self._certificate),
        )
        self._watch()
        self._items = PublishItems(arguments.message_limits(limits))
        self._requests = doors.build_requests(
            settings,
            self.publisher,
            self._authenticator,
            self._items,
            at_once=isinstance(self._bus, LocalBus),
            known_otherwise=known_otherwise,
        )
        self.services = self._services()
        self._door = WebSocketDoor(
            self.services,
            frame_bytes=limits.frame_bytes,
            refuse=problem_of,
            checks=doors.handshake_checks(settings, self._origins),
            codecs=[CloudEventsJson(self._codec, self._event_reader)],
        )
        self.asgi = doors.application(
            settings,
            self._origins,
            routes=self._routes(self.services),
            lifespan=lambda _: self.running(),
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Run the node."""
        raise NotImplementedError

    def _build_administration(self, blocks: BlockList) -> tuple[Cluster | None, ClusterAdministration]:
        """Build what nodes tell each other, and what administrators ask of them."""
        redis = self._settings.redis
        return build_administration(
            None if redis.url is None else self._bus,
            self._sessions,
            blocks,
            facts=facts_of(
                self.node,
                sessions=self._sessions,
                hub=self.hub,
                agreement=self._streams.agreement,
                partitions=redis.partitions,
                health=self.health,
            ),
            clock=self._clock,
            live=self._streams.live,
            partitions=self._partitions,
            forget_stream=self._forget_stream,
        )

    def _build_statistics(self) -> tuple[StatisticsRecorder, StatisticsService]:
        return build_statistics(
            node=self.node,
            hub=self.hub,
            publisher=self.publisher,
            delivery=self._delivery,
            sessions=self._sessions,
            room=self._room,
            upkeep=self._upkeep,
            refusals=self._refusals,
            bus=self._bus,
            streams=self._streams,
            groups=self._groups,
            cluster=self._cluster,
            administration=self._administration,
        )

    def _resume_readers(self, outbox: Outbox) -> None:
        assert self._following is not None
        self._following.catching_up.wake(outbox)

    def _watch(self) -> None:
        """Show in metrics and readiness how it stands with every part."""
        metrics, health = self.metrics, self.health
        health.lag = lambda: self._upkeep.lag
        use_cases.watch_tasks(self._supervision, metrics, health)
        register_metrics(
            metrics,
            hub=self.hub,
            publisher=self.publisher,
            sessions=self._sessions,
            upkeep=self._upkeep,
            refusals=self._refusals,
        )
        if isinstance(self._keys, CredentialAuthenticator):
            doors.register_credential_metrics(metrics, self._keys)
        if self._certificate is not None:
            doors.register_certificate_metrics(metrics, self._certificate)
        if self._cluster is not None:
            watch_bus(self._bus, metrics, health)
            register_cluster_metrics(metrics, self._cluster)
            health.reasons.append(lambda: self._partitions.problem)
        watch_streams(self._streams, metrics, health, hub=self.hub, following=self._following)
        self._groups.watch(metrics)
        metrics.counters(
            "bulk_sends", "Sends by io_uring, by what the socket took.", "taken", self._sending.statistics
        )
        metrics.counter("log_records_dropped", "Log records that nobody took.", dropped_records)

    def _routes(self, services: Services) -> list[BaseRoute]:
        parts = RouteParts(
            settings=self._settings,
            metrics=self.metrics,
            health=self.health,
            refusals=self._refusals,
            publisher=self.publisher,
            items=self._items,
            streams=self._streams,
            groups=self._groups,
            purging=PurgeService(self._streams.store, self._administration, forget=self._forget_stream),
            administration=self._administration,
            authenticator=self._authenticator,
            principals=self._principals,
            origins=self._origins,
            sessions=self._sessions,
            event_reader=self._event_reader,
            shared_memory=self._shared_memory,
            statistics=self._statistics,
            setup=self._reloading.shown(self.node, self._settings),
            clock=self._clock,
            wall_clock=self._time.wall,
        )
        return gateway_routes(
            parts, [*doors.event_routes(services, self._codec, self.metrics), *self._door.routes()]
        )

    def _forget_stream(self, purged: ForgetStream) -> None:
        if self._following is not None:
            self._following.forget(purged)

    def _services(self) -> Services:
        limits = self._settings.limits
        authentication = Authentication(
            self._authenticator, self._subscriber, self._groups.consumer, wall_clock=self._time.wall
        )
        return Services(
            node=self.node,
            codec=self._codec,
            hub=self.hub,
            delivery=self._delivery,
            commands=CommandDispatcher(
                subscriber=self._subscriber,
                publisher=self.publisher,
                authentication=authentication,
                consumer=self._groups.consumer,
                acknowledger=self._groups.acknowledger,
            ),
            subscriber=self._subscriber,
            consumer=self._groups.consumer,
            sessions=self._sessions,
            principals=self._principals,
            confirm=self._authenticator.confirm,
            admission=self._admission,
            authentication=authentication,
            refusals=self._refusals,
            log=ConnectionLog(self._log),
            limits=arguments.announced(limits),
            session_limits=arguments.session_limits(self._settings),
            outbox_limits=arguments.outbox_limits(limits),
            ping_interval=limits.ping_interval,
            pong_timeout=limits.pong_timeout,
            clock=self._clock,
        )
