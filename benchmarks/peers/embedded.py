"""The gateway inside an application, under uvicorn as it comes and with our protocol class."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmarks.peers.base import Start
from benchmarks.peers.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.server_process import Ports

_SERVERS = Path(__file__).parent / "servers"


class EmbeddedGateway(Gateway):
    name = "embedded"
    title = "this gateway in a Starlette application, under uvicorn as it comes"
    path = "/realtime/v1/ws"
    feed_path = "/realtime/v1/ws"
    options: ClassVar[tuple[str, ...]] = ()

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:
        started = super().start(directory, ports, settings)
        command = [
            *(sys.executable, "-m", "uvicorn", "embedded_server:app", "--app-dir", str(_SERVERS)),
            *("--host", "127.0.0.1", "--port", str(ports.websocket), "--log-level", "warning"),
            *self.options,
        ]
        return Start(command, {**started.environment, "EMBEDDED_CONFIG": str(directory / "gateway.toml")})


class EmbeddedDirectly(EmbeddedGateway):
    name = "embedded-direct"
    title = "this gateway in a Starlette application, under uvicorn with our protocol class"
    options: ClassVar[tuple[str, ...]] = (
        *("--http", "gateway.embed.uvicorn_protocol:DirectHttpProtocol"),
        *("--ws", "websockets-sansio"),
    )
