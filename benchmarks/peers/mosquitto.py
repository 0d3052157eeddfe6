"""Mosquitto: subscribers with MQTT 3.1.1 over WebSockets, the publisher over TCP, quality of service 0."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from benchmarks.installing import install_debian_package
from benchmarks.load.client_frames import BINARY, client_frame
from benchmarks.peers.base import NotInstalledError, Peer, Start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.server_process import Ports

# MQTT 3.1.1, 3.1: a clean session, no keep-alive, the server chooses the client's id.
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"


class Mosquitto(Peer):
    name = "mosquitto"
    title = "Mosquitto, WebSocket listener, published to over TCP"
    path = "/mqtt"
    subprotocol = "mqtt"
    deframe = True
    reply = b"\x90\x03\x00\x01"

    def install(self) -> str:
        executable = _executable() or (install_debian_package("mosquitto") and _executable())
        if not executable:
            raise NotInstalledError("Debian's package mosquitto could not be installed")
        said = subprocess.run([executable, "-h"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"version (\S+)", said)
        return f"mosquitto {version[1] if version else '?'}"

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        config = directory / "mosquitto.conf"
        config.write_text(
            f"listener {ports.feed} 127.0.0.1\n"
            f"listener {ports.websocket} 127.0.0.1\nprotocol websockets\n"
            "allow_anonymous true\npersistence false\nset_tcp_nodelay true\nlog_type error\n"
            "max_queued_messages 10000\nuser root\n",
            "utf-8",
        )
        return Start([_executable() or "mosquitto", "-c", str(config)])

    def hello(self) -> bytes:
        return client_frame(_CONNECT, BINARY)

    def subscribe(self, filters: Sequence[str]) -> bytes:
        topics = b"".join(_text(topic) + b"\x00" for topic in filters)
        return client_frame(b"\x82" + _length(2 + len(topics)) + b"\x00\x01" + topics, BINARY)

    def replies(self, filters: Sequence[str]) -> int:  # noqa: ARG002 - one packet for all of them
        return 1

    def feed_hello(self) -> bytes:
        return _CONNECT

    def publish(self, topic: str, payload: bytes) -> bytes:
        body = _text(topic) + payload
        return b"\x30" + _length(len(body)) + body


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _length(value: int) -> bytes:
    """MQTT 3.1.1, 2.2.3: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes(encoded) + bytes((value,))


def _executable() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
