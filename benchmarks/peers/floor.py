"""The floor: no protocol, no bounds, just prebuilt frames, joined, written to every socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.base import Peer, Start, package_version, python_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports


class Floor(Peer):
    name = "floor"
    title = "a minimal uvloop server that joins the frames of a read and writes them to every socket"

    def install(self) -> str:
        return package_version("uvloop")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        return python_server("floor_server", ports.websocket, ports.feed)
