"""Real servers for the suites here: each test starts its own, all of them are ended by process id."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVER = Path(__file__).with_name("echo_server.py")


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@dataclass
class RawClient:
    """A socket, and what a test wants to do with one."""

    socket: socket.socket
    unread: bytes = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_until_refused(self, piece: bytes, count: int) -> int:
        """Send ``piece`` up to ``count`` times; how many went out before the peer closed."""
        for sent in range(count):
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return sent
        return count

    def read_until(self, end: bytes) -> bytes:
        while end not in self.unread:
            piece = self.socket.recv(65536)
            assert piece, f"closed before {end!r}, after {self.unread[-300:]!r}"
            self.unread += piece
        found, _, self.unread = self.unread.partition(end)
        return found + end

    def expect_silence(self, seconds: float) -> None:
        """The peer sends nothing and closes nothing for so long."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self.socket.recv(1)
        self.socket.settimeout(before)

    def read_all(self) -> bytes:
        """Everything until the peer closes its direction; the socket's timeout bounds it."""
        while piece := self.socket.recv(65536):
            self.unread += piece
        found, self.unread = self.unread, b""
        return found

    def read_frame(self) -> tuple[int, bytes]:
        head = self._read(2)
        size = head[1]
        if size > 125:
            size = int.from_bytes(self._read(2 if size == 126 else 8), "big")
        return head[0] & 0xF, self._read(size)

    def _read(self, size: int) -> bytes:
        while len(self.unread) < size:
            piece = self.socket.recv(65536)
            assert piece, "closed inside a frame"
            self.unread += piece
        found, self.unread = self.unread[:size], self.unread[size:]
        return found

    def read_close_code(self) -> int:
        """The code of the close frame, whatever comes before it."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")


@dataclass
class RunningEcho:
    port: int
    process: subprocess.Popen[bytes]
    log_file: Path
    clients: list[socket.socket] = field(default_factory=list)

    def connect(self, *, receive_buffer: int = 0) -> RawClient:
        client = socket.socket()
        client.settimeout(HANG_SECONDS)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port))
        self.clients.append(client)
        return RawClient(client)

    def open(self, headers: bytes = b"", *, early: bytes = b"", receive_buffer: int = 0) -> RawClient:
        """A WebSocket; ``early`` is sent in one piece with the handshake."""
        client = self.connect(receive_buffer=receive_buffer)
        client.send(HANDSHAKE + headers + b"\r\n" + early)
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        return client

    def rss(self) -> int:
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for_log(self, text: str, *, seconds: float = HANG_SECONDS) -> str:
        deadline = time.monotonic() + seconds
        while text not in (log := self.log()):
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{log}"
            time.sleep(0.01)
        return log

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Callable[..., RunningEcho]]:
    """A factory: ``echo("lean", limits={"head_seconds": 1})`` starts a server and returns once it listens."""
    running: list[RunningEcho] = []

    def start(mode: str, **options: Any) -> RunningEcho:
        log_file = tmp_path / f"log{len(running)}"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(SERVER), json.dumps({"mode": mode, **options})],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        with process.stdout as output:
            port = output.readline()
        server = RunningEcho(int(port or 0), process, log_file)
        running.append(server)
        assert port, f"the server did not start:\n{server.log()}"
        server.wait_for_log("Application startup complete", seconds=30)
        return server

    yield start
    for server in running:
        server.stop()
