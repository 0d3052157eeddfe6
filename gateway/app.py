"""The one place where the parts are built and handed to each other."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import structlog
import uvicorn
from starlette.applications import Starlette

from gateway import app_arguments as arguments
from gateway import app_doors as doors
from gateway.app_auth import build_authenticator
from gateway.app_bus import build_bus, watch_bus
from gateway.app_cluster import build_administration, build_cluster, divert, facts_of
from gateway.app_streams import build_streams, stream_routes, watch_streams
from gateway.auth.authenticators import CredentialAuthenticator
from gateway.core.block_list import BlockList
from gateway.core.hub import Hub
from gateway.core.idempotency import AnswerWindow
from gateway.core.rate import KeyedRates
from gateway.engine.administration import Administration, GuardedAuthenticator
from gateway.engine.admission import Admission
from gateway.engine.authentication import Authentication
from gateway.engine.delivery import Delivery
from gateway.engine.garbage import GarbageCollection
from gateway.engine.node_metrics import register_cluster_metrics, register_metrics
from gateway.engine.publishing import Publisher, Receipt
from gateway.engine.refusals import Refusals
from gateway.engine.sessions import Sessions
from gateway.engine.subscribing import Subscriber
from gateway.engine.upkeep import Upkeep
from gateway.ingest.administration import administration_routes
from gateway.ingest.credentials import administrators, request_authenticator
from gateway.ingest.hooks import HookPublishing
from gateway.ingest.openapi import openapi_routes
from gateway.ingest.problems import exception_handlers, problem_of
from gateway.ingest.rest import rest_routes
from gateway.observability.connection_log import ConnectionLog
from gateway.observability.health import Health
from gateway.observability.logs import configure_logs
from gateway.observability.metrics import Metrics
from gateway.settings import read
from gateway.transports.console import console_routes
from gateway.transports.probes import probe_routes
from gateway.transports.server import SHUTDOWN_SECONDS, GatewayServer, allow_open_files, listen
from gateway.transports.services import Services
from gateway.transports.uvicorn_http import http_protocol
from gateway.transports.uvicorn_websocket import websocket_protocol
from gateway.transports.websocket import websocket_routes

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    from starlette.routing import BaseRoute

    from gateway.settings import Settings


class Gateway:
    """One node: its parts, wired.

    Attributes:
        asgi: the application, for any ASGI server with lifespan support.
        hub: all subscriptions.
        publisher: the way in for code in this process.
        health: what the probes say.
    """

    def __init__(self, settings: Settings, *, direct: bool = True) -> None:
        """Build a node; ``direct=False`` keeps its WebSockets the portable ASGI way.

        Raises:
            ValueError: what a setting names (a key, a certificate, a template) breaks a rule.
        """
        limits = settings.limits
        self._settings = settings
        self._clock = time.monotonic
        self._log = structlog.stdlib.get_logger("gateway")
        self._direct = direct
        self.node = secrets.token_hex(4)
        self.health = Health()
        self.hub = Hub(arguments.hub_limits(limits))
        self._codec = arguments.codec(limits)
        self._bus = build_bus(settings.redis, node=self.node, codec=self._codec)
        self._streams = build_streams(settings)
        self._delivery = Delivery(self.hub)
        self._following = self._streams.follow(self.hub, self._delivery)
        self._refusals = Refusals()
        self._sessions = Sessions(limit=limits.connections, clock=self._clock, refusals=self._refusals)
        self._upkeep = Upkeep(
            self._sessions,
            self.hub,
            write_timeout=limits.write_timeout,
            stalled_timeout=limits.stalled_timeout,
            clock=self._clock,
        )
        self.health.lag = lambda: self._upkeep.lag
        self.publisher = self._publisher()
        self._subscriber = Subscriber(
            self.hub,
            self._bus,
            topic_limits=arguments.topic_limits(limits),
            refusals=self._refusals,
            following=self._following,
        )
        self._origins = arguments.origin_policy(settings)
        self._blocks = BlockList()
        self._keys = build_authenticator(settings.auth)
        self._authenticator = GuardedAuthenticator(
            self._keys, self._blocks, self._refusals, clock=self._clock
        )
        facts = facts_of(self.node, sessions=self._sessions, hub=self.hub)
        local = Administration(self._sessions)
        self._cluster = None
        if settings.redis.url is not None:
            self._cluster = build_cluster(self._bus, local, self._blocks, facts=facts, clock=self._clock)
        self._administration = build_administration(
            local, self._cluster, self._blocks, facts=facts, clock=self._clock
        )
        self._credentials = arguments.credentials(settings, self._origins)
        self._certificate = arguments.certificate(settings)
        self.metrics = Metrics()
        register_metrics(
            self.metrics,
            hub=self.hub,
            publisher=self.publisher,
            sessions=self._sessions,
            upkeep=self._upkeep,
            refusals=self._refusals,
        )
        if isinstance(self._keys, CredentialAuthenticator):
            doors.register_credential_metrics(self.metrics, self._keys)
        if self._cluster is not None:
            watch_bus(self._bus, self.metrics, self.health)
            register_cluster_metrics(self.metrics, self._cluster)
        watch_streams(self._streams, self.metrics, self.health, hub=self.hub, following=self._following)
        self.asgi = Starlette(
            routes=self._routes(),
            middleware=doors.middleware(settings, self._origins),
            exception_handlers=exception_handlers(),
            lifespan=self._lifespan,
        )
        self.asgi.router.redirect_slashes = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Args:
            sockets: to listen on; those of ``server.host`` and ``server.port`` if None.

        Raises:
            OSError: the address can't be listened on.
            StoreUnusable: the streams that are kept can't be opened.
        """
        allow_open_files()
        if sockets is None:
            server = self._settings.server
            sockets = listen(
                server.host, server.port, dead_peer_seconds=arguments.dead_peer_seconds(self._settings)
            )
        config = self._uvicorn_config()
        runner = GatewayServer(
            config,
            prepare=self._streams.open,
            started=lambda: self._started(sockets[0].getsockname()),
            drain=self._drain,
        )
        garbage = self._upkeep.garbage = GarbageCollection(now=self._clock())
        try:
            runner.run(sockets=sockets)
        finally:
            garbage.end()

    def _uvicorn_config(self) -> uvicorn.Config:
        limits, certificate = self._settings.limits, self._certificate
        return uvicorn.Config(
            self.asgi,
            http=http_protocol(arguments.head_limits(limits)),
            ws=websocket_protocol(arguments.connection_policy(limits)),
            ws_max_size=limits.frame_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=limits.ping_interval,
            ws_ping_timeout=limits.pong_timeout,
            lifespan="on",
            log_config=None,
            access_log=self._settings.server.access_log,
            server_header=False,
            # Uvicorn's own would believe every header that comes from loopback.
            proxy_headers=False,
            ssl_context_factory=None
            if certificate is None
            else lambda _config, _default: certificate.context,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,  # type: ignore[arg-type]  # asyncio takes a float
        )

    def _started(self, address: tuple[str, int]) -> None:
        if self._upkeep.garbage is not None:
            self._upkeep.garbage.begin()
        self.health.started = True
        server = self._settings.server
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        scheme = "http" if self._certificate is None else "https"
        self._log.info("gateway ready", url=f"{scheme}://{host}:{address[1]}", node=self.node)
        if server.insecure and self._settings.auth.mode == "none":
            self._log.warning(
                "INSECURE: anyone who reaches this address may publish, subscribe and disconnect others",
                host=server.host,
            )

    async def _drain(self) -> None:
        self.health.draining = True
        self._streams.reader.end()
        self._log.info("draining", connections=self._sessions.statistics().open)
        await self._sessions.drain(self._settings.server.drain_seconds)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        cluster, deliver = self._cluster, self._delivery.deliver
        async with self._streams.running():
            await self._bus.start(
                deliver if cluster is None else divert(cluster, deliver), self._delivery.announce_loss
            )
            async with anyio.create_task_group() as tasks:
                for run in self._tasks():
                    tasks.start_soon(run)
                self.health.started = True
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        if cluster is not None:
                            await cluster.leave()
                        await self._bus.stop()

    def _tasks(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the node does."""
        tasks: list[Callable[[], Coroutine[Any, Any, None]]] = [self._upkeep.run, self._keys.run]
        if self._cluster is not None:
            tasks.append(self._cluster.run)
        if self._following is not None:
            tasks.append(self._following.run)
        if self._certificate is not None:
            tasks.append(self._certificate.watch)
        return tasks

    def _publisher(self) -> Publisher:
        limits = self._settings.limits
        answers: AnswerWindow[Receipt] = AnswerWindow(
            seconds=limits.idempotency_window, entries=limits.idempotency_entries
        )
        per_second = limits.publishes_per_second_per_subject
        return Publisher(
            self._bus,
            answers=answers,
            topic_limits=arguments.topic_limits(limits),
            message_bytes=limits.message_bytes,
            refusals=self._refusals,
            subject_rates=KeyedRates(per_second, 5 * per_second) if per_second else None,
            appender=self._streams.appender,
        )

    def _routes(self) -> list[BaseRoute]:
        settings, limits = self._settings, self._settings.limits
        ingest_limits = arguments.ingest_limits(limits)
        authenticate = request_authenticator(self._authenticator, self._credentials)
        administrator = administrators(authenticate)
        hooks = HookPublishing(arguments.hooks(settings), self.publisher, authenticate, limits=ingest_limits)
        doors.register_hook_metrics(self.metrics, hooks)
        services = self._services()
        routes: list[BaseRoute] = [
            *rest_routes(publisher=self.publisher, authenticate=authenticate, limits=ingest_limits),
            *hooks.routes(),
            *administration_routes(self._administration, administrator),
            *stream_routes(
                self._streams,
                authenticate=authenticate,
                administrator=administrator,
                topic_limits=arguments.topic_limits(limits),
            ),
            *doors.event_routes(services, self.metrics, direct=self._direct),
            *websocket_routes(
                services, frame_bytes=limits.frame_bytes, refuse=problem_of, direct=self._direct
            ),
            *probe_routes(self.health, self.metrics, administrator=administrator),
            *openapi_routes(ingest_limits),
        ]
        if settings.server.console:
            routes += console_routes()
        return routes

    def _services(self) -> Services:
        limits = self._settings.limits
        return Services(
            node=self.node,
            codec=self._codec,
            hub=self.hub,
            delivery=self._delivery,
            publisher=self.publisher,
            subscriber=self._subscriber,
            sessions=self._sessions,
            credentials=self._credentials,
            admission=Admission(arguments.admission_limits(limits), self._refusals, clock=self._clock),
            authentication=Authentication(self._authenticator, self._subscriber, wall_clock=time.time),
            refusals=self._refusals,
            log=ConnectionLog(self._log),
            limits=arguments.announced(limits),
            session_limits=arguments.session_limits(self._settings),
            outbox_limits=arguments.outbox_limits(limits),
            ping_interval=limits.ping_interval,
            pong_timeout=limits.pong_timeout,
            clock=self._clock,
        )


def build(settings: Settings) -> Gateway:
    """Build one node from ``settings``; nothing runs yet."""
    return Gateway(settings)


def create_app() -> Starlette:
    """Make the application for another ASGI server: ``uvicorn --factory gateway.app:create_app``.

    Settings come from the file and the environment. WebSockets are kept the portable way unless the server
    offers the takeover.

    Raises:
        InvalidSettings: a setting breaks a rule.
    """
    return build(read(None).settings).asgi


def serve(settings: Settings) -> None:
    """Configure the log and run one node until it is told to stop.

    Raises:
        OSError: the address can't be listened on.
        StoreUnusable: the streams that are kept can't be opened.
        ValueError: a hook's topic template or secret breaks a rule, or a key, grant or certificate does.
    """
    configure(settings)
    build(settings).run()


def configure(settings: Settings, *, worker: int | None = None) -> None:
    """Configure the log of the process; of several that are one gateway, ``worker`` tells which it is."""
    configure_logs(
        level=settings.server.log_level,
        form=settings.server.log_format,
        secrets=settings.secret_texts(),
        fields={} if worker is None else {"worker": worker},
    )
    # Uvicorn tells of every handshake with its query string, where a token may be; we have our own record.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
