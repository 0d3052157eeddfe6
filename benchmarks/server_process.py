"""One server process on its own core: started, measured from outside, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import server_cpu

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ServerError(Exception):
    """The server did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a server listens: for WebSockets (and HTTP), and for publishers over TCP where it has that."""

    websocket: int
    feed: int


def free_ports() -> Ports:
    """Two loopback ports that nothing listened on a moment ago."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return Ports(one.getsockname()[1], other.getsockname()[1])


class ServerProcess:
    """A started server; CPU time and memory are those of the process and all its children.

    It runs on the servers' core, or on ``cpus``, a list as ``taskset`` takes it.
    """

    def __init__(
        self, command: list[str], *, directory: Path, environment: dict[str, str], cpus: str | None = None
    ) -> None:
        self._log = directory / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", cpus or str(server_cpu()), *command],
                cwd=directory,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def wait_until_listening(self, *ports: int) -> None:
        """Return when every port accepts connections.

        Raises:
            ServerError: it ended or takes too long; what it said is on stderr.
        """
        deadline = time.monotonic() + READY_SECONDS
        for port in ports:
            while not accepts(port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = self._log.read_text("utf-8", errors="replace")[-2000:]
                    # To the terminal alone: it may name paths, and results are published.
                    print(said, file=sys.stderr)
                    raise ServerError("the server did not start to listen")
                time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """User and system time so far, all threads; in steps of a clock tick (10 ms)."""
        total = 0
        for pid in self._tree():
            with suppress(OSError):
                # The second field is the command in parentheses, and may hold spaces.
                fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def rss_bytes(self) -> int:
        """Resident memory now."""
        total = 0
        for pid in self._tree():
            with suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return total * _PAGE

    def open_files(self) -> int:
        """Descriptors of all processes: those of the connections, and a few."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._tree())

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not go."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tree(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            with suppress(OSError):
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    found += map(int, children.read_text("ascii").split())
        return found


def accepts(port: int) -> bool:
    """Whether anybody listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
