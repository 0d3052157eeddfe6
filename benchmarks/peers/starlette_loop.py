"""The loop that tutorials teach: ``await websocket.send_text(...)`` for each subscriber, under uvicorn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.load.client_frames import client_frame
from benchmarks.peers.base import Peer, Start, package_version, python_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports


class StarletteLoop(Peer):
    name = "starlette"
    title = "a plain Starlette loop under uvicorn (uvloop, httptools), published to over one WebSocket"
    path = "/subscribe"
    feed_path = "/publish"

    def install(self) -> str:
        return package_version("starlette", "uvicorn")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        return python_server("starlette_server", ports.websocket)

    def publish(self, topic: str, payload: bytes) -> bytes:
        return client_frame(b"%b %b" % (topic.encode(), payload))
