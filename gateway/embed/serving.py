"""An application that embeds a gateway, on the gateway's own server: ``gateway serve --app module:app``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string

from gateway.app import arguments
from gateway.app.server import behind_certificate, open_sockets
from gateway.embed.discovery import mounts, websocket_paths
from gateway.errors import NodeFailed
from gateway.settings import InvalidSettings
from gateway.transports.http.configuration import http_protocol
from gateway.transports.server.open_files import OpenFiles, allow_open_files
from gateway.transports.server.server import SHUTDOWN_SECONDS, GatewayServer
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.embed.gateway import Gateway
    from gateway.observability.metrics import Metrics
    from gateway.settings import Settings
    from gateway.transports.server.tls import Certificate


class UnusableApplication(Exception):  # noqa: N818 - says what is the matter
    """There is no application of this name, or no gateway in it."""


_SEVERAL: Final = (
    "several gateways of the application have the redis.prefix {prefix!r}: in one Redis they would be one "
    "gateway; give each a prefix of its own"
)


class ServedApplication:
    """An application and its server.

    Attributes:
        gateways: those mounted in it, by their paths.
    """

    def __init__(self, target: str, settings: Settings, *, certificate: Certificate | None = None) -> None:
        """Import the application.

        Args:
            target: ``module:name``; the module is looked for in the working directory too.
            settings: of the server; ``redis.url`` joins gateways that have none of their own.
            certificate: where one is loaded already.

        Raises:
            UnusableApplication: there is no such application, or no gateway in it.
            ValueError: a certificate's files are wrong.
        """
        self._settings = settings
        self._certificate = certificate or arguments.certificate(settings)
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            self._app: Any = import_from_string(target)
        except ImportFromStringError as error:
            raise UnusableApplication(str(error)) from error
        self.gateways: dict[str, Gateway] = dict(mounts(self._app))
        if not self.gateways:
            raise UnusableApplication(
                f"no gateway is mounted in {target!r} where it can be found: mount a gateway.embed.Gateway "
                "with the application's own mount, or with gateway.mount(application, path)"
            )

    def join(self, *, workers: int = 1, keeps: bool = True) -> None:
        """Have its gateways be one with those of other processes, if the settings name a Redis.

        Args:
            workers: processes on this machine.
            keeps: streams are kept in that Redis, unless it is the workers' private one.

        Raises:
            InvalidSettings: a gateway can't be one of several.
        """
        url = self._settings.redis.url
        # One may be mounted under several paths.
        gateways = list(dict.fromkeys(self.gateways.values()))
        if url is not None:
            prefixes = Counter(each.joined_as for each in gateways if each.joined_as is not None)
            if problems := [_SEVERAL.format(prefix=each) for each, count in prefixes.items() if count > 1]:
                raise InvalidSettings(problems)
        for gateway in gateways:
            gateway.join(None if url is None else url.get_secret_value(), workers=workers, keeps=keeps)

    def watch(self, show: Callable[[Metrics], None]) -> None:
        """Have ``show`` add to the metrics of its gateways."""
        for gateway in self.gateways.values():
            gateway.prepare.append(lambda node: show(node.metrics))

    def run(
        self, sockets: list[socket.socket] | None = None, *, alive: Callable[[], None] | None = None
    ) -> None:
        """Serve until SIGTERM or SIGINT, then drain; as ``GatewayNode.run``.

        Raises:
            OSError: the address can't be listened on.
        """
        allow_open_files()
        files = OpenFiles(_nothing)
        if sockets is None:
            sockets = open_sockets(self._settings)
        http = http_protocol(
            arguments.request_limits(self._settings.limits),
            files,
            offer=TakeoverOffer(
                paths=websocket_paths(self._app),
                policy=arguments.connection_policy(self._settings.limits),
            ),
        )
        GatewayServer(
            self._config(behind_certificate(http, self._certificate, self._settings), alive),
            prepare=_at_once,
            started=lambda: self._started(sockets[0].getsockname()),
            drain=self._drain,
            refuse=_nothing,
            reload=self._reload,
            drain_seconds=self._settings.server.drain_seconds,
        ).run(sockets=sockets)

    def _config(self, http: Any, alive: Callable[[], None] | None) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's
        server = self._settings.server

        async def beat() -> None:
            if alive is not None:
                alive()

        return uvicorn.Config(
            self._app,
            http=http,
            ws="websockets-sansio",  # for the application's own; a gateway's are taken over
            lifespan="on",
            log_config=None,
            access_log=server.access_log,
            server_header=False,
            forwarded_allow_ips=list(server.trusted_proxies),
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,  # type: ignore[arg-type]  # asyncio takes a float
            callback_notify=beat,
            timeout_notify=1,
        )

    def _started(self, address: tuple[str, int]) -> None:
        log = structlog.stdlib.get_logger("gateway")
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        scheme = "http" if self._certificate is None else "https"
        paths = ", ".join(path or "/" for path in self.gateways)
        log.info("application ready", url=f"{scheme}://{host}:{address[1]}", gateways=paths)

    async def _drain(self) -> None:
        for gateway in self.gateways.values():
            if gateway.running:
                await gateway.drain()

    async def _reload(self) -> None:
        if self._certificate is not None:
            self._certificate.look_now()


def _nothing() -> None:
    """What is done where nothing is to be done."""


async def _at_once() -> None:
    """As ``_nothing``: the application's lifespan prepares."""


def make_application(
    target: str, *, keeps: bool
) -> Callable[[Settings, Certificate | None], ServedApplication]:
    """Return what makes an application in one of several workers, which are one gateway; as ``join``."""

    def make(settings: Settings, certificate: Certificate | None) -> ServedApplication:
        try:
            served = ServedApplication(target, settings, certificate=certificate)
            served.join(workers=settings.server.workers, keeps=keeps)
        except (UnusableApplication, InvalidSettings) as error:
            raise NodeFailed(str(error)) from error
        return served

    return make
