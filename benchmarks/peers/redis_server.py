"""Redis: what nodes are joined by, and what programs without a gateway publish to and listen to."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from benchmarks.installing import install_debian_package
from benchmarks.peers.base import NotInstalledError, Peer, Start, package_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports


class Redis(Peer):
    name = "redis"
    title = "a Redis server, spoken to over bare sockets"

    def install(self) -> str:
        # Debian's redis-tools has the server; the package redis-server adds a service of the whole machine.
        executable = _executable() or (install_debian_package("redis-tools") and _executable())
        if not executable:
            raise NotInstalledError("Debian's package redis-tools could not be installed")
        command = ["bash", "-c", 'exec -a redis-server "$0" --version', executable]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        version = re.search(r"v=(\S+)", said)
        return f"Redis {version[1] if version else '?'}"

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        # Called by another name than the one it has it would check files instead of serving.
        options = f"--port {ports.feed} --bind 127.0.0.1 --save '' --appendonly no --dir {directory}"
        return Start(["bash", "-c", f'exec -a redis-server "$0" {options}', _executable() or "redis-server"])


class RedisPy(Redis):
    name = "redis-py"
    title = "redis-py: `publish` in a loop, and `listen`; `XREADGROUP` and `XACK` in threads (Q1)"

    def install(self) -> str:
        return f"{package_version('redis', 'hiredis')}, {super().install()}"


class RedisAsyncio(RedisPy):
    name = "redis-asyncio"
    title = "redis.asyncio: `await publish` in a loop, and `listen`, on uvloop, through the same Redis"


def _executable() -> str | None:
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")
