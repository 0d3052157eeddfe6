"""The one place where the parts are built and handed to each other."""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import structlog

from gateway.app import arguments, use_cases
from gateway.app import http as doors
from gateway.app.auth import build_authenticator
from gateway.app.bus import build_bus, watch_bus
from gateway.app.cluster import build_administration, divert, facts_of
from gateway.app.groups import build_groups
from gateway.app.hooks import build_shared_memory
from gateway.app.routes import RouteParts, gateway_routes
from gateway.app.server import log_ready, open_sockets, reload, server_config
from gateway.app.streams import build_streams, watch_streams
from gateway.auth.authenticators import CredentialAuthenticator
from gateway.auth.requests import RequestPrincipals
from gateway.codecs.cloudevents_json import CloudEventsJson
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
from gateway.engine.runtime.garbage import GarbageCollection
from gateway.engine.sessions import Sessions
from gateway.errors import NodeFailed
from gateway.http_api.problems import problem_of
from gateway.observability.connection_log import ConnectionLog
from gateway.observability.health import Health
from gateway.observability.log_stream import dropped_records
from gateway.observability.metrics import Metrics
from gateway.supervision import Supervision
from gateway.transports.server.open_files import OpenFiles, allow_open_files
from gateway.transports.server.server import GatewayServer
from gateway.transports.services import Services
from gateway.transports.websocket.endpoint import WebSocketDoor

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    from starlette.routing import BaseRoute
    from structlog.stdlib import BoundLogger

    from gateway.app.auth import FindPrincipals
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.messages.publication import Publication
    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.engine.cluster.node import Cluster
    from gateway.settings import Settings
    from gateway.transports.server.tls import Certificate

_LEARNING_SECONDS = 2.0
"""How long a node that begins waits to hear who is blocked: then clients are served all the same."""

_DEPARTING_SECONDS = 1.0
"""How long the store has to hear of the members of groups that go with the node."""


class GatewayNode:
    """One node: its parts, wired.

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
    ) -> None:
        """Build a node.

        Args:
            settings: of the whole gateway.
            certificate: to begin with, where one is loaded already; else the settings' files are read.
            find_principals: makes what says for whom requests speak.
            log: what is told goes there; None: to the process' own, see ``configure_logs``.

        Raises:
            ValueError: what a setting names (a key, a certificate, a template) breaks a rule.
        """
        limits = settings.limits
        self._settings = settings
        self._clock = time.monotonic
        self._log = log or structlog.stdlib.get_logger("gateway")
        self.node = secrets.token_hex(4)
        self.health = Health()
        self._supervision = Supervision()
        self.metrics = Metrics()
        self.hub = Hub(arguments.hub_limits(limits))
        self._codec = arguments.codec(limits)
        self._event_reader = arguments.cloudevent_reader(settings)
        self._bus = build_bus(
            settings.redis, node=self.node, codec=self._codec, supervision=self._supervision
        )
        self._shared_memory = build_shared_memory(settings.redis) if settings.hooks else None
        self._refusals = Refusals()
        self._streams = build_streams(settings, self._bus, self._supervision, self._refusals)
        self._delivery = DeliveryService(self.hub, resumed=self._resume_readers)
        self._streams.tell_losses(self._delivery)
        self._following = self._streams.follow(self.hub, self._delivery)
        self._sessions = Sessions(limit=limits.connections, clock=self._clock, refusals=self._refusals)
        self._admission = Admission(arguments.admission_limits(limits), self._refusals, clock=self._clock)
        self._room, self._unread = doors.build_room(
            settings, self._sessions, self._admission, self._refusals, self.metrics
        )
        self._upkeep = use_cases.build_upkeep(limits, self._sessions, self.hub, clock=self._clock)
        self.publisher = use_cases.build_publisher(
            limits, self._bus, self._refusals, appender=self._streams.appender
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
        )
        known_otherwise = find_principals is not RequestPrincipals
        self._origins = arguments.origin_policy(
            settings, refused=doors.tell_refused(self._refusals), authenticated=known_otherwise
        )
        self._keys = build_authenticator(settings.auth, known_otherwise=known_otherwise)
        blocks = BlockList()
        self._authenticator = GuardedAuthenticator(self._keys, blocks, self._refusals, clock=self._clock)
        self._partitions = PartitionDifference(settings.redis.partitions)
        self._partitions.announce = self._delivery.announce_loss
        self._cluster, self._administration = self._build_administration(blocks)
        parts = (self._sessions, self._subscriber, self._delivery)
        self.subjects = use_cases.build_subject_changes(*parts, self._cluster)
        self._principals = find_principals(
            self._authenticator, arguments.credentials(settings, self._origins)
        )
        self._certificate = certificate or arguments.certificate(settings)
        self._watch()
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
            ),
            clock=self._clock,
            live=self._streams.live,
            partitions=self._partitions,
            forget_stream=self._forget_stream,
        )

    def run(
        self, sockets: list[socket.socket] | None = None, *, alive: Callable[[], None] | None = None
    ) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Args:
            sockets: to listen on; those of ``server.host`` and ``server.port`` if None.
            alive: called once a second as long as the event loop turns.

        Raises:
            OSError: the address can't be listened on.
            StoreUnusable: the streams that are kept can't be opened.
            NodeFailed: a part of the node has only failed, so it has ended.
        """
        allow_open_files()
        files = OpenFiles(lambda: self._refusals.count("open_files"))
        if sockets is None:
            sockets = open_sockets(self._settings)
        runner = GatewayServer(
            server_config(
                self.asgi,
                self._settings,
                self._certificate,
                files,
                room=self._room,
                unread=self._unread,
                door=self._door,
            ),
            prepare=self._streams.open,
            started=lambda: self._started(sockets[0].getsockname()),
            drain=self.drain,
            refuse=self.publisher.end,
            reload=lambda: reload(self._log, self._certificate),
            drain_seconds=self._settings.server.drain_seconds,
        )
        self._upkeep.alive = files.looking(alive)
        self._supervision.give_up = runner.fail
        garbage = self._upkeep.garbage = GarbageCollection(now=self._clock())
        try:
            runner.run(sockets=sockets)
        finally:
            garbage.end()
        if runner.failure is not None:
            raise NodeFailed(f"its part {runner.failure!r} only fails; the log has the reason")

    def watch(self, show: Callable[[Metrics], None]) -> None:
        """Have ``show`` add to the metrics."""
        show(self.metrics)

    def _started(self, address: tuple[str, int]) -> None:
        if self._upkeep.garbage is not None:
            self._upkeep.garbage.begin()
        self.health.started = True
        log_ready(self._log, self._settings, address, node=self.node, encrypted=self._certificate is not None)

    async def drain(self) -> None:
        """Have clients leave that stay for long; takes no longer than ``server.drain_seconds``."""
        self.health.draining = True
        self._streams.reader.end()
        self._groups.puller.end()
        self._log.info("draining", connections=self._sessions.statistics().open)
        await self._sessions.drain(self._settings.server.drain_seconds)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the node: streams are open, the bus is heard, and clients are served.

        Raises:
            StoreUnusable: the streams that are kept can't be opened.
        """
        cluster, live = self._cluster, self._streams.live
        deliver: Callable[[Publication], None] = self._delivery.deliver
        if cluster is not None and live is not None:
            deliver = divert(cluster, live, deliver)
        async with self._streams.running():
            await self._bus.start(deliver, self._delivery.announce_loss)
            async with anyio.create_task_group() as tasks:
                for name, run in self._tasks().items():
                    tasks.start_soon(self._supervision.keep, name, run)
                # It ends by itself where no issuer's keys are to be kept fresh.
                tasks.start_soon(self._supervision.until_done, "keys", self._keys.run)
                tasks.start_soon(self._supervision.until_done, "groups", self._streams.make_groups)
                if cluster is not None and not await cluster.learn_blocks(_LEARNING_SECONDS):
                    self._log.warning("serving before the other nodes have said who is blocked")
                self.health.started = True
                try:
                    yield
                finally:
                    # Members that went with the node have not failed: the store must hear of it.
                    with anyio.move_on_after(_DEPARTING_SECONDS, shield=True):
                        await self._groups.consumer.departed()
                    tasks.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        if cluster is not None:
                            await cluster.leave()
                        await self._bus.stop()
                        if self._shared_memory is not None:
                            await self._shared_memory.close()

    def _tasks(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the node does, by its name in metrics."""
        tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {"upkeep": self._upkeep.run}
        if self._cluster is not None:
            tasks["cluster"] = self._cluster.run
        if self._following is not None:
            tasks["following"] = self._following.run
        if self._certificate is not None:
            tasks["certificate"] = self._certificate.watch
        return tasks

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
        metrics.counter("log_records_dropped", "Log records that nobody took.", dropped_records)

    def _routes(self, services: Services) -> list[BaseRoute]:
        parts = RouteParts(
            settings=self._settings,
            metrics=self.metrics,
            health=self.health,
            refusals=self._refusals,
            publisher=self.publisher,
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
            clock=self._clock,
        )
        return gateway_routes(
            parts, [*doors.event_routes(services, self._codec, self.metrics), *self._door.routes()]
        )

    def _forget_stream(self, stream: str) -> None:
        if self._following is not None:
            self._following.forget(stream)

    def _services(self) -> Services:
        limits = self._settings.limits
        authentication = Authentication(
            self._authenticator, self._subscriber, self._groups.consumer, wall_clock=time.time
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


def build(settings: Settings, *, certificate: Certificate | None = None) -> GatewayNode:
    """Build one node from ``settings``; nothing runs yet."""
    return GatewayNode(settings, certificate=certificate)
