"""How a server is started and spoken to, so that every scenario can be run against it."""

from __future__ import annotations

import copy
import importlib.metadata
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmarks.load.client_frames import client_frame

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from benchmarks.server_process import Ports

SERVERS = Path(__file__).parent / "servers"
ROOT = Path(__file__).parents[2]


class NotInstalledError(Exception):
    """The peer can't be had on this machine; the tables say so with this reason."""


@dataclass(frozen=True)
class Start:
    """A command that starts a server in the foreground."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Peer(ABC):
    """One server.

    Attributes:
        name: in tables and on the command line; ``title`` says how it is used.
        path: of its WebSocket endpoint; ``subprotocol`` is what it wants to be offered.
        feed_path: where publishers connect by WebSocket; None: by TCP.
        deframe: each client's frames are cut otherwise, so only their payloads are alike.
        suffix: bytes of a message that follow the payload.
        files_per_connection: descriptors of all its processes.
        encryption: what clients speak TLS with; None: they don't.
        reply: what a subscription's answer contains; ``replies`` says how many there are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    subprotocol: ClassVar[str | None] = None
    feed_path: ClassVar[str | None] = None
    deframe: ClassVar[bool] = False
    suffix: ClassVar[int] = 0
    reply: ClassVar[bytes] = b"ready"
    settle_seconds: ClassVar[float] = 0.2
    files_per_connection: ClassVar[int] = 1
    path = "/"
    encryption: ssl.SSLContext | None = None

    @abstractmethod
    def install(self) -> str:
        """Install what is missing; return the version.

        Raises:
            NotInstalledError: it can't be had here.
        """

    @abstractmethod
    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:
        """How to start it; ``settings`` concern the gateway alone."""

    def token(self) -> str | None:
        """What the next client bears in its handshake, where it is to bear anything."""
        return None

    def hello(self) -> bytes:
        """What a client says first, once the WebSocket is open."""
        return b""

    def subscribe(self, filters: Sequence[str]) -> bytes:
        """The frames that subscribe; for servers of our own, one topic a frame."""
        return b"".join(client_frame(topic.encode()) for topic in filters)

    def replies(self, filters: Sequence[str]) -> int:
        """How many times ``reply`` is in the answers to ``subscribe``."""
        return len(filters)

    def feed_hello(self) -> bytes:
        """What a publisher says first over TCP."""
        return b""

    def publish(self, topic: str, payload: bytes) -> bytes:
        """The bytes that publish; for servers of our own fed over TCP, one line a message."""
        return b"%b %b\n" % (topic.encode(), payload)

    def as_publisher(self) -> Peer:
        """The same server as its publishers see it."""
        other = copy.copy(self)
        other.path = self.feed_path or self.path
        return other


def python_server(module: str, *arguments: object) -> Start:
    """Start one of the servers in ``servers/``."""
    return Start(
        [sys.executable, "-m", f"benchmarks.peers.servers.{module}", *map(str, arguments)],
        {"PYTHONPATH": str(ROOT)},
    )


def package_version(*names: str) -> str:
    """The versions of Python packages, as a table shows them."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
