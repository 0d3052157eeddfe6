"""``websockets.broadcast``, the fan-out that the websockets library documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.base import Peer, Start, package_version, python_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports


class Broadcast(Peer):
    name = "broadcast"
    title = "websockets.broadcast on uvloop, published to over TCP into its process"

    def install(self) -> str:
        return package_version("websockets")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        return python_server("broadcast_server", ports.websocket, ports.feed)
