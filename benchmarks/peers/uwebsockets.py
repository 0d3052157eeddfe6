"""uWebSockets: its built-in publish, called by a TCP reader in its own process, where it coalesces."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.installing import install_npm_packages
from benchmarks.peers.base import SERVERS, NotInstalledError, Peer, Start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports

_PACKAGE = SERVERS / "node_modules" / "uwebsockets" / "package.json"


class UWebSockets(Peer):
    name = "uwebsockets"
    title = "uWebSockets, built-in publish, published to over TCP into its process"

    def install(self) -> str:
        if shutil.which("node") is None:
            raise NotInstalledError("there is no node on the path")
        if not _PACKAGE.exists() and not install_npm_packages(SERVERS):
            raise NotInstalledError("the npm package uwebsockets could not be installed")
        return f"uwebsockets {json.loads(_PACKAGE.read_text('utf-8'))['version']}"

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        server = str(SERVERS / "uwebsockets_server.js")
        return Start(["node", server, str(ports.websocket), str(ports.feed)])
