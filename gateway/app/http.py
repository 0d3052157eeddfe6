"""The application around the routes: its middleware, and the metrics of events and credentials."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from gateway.app import arguments
from gateway.codecs.server_sent_events import ServerSentEvents
from gateway.errors import NotFound
from gateway.http_api.bodies import BodyReader
from gateway.http_api.body_budget import BodyBudget
from gateway.http_api.last_values import POSITION_HEADER
from gateway.http_api.problems import exception_handlers, problem, problem_of, problem_teller
from gateway.http_api.publishing.direct import DirectPublishing
from gateway.http_api.publishing.endpoints import TOPICS_PREFIX, PublishingDoor
from gateway.transports.http.connection_room import ConnectionRoom
from gateway.transports.http.denial import deny
from gateway.transports.http.literal_paths import LiteralPaths
from gateway.transports.http.request_rules import RequestRules
from gateway.transports.http.scopes import path_below_mount
from gateway.transports.http.unread_responses import UnreadResponses
from gateway.transports.server.origins import OriginGuard
from gateway.transports.server.proxies import ProxyChain, TrustedProxies, proxy_addresses
from gateway.transports.server.security_headers import API_HEADERS, SecurityHeaders
from gateway.transports.server.server_context import LimitedLog
from gateway.transports.sse.endpoint import EventDoor
from gateway.transports.websocket.connection import WEBSOCKET_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.responses import Response
    from starlette.routing import BaseRoute, Route
    from starlette.types import Receive, Scope, Send

    from gateway.auth.authenticators import CredentialAuthenticator
    from gateway.auth.principal import Authenticator
    from gateway.codecs.gateway_v1 import GatewayV1
    from gateway.codecs.publish_items import PublishItems
    from gateway.engine.admission import Admission
    from gateway.engine.metrics.refusals import Refusals
    from gateway.engine.publishing import PublishService
    from gateway.engine.sessions import Sessions
    from gateway.observability.metrics import Metrics
    from gateway.settings import Limits, Settings
    from gateway.transports.server.origins import OriginPolicy
    from gateway.transports.server.tls import Certificate
    from gateway.transports.services import Services


_NO_WEBSOCKETS: Final = (
    "the server that runs this application takes no WebSockets: uvicorn needs --ws websockets-sansio and the "
    "package websockets, granian --ws"
)
_NO_HANDSHAKE: Final = (
    "a WebSocket is opened here, by GET with 'Upgrade: websocket': a proxy in between must pass that on"
)
_log: Final = logging.getLogger("gateway")


def tell_refused(refusals: Refusals) -> Callable[[Exception], None]:
    """Return what is told of requests that come from where they may not: it counts them, and logs some."""
    log: LimitedLog | None = None

    def tell(error: Exception) -> None:
        nonlocal log
        refusals.count("origin")
        if log is None:  # the event loop, whose clock it reads, runs by now
            log = LimitedLog(asyncio.get_running_loop(), logging.getLogger("gateway"))
        log.warning("request refused: %s", error)

    return tell


def application(
    settings: Settings,
    origins: OriginPolicy,
    *,
    routes: Sequence[BaseRoute],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> Starlette:
    """Return the application that answers on ``routes`` for as long as ``lifespan`` lets it."""
    handlers = exception_handlers()
    asgi = Starlette(
        routes=routes,
        middleware=[
            *_middleware(settings, origins),
            Middleware(PublishingDoor, routes=routes, handlers=handlers),
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    asgi.router.redirect_slashes = False
    asgi.router.default = _not_found
    return asgi


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """What no route answers; Starlette's own answer to a handshake is an empty 403."""
    path = path_below_mount(scope)[:100]
    if scope["type"] == "http":
        if path == WEBSOCKET_PATH and (b"upgrade", b"websocket") in scope["headers"]:
            # A server that knows WebSockets has made one of it.
            _log.error(_NO_WEBSOCKETS)
            await problem(501, "unavailable", _NO_WEBSOCKETS)(scope, receive, send)
            return
        if path == WEBSOCKET_PATH:
            await problem(400, "bad_command", _NO_HANDSHAKE)(scope, receive, send)
            return
        raise HTTPException(404)
    error = NotFound(f"there is no WebSocket at {path!r}: it is at {WEBSOCKET_PATH!r}")
    await deny(problem_of(error), scope, receive, send)


def held_to_request_rules(asgi: Starlette) -> Starlette:
    """Return ``asgi``, which then checks by itself what our own protocol class would have checked."""

    def refuse(status: int, reason: str) -> Response:
        return problem(status, "bad_command", reason, headers={"Connection": "close"})

    # Behind what every answer gets, before anything looks at a header.
    asgi.user_middleware.insert(1, Middleware(RequestRules, refuse=refuse))
    return asgi


def _middleware(settings: Settings, origins: OriginPolicy) -> list[Middleware]:
    """From the outermost; each sees what those before it have let through."""
    layers = [Middleware(SecurityHeaders)]
    if settings.server.trusted_proxies:
        layers.append(Middleware(TrustedProxies, networks=settings.server.trusted_proxies))
    layers.append(Middleware(OriginGuard, policy=origins, refuse=problem_of))
    layers.append(Middleware(LiteralPaths, encoded=TOPICS_PREFIX, refuse=problem_of))
    if settings.origins.allow:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins.allow,
                # A page that sends a credential asks before HEAD too.
                allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
                allow_headers=["*"],
                allow_credentials=True,
                expose_headers=["Retry-After", "ETag", POSITION_HEADER],
            )
        )
    return layers


def handshake_checks(settings: Settings, origins: OriginPolicy) -> list[Callable[[Scope], None]]:
    """What ``_middleware`` does with the scope of a handshake, for a door that is asked without it.

    The rest of it looks at HTTP alone, or at paths that are percent-encoded, which no door's is.
    """
    checks: list[Callable[[Scope], None]] = []
    if settings.server.trusted_proxies:
        checks.append(ProxyChain(settings.server.trusted_proxies).put_client)
    checks.append(origins.check_request)
    return checks


def build_requests(
    settings: Settings,
    publisher: PublishService,
    authenticator: Authenticator,
    items: PublishItems,
    *,
    at_once: bool,
    known_otherwise: bool,
) -> DirectPublishing | None:
    """Build what answers requests to publish without the application; None where only that can.

    The checks are what `_middleware` does with such requests, as in `handshake_checks`.

    An application around the gateway may say by any part of a request whose it is.

    Args:
        settings: of the node.
        publisher: publishes.
        authenticator: knows who sends.
        items: knows what items of arrays begin with.
        at_once: the bus answers without waiting.
        known_otherwise: who sends is known by something else than credentials.
    """
    if known_otherwise:
        return None
    # A policy that tells nobody: what it refuses here is refused, and counted, by the application.
    origins = arguments.origin_policy(settings)
    return DirectPublishing(
        publisher,
        authenticator,
        arguments.credentials(settings, origins),
        checks=[origins.check_request],
        items=items,
        limits=arguments.publishing_limits(settings.limits),
        # What `_middleware` adds: all answers may be others for another origin, where there are any.
        fields=[*([(b"vary", b"Origin")] if settings.origins.allow else ()), *API_HEADERS],
        refuse=problem_teller(),
        at_once=at_once,
    )


def build_room(
    settings: Settings, sessions: Sessions, admission: Admission, refusals: Refusals, metrics: Metrics
) -> tuple[ConnectionRoom, UnreadResponses]:
    """Build what bounds connections that are no sessions; ``metrics`` tells how it stands with them."""
    limits = settings.limits
    room = ConnectionRoom(
        arguments.room_limits(limits),
        sessions=lambda: sessions.connections,
        sessions_of=admission.of_address,
        is_proxy=proxy_addresses(settings.server.trusted_proxies),
        problem=problem_of,
        refusals=refusals,
    )
    unread = UnreadResponses(limits.response_bytes, refusals)
    read = room.statistics
    metrics.gauge(
        "http_connections", "Open connections that are no client sessions.", lambda: read().connections
    )
    metrics.gauge("tls_handshakes", "TLS handshakes under way.", lambda: read().handshakes)
    metrics.counter(
        "tls_handshakes_failed", "TLS handshakes that failed or took too long.", lambda: read().failed
    )
    metrics.gauge("unread_response_bytes", "Bytes of responses that wait to be read.", lambda: unread.bytes)
    return room, unread


def build_body_readers(limits: Limits, refusals: Refusals, metrics: Metrics) -> tuple[BodyReader, BodyReader]:
    """Build what reads bodies: of requests whose sender is known, and of webhooks not yet verified."""

    def reader(name: str, most: int) -> BodyReader:
        budget = BodyBudget(most, name=name, refusals=refusals)
        metrics.gauge(f"unfinished_{name}", f"Held now, of limits.{name}.", lambda: budget.bytes)
        return BodyReader(
            seconds=limits.body_timeout,
            bytes_per_second=limits.body_rate,
            budget=budget,
            refusals=refusals,
        )

    return reader("body_bytes", limits.body_bytes), reader("unverified_bytes", limits.unverified_bytes)


def event_routes(services: Services, codec: GatewayV1, metrics: Metrics) -> list[Route]:
    """The route of server-sent events, in ``codec``'s JSON; ``metrics`` tells how their clients fare."""
    door = EventDoor(services, ServerSentEvents(codec))
    read = door.statistics
    metrics.gauge("event_streams", "Open responses of server-sent events.", lambda: read().open)
    metrics.counter("event_streams_opened", "Such responses since the start.", lambda: read().opened)
    metrics.counter(
        "event_streams_resumed", "Those of clients that came back with an id.", lambda: read().resumed
    )
    metrics.counter("event_ids_unreadable", "Their ids that could not be read.", lambda: read().unreadable)
    return door.routes()


def register_certificate_metrics(metrics: Metrics, certificate: Certificate) -> None:
    """Have ``metrics`` tell when the certificate ends, and whether new files can be taken up."""
    read = certificate.statistics
    metrics.gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When the certificate in use ends, in seconds since 1970.",
        lambda: read().not_after,
    )
    metrics.counter(
        "tls_certificate_failures", "Times that changed files could not be taken up.", lambda: read().failures
    )


def register_credential_metrics(metrics: Metrics, authenticator: CredentialAuthenticator) -> None:
    """Have ``metrics`` tell how credentials fared, and how it stands with an issuer's keys."""
    read = authenticator.statistics

    def outcomes() -> dict[str, float]:
        statistics = read()
        return {
            "accepted": statistics.accepted,
            "refused": statistics.refused,
            "expired": statistics.expired,
        }

    metrics.counters("credentials", "Credentials looked at.", "outcome", outcomes)
    if read().jwks is None:
        return

    def of_issuer(name: str) -> float:
        jwks = read().jwks
        return float(getattr(jwks, name)) if jwks is not None else 0.0

    metrics.gauge("jwks_keys", "The issuer's keys that are known.", lambda: of_issuer("keys"))
    metrics.gauge("jwks_age_seconds", "Since its keys were fetched last.", lambda: of_issuer("age"))
    metrics.counter("jwks_fetches", "Fetches of its keys.", lambda: of_issuer("fetches"))
    metrics.counter("jwks_failures", "Fetches that failed.", lambda: of_issuer("failures"))
