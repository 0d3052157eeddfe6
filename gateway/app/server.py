"""How a node is served: its sockets, uvicorn's configuration, and what the log says once it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from gateway.app import arguments
from gateway.core.compiled import COMPILED
from gateway.transports.http.configuration import http_protocol
from gateway.transports.server.server import SHUTDOWN_SECONDS, listen
from gateway.transports.server.tls_door import behind_tls
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    import asyncio
    import socket

    from starlette.applications import Starlette
    from structlog.stdlib import BoundLogger

    from gateway.settings import Settings
    from gateway.transports.http.connection_room import ConnectionRoom
    from gateway.transports.http.known_requests import RequestDoor
    from gateway.transports.http.protocol import GatewayHttpProtocol
    from gateway.transports.http.unread_responses import UnreadResponses
    from gateway.transports.server.open_files import OpenFiles
    from gateway.transports.server.tls import Certificate
    from gateway.transports.websocket.takeover_offer import DirectDoor


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Listen on ``server.host`` and ``server.port``.

    Raises:
        OSError: the address can't be listened on.
    """
    server = settings.server
    return listen(server.host, server.port, dead_peer_seconds=arguments.dead_peer_seconds(settings))


def server_config(
    asgi: Starlette,
    settings: Settings,
    certificate: Certificate | None,
    files: OpenFiles | None = None,
    *,
    room: ConnectionRoom | None = None,
    unread: UnreadResponses | None = None,
    door: DirectDoor | None = None,
    requests: RequestDoor | None = None,
) -> uvicorn.Config:
    """Return how uvicorn serves ``asgi``: our protocol classes and bounds, and none of its own habits."""
    limits = settings.limits
    http = http_protocol(
        arguments.request_limits(limits),
        files,
        room=room,
        unread=unread,
        offer=TakeoverOffer(paths=None, policy=arguments.connection_policy(limits), door=door),
        # The application writes that log.
        requests=None if settings.server.access_log else requests,
    )
    return uvicorn.Config(
        asgi,
        http=behind_certificate(http, certificate, settings),
        ws="none",  # every WebSocket here is taken over, or refused
        lifespan="on",
        log_config=None,
        access_log=settings.server.access_log,
        server_header=False,
        # Uvicorn's own would believe every header that comes from loopback.
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,  # type: ignore[arg-type]  # asyncio takes a float
    )


def behind_certificate(
    http: type[GatewayHttpProtocol], certificate: Certificate | None, settings: Settings
) -> type[asyncio.Protocol]:
    """Return ``http`` behind TLS, or as it is where there is no certificate."""
    if certificate is None:
        return http
    return behind_tls(http, lambda: certificate.context, seconds=settings.limits.tls_handshake_timeout)


def log_ready(
    log: BoundLogger, settings: Settings, address: tuple[str, int], *, node: str, encrypted: bool
) -> None:
    """Log where ``node`` can be reached, and warn if too many or too few may come in there."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    scheme = "https" if encrypted else "http"
    log.info("gateway ready", url=f"{scheme}://{host}:{address[1]}", node=node, compiled=COMPILED)
    if settings.server.insecure and settings.auth.mode == "none":
        log.warning(
            "INSECURE: anyone who reaches this address may publish, subscribe and disconnect others",
            host=settings.server.host,
        )
    if settings.auth.mode == "optional" and not settings.origins.hosts:
        log.warning(
            "anonymous clients may come by an address or a loopback name only: name others in origins.hosts"
        )
