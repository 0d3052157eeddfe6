"""Applications that embed a gateway, as processes under any ASGI server."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ports import free_port

from .conftest import STOP_SECONDS, RunningGateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]

SERVERS = {
    "uvicorn": "uvicorn {app} --host 127.0.0.1 --port {port}",
    "uvicorn with our class": (
        "uvicorn {app} --host 127.0.0.1 --port {port} --ws websockets-sansio "
        "--http gateway.embed.uvicorn_protocol:DirectHttpProtocol"
    ),
    "gateway serve": "gateway serve --app {app} --host 127.0.0.1 --port {port}",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:{port}",
    "hypercorn as a library": "served_by_hypercorn {port}",
    "granian": "granian {app} --interface asgi --host 127.0.0.1 --port {port}",
}
"""How each server is started that is run as it comes."""


@dataclass
class RunningApplication(RunningGateway):
    """One application; ``app`` is its module and name, found in ``path``; ``server`` how it is run."""

    app: str = ""
    server: str = "uvicorn"

    def check_ended(self) -> None:
        """As ``check``, for servers whose workers outlive them where they are killed."""
        if self.process is not None and self.process.poll() is None:
            self.end()
        self.check()

    def end(self) -> None:
        """End what still runs, its workers included."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def command(self) -> list[str]:
        return SERVERS[self.server].format(app=self.app, port=self.port).split()


@contextmanager
def application(
    directory: Path,
    app: str,
    *,
    path: Path = ROOT / "examples" / "embedding",
    server: str = "uvicorn",
    mount: str = "/realtime",
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningApplication]:
    """Start an application, and end it with the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    inherited |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(path), **(environment or {})}
    running = RunningApplication(free_port(), directory, inherited, mount=mount, app=app, server=server)
    running.good_codes = (0, -signal.SIGTERM)  # uvicorn raises the signal again once it has ended
    try:
        running.start()
        yield running
        running.check_ended()
    finally:
        running.end()
