"""A replay as one writes it first: rows of a SQLite table, ``await websocket.send_text(...)`` for each."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from benchmarks.peers.base import Peer, Start, package_version, python_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports


class SqliteLoop(Peer):
    name = "sqlite-loop"
    title = "a plain Starlette loop under uvicorn (uvloop, httptools) that sends the rows of a SQLite table"
    path = "/replay"
    feed_path = "/replay"

    def install(self) -> str:
        return f"{package_version('starlette', 'uvicorn')}, SQLite {sqlite3.sqlite_version}"

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        return python_server("replay_server", ports.websocket)
