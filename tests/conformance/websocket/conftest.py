"""Real servers for the suites here: each test starts its own, all of them are ended by process id."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVER = Path(__file__).with_name("echo_server.py")


@dataclass
class RunningEcho:
    port: int
    process: subprocess.Popen[bytes]
    log_file: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def rss(self) -> int:
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for_log(self, text: str, *, seconds: float = 10.0) -> str:
        deadline = time.monotonic() + seconds
        while text not in (log := self.log()):
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{log}"
            time.sleep(0.01)
        return log

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Callable[..., RunningEcho]]:
    """A factory: ``echo("lean", head={"head_seconds": 1})`` starts a server and returns once it listens."""
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
