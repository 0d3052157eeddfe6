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
from starlette.middleware import Middleware

from gateway.app_auth import build_authenticator
from gateway.bus.local import LocalBus
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.codecs.publish_items import MessageLimits
from gateway.core.hub import Hub, HubLimits
from gateway.core.idempotency import AnswerWindow
from gateway.core.outbox import OutboxLimits
from gateway.core.session import SessionLimits
from gateway.core.topics import TopicLimits
from gateway.engine.delivery import Delivery
from gateway.engine.node_metrics import register_metrics
from gateway.engine.publishing import Publisher, Receipt
from gateway.engine.sessions import Sessions, Upkeep
from gateway.engine.subscribing import Subscriber
from gateway.ingest.credentials import bearer
from gateway.ingest.hooks import Hook, HookPublishing
from gateway.ingest.limits import IngestLimits
from gateway.ingest.openapi import openapi_routes
from gateway.ingest.problems import exception_handlers, problem_of
from gateway.ingest.rest import rest_routes
from gateway.observability.connection_log import ConnectionLog
from gateway.observability.health import Health
from gateway.observability.logs import configure_logs
from gateway.observability.metrics import Metrics
from gateway.settings import read
from gateway.transports.connection_policy import ConnectionPolicy
from gateway.transports.console import console_routes
from gateway.transports.origins import OriginGuard, OriginPolicy
from gateway.transports.probes import probe_routes
from gateway.transports.server import SHUTDOWN_SECONDS, GatewayServer, listen
from gateway.transports.services import Services
from gateway.transports.uvicorn_http import HeadLimits, http_protocol
from gateway.transports.uvicorn_websocket import websocket_protocol
from gateway.transports.websocket import websocket_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.routing import BaseRoute

    from gateway.settings import Limits, Settings


class Gateway:
    """One node: its parts, wired.

    Attributes:
        asgi: the application, for any ASGI server with lifespan support.
        hub: all subscriptions.
        publisher: the way in for code in this process.
        health: what the probes say.
    """

    def __init__(self, settings: Settings, *, direct: bool = True) -> None:
        """Build a node; ``direct=False`` keeps its WebSockets the portable ASGI way."""
        limits = settings.limits
        self._settings = settings
        self._clock = time.monotonic
        self._log = structlog.stdlib.get_logger("gateway")
        self._direct = direct
        self.node = secrets.token_hex(4)
        self.health = Health()
        self.hub = Hub(_hub_limits(limits))
        topic_limits = TopicLimits(bytes=limits.topic_bytes, levels=limits.topic_levels)
        self._bus = LocalBus()
        self._delivery = Delivery(self.hub)
        self._sessions = Sessions(limit=limits.connections, clock=self._clock)
        self._upkeep = Upkeep(self._sessions, self.hub, write_timeout=limits.write_timeout, clock=self._clock)
        self.health.lag = lambda: self._upkeep.lag
        answers: AnswerWindow[Receipt] = AnswerWindow(
            seconds=limits.idempotency_window, entries=limits.idempotency_entries
        )
        self.publisher = Publisher(
            self._bus, answers=answers, topic_limits=topic_limits, message_bytes=limits.message_bytes
        )
        self._subscriber = Subscriber(self.hub, self._bus, topic_limits=topic_limits)
        self._authenticator = build_authenticator(settings.auth)
        self.metrics = Metrics()
        register_metrics(self.metrics, self.hub, self.publisher, self._sessions, self._upkeep)
        self.asgi = Starlette(
            routes=self._routes(),
            middleware=[Middleware(OriginGuard, policy=self._origins(), refuse=problem_of)],
            exception_handlers=exception_handlers(),
            lifespan=self._lifespan,
        )
        self.asgi.router.redirect_slashes = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        Raises:
            OSError: the address can't be listened on.
        """
        server = self._settings.server
        sockets = listen(server.host, server.port)
        config = self._uvicorn_config()
        runner = GatewayServer(
            config, started=lambda: self._started(sockets[0].getsockname()), drain=self._drain
        )
        runner.run(sockets=sockets)

    def _uvicorn_config(self) -> uvicorn.Config:
        limits = self._settings.limits
        return uvicorn.Config(
            self.asgi,
            http=http_protocol(
                HeadLimits(
                    head_bytes=limits.head_bytes, headers=limits.head_count, head_seconds=limits.head_timeout
                )
            ),
            ws=websocket_protocol(_connection_policy(limits)),
            ws_max_size=limits.frame_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=limits.ping_interval,
            ws_ping_timeout=limits.pong_timeout,
            lifespan="on",
            log_config=None,
            access_log=self._settings.server.access_log,
            server_header=False,
            # Whom to believe about the client's address is the gateway's own setting.
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,  # type: ignore[arg-type]  # asyncio takes a float
        )

    def _started(self, address: tuple[str, int]) -> None:
        self.health.started = True
        server = self._settings.server
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self._log.info("gateway ready", url=f"http://{host}:{address[1]}", node=self.node)
        if server.insecure and self._settings.auth.mode == "none":
            self._log.warning("anyone who reaches this address may publish and subscribe", host=server.host)

    async def _drain(self) -> None:
        self.health.draining = True
        self._log.info("draining", connections=self._sessions.statistics().open)
        await self._sessions.drain(self._settings.server.drain_seconds)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        await self._bus.start(self._delivery.deliver)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._upkeep.run)
            tasks.start_soon(self._authenticator.run)
            self.health.started = True
            yield
            tasks.cancel_scope.cancel()
        await self._bus.stop()

    def _origins(self) -> OriginPolicy:
        settings = self._settings
        return OriginPolicy(
            origins=settings.origins.allow,
            hosts=None
            if settings.server.insecure or settings.auth.mode != "none"
            else {*settings.origins.hosts, settings.server.host.lower()},
        )

    def _routes(self) -> list[BaseRoute]:
        settings, limits = self._settings, self._settings.limits
        ingest_limits = _ingest_limits(limits)
        authenticate = bearer(self._authenticator)
        hooks = HookPublishing(_hooks(settings), self.publisher, authenticate, limits=ingest_limits)
        _register_hook_metrics(self.metrics, hooks)
        routes: list[BaseRoute] = [
            *rest_routes(publisher=self.publisher, authenticate=authenticate, limits=ingest_limits),
            *hooks.routes(),
            *websocket_routes(
                self._services(), frame_bytes=limits.frame_bytes, refuse=problem_of, direct=self._direct
            ),
            *probe_routes(self.health, self.metrics),
            *openapi_routes(ingest_limits),
        ]
        if settings.server.console:
            routes += console_routes()
        return routes

    def _services(self) -> Services:
        limits = self._settings.limits
        return Services(
            node=self.node,
            codec=GatewayV1(
                message_bytes=limits.message_bytes,
                json_depth=limits.json_depth,
                header_entries=limits.headers_per_message,
                header_bytes=limits.header_bytes,
            ),
            hub=self.hub,
            delivery=self._delivery,
            publisher=self.publisher,
            subscriber=self._subscriber,
            sessions=self._sessions,
            authenticator=self._authenticator,
            log=ConnectionLog(self._log),
            limits=_announced(limits),
            session_limits=_session_limits(limits),
            outbox_limits=OutboxLimits(messages=limits.outbox_messages, bytes=limits.outbox_bytes),
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
        ValueError: a hook's topic template or secret breaks a rule, or a key or grant does.
    """
    configure_logs(
        level=settings.server.log_level,
        form=settings.server.log_format,
        secrets=settings.secret_texts(),
    )
    # Uvicorn tells of every handshake with its query string, where a token may be; we have our own record.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    build(settings).run()


def _hooks(settings: Settings) -> list[Hook]:
    return [
        Hook.build(
            hook.name,
            hook.scheme,
            topic=hook.topic,
            secrets=[secret.get_secret_value() for secret in hook.secret],
            tolerance_seconds=hook.tolerance,
            header=hook.header,
            algorithm=hook.algorithm,
            encoding=hook.encoding,
            prefix=hook.prefix,
            id_header=hook.delivery_id,
        )
        for hook in settings.hooks
    ]


def _register_hook_metrics(metrics: Metrics, hooks: HookPublishing) -> None:
    metrics.counters(
        "hook_deliveries", "Webhook deliveries published.", "hook", lambda: hooks.statistics().accepted
    )
    metrics.counters(
        "hook_repeats", "Webhook deliveries seen before.", "hook", lambda: hooks.statistics().repeated
    )
    metrics.counters(
        "hook_refusals", "Webhook deliveries not verified.", "hook", lambda: hooks.statistics().unverified
    )


def _hub_limits(limits: Limits) -> HubLimits:
    return HubLimits(
        subscriptions=limits.subscriptions_per_connection,
        cached_topics=limits.cached_topics,
        # A tick's share of the outbox: what a connection is given at once must fit it besides what waits.
        tick_bytes=min(256 * 1024, limits.outbox_bytes // 4),
        tick_messages=limits.outbox_messages,
    )


def _session_limits(limits: Limits) -> SessionLimits:
    return SessionLimits(
        auth_timeout=limits.auth_timeout,
        bad_frames_per_minute=limits.bad_frames_per_minute,
        commands_per_second=limits.commands_per_second,
    )


def _connection_policy(limits: Limits) -> ConnectionPolicy:
    return ConnectionPolicy(
        message_seconds=limits.message_timeout,
        controls_per_second=limits.control_frames_per_second,
        control_burst=5 * limits.control_frames_per_second,
        fragments=limits.fragments_per_message,
    )


def _ingest_limits(limits: Limits) -> IngestLimits:
    return IngestLimits(
        message=MessageLimits(
            message_bytes=limits.message_bytes,
            json_depth=limits.json_depth,
            header_entries=limits.headers_per_message,
            header_bytes=limits.header_bytes,
        ),
        batch_items=limits.batch_items,
        batch_bytes=limits.batch_bytes,
        hook_bytes=limits.hook_body_bytes,
    )


def _announced(limits: Limits) -> dict[str, int]:
    """What ``welcome`` tells a client of the limits it may meet."""
    return {
        "message_bytes": limits.message_bytes,
        "frame_bytes": limits.frame_bytes,
        "json_depth": limits.json_depth,
        "topic_bytes": limits.topic_bytes,
        "topic_levels": limits.topic_levels,
        "subscriptions_per_connection": limits.subscriptions_per_connection,
        "commands_per_second": int(limits.commands_per_second),
    }
