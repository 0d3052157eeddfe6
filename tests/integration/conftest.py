"""A real ``gateway serve`` process for each test that asks for one.

``gateway_process`` is a factory; whatever it starts is ended at teardown, by process id. A gateway that
died unasked, or whose log holds a traceback, fails the test that started it.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.patience import HANG_SECONDS
from tests.ports import free_port
from tests.redis_process import module_redis_server, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

__all__ = ["module_redis_server", "redis_server"]

READY_SECONDS = 90.0  # no time is promised for it, and six may begin at once
STOP_SECONDS = 45.0  # drain_seconds, its two seconds of grace, and a busy machine
POLL_SECONDS = 0.02

PATIENT_STORE = {"GATEWAY_STORE__TIMEOUT": f"{HANG_SECONDS}s"}
"""For gateways without a Redis: none of their tests is about a file that takes its time."""

COMMANDS = {
    "direct": "gateway serve",
    # Uvicorn's own WebSocket class, which knows nothing of the takeover and has bounds of its own.
    "asgi": "uvicorn --factory gateway.app:create_app --ws websockets-sansio --log-level warning",
}
"""How to start a gateway for each way out: as its own server, or under any ASGI server."""


@dataclass
class RunningGateway:
    """One gateway process: where it is, what it said, and how to end it."""

    port: int
    directory: Path
    environment: dict[str, str]
    way: str = "direct"
    host: str = "127.0.0.1"
    may_log_tracebacks: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    runs: int = 0
    mount: str = ""
    good_codes: tuple[int, ...] = (0,)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.mount}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{self.mount}/v1/ws"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start the process and return when ``/readyz`` says ready, or fail with what it logged."""
        assert self.process is None, "already running"
        self.runs += 1
        command = [sys.executable, "-m", *self.command()]
        with (self.directory / "stdout").open("ab") as out, (self.directory / "stderr").open("ab") as err:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.wait_until_ready()

    def command(self) -> list[str]:
        """What is run, behind ``python -m``."""
        return [*COMMANDS[self.way].split(), "--host", self.host, "--port", str(self.port)]

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Poll ``/readyz`` until it answers 200."""
        deadline = time.monotonic() + seconds
        while self._readiness() != 200:
            if (code := self._running().poll()) is not None:
                self.process = None
                pytest.fail(f"the gateway ended with {code} before it was ready:\n{self.output()}")
            if time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the gateway was not ready after {seconds} s:\n{self.output()}")
            time.sleep(POLL_SECONDS)

    def terminate(self) -> None:
        """Send SIGTERM and return at once: the drain can then be watched from the test."""
        self._running().send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code, once the process has ended; one that doesn't end is killed and fails the test."""
        process = self._running()
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the gateway still ran {seconds} s after it was told to stop:\n{self.output()}")
        self.process = None
        return code

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM; asserts that the gateway drains and exits with 0 in time.

        Blocks: where the test's own event loop holds clients that must answer the drain, call it as
        ``await anyio.to_thread.run_sync(gateway.stop)``.
        """
        self.terminate()
        code = self.wait(seconds)
        assert code in self.good_codes, f"the gateway ended with {code} after SIGTERM:\n{self.output()}"

    def kill(self) -> None:
        """SIGKILL: the node is gone without a word."""
        process = self._running()
        process.kill()
        process.wait()
        self.process = None

    def restart(self) -> None:
        """The same port and settings again; stops the gateway first if it still runs."""
        if self.process is not None:
            self.stop()
        self.start()

    def rss(self) -> int:
        """Resident memory now, in bytes."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str) -> float:
        """A value of ``/metrics`` now; of a labelled one, with its labels in ``name``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_SECONDS)
        try:
            connection.request("GET", f"{self.mount}/metrics")
            page = connection.getresponse().read().decode()
        finally:
            connection.close()
        return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name} "))

    def stdout_text(self) -> str:
        return self._text("stdout")

    def stderr_text(self) -> str:
        return self._text("stderr")

    def output(self) -> str:
        """Everything it said so far, all runs on this port."""
        return self.stdout_text() + self.stderr_text()

    def check(self) -> None:
        """End what still runs, then fail if the gateway crashed or logged a traceback."""
        process, self.process = self.process, None
        crashed = None if process is None else process.poll()
        if process is not None and crashed is None:
            process.kill()
            process.wait()
        if crashed is not None:
            pytest.fail(f"the gateway ended by itself with {crashed}:\n{self.output()}")
        if not self.may_log_tracebacks and "Traceback (most recent call last)" in self.output():
            pytest.fail(f"the gateway logged a traceback:\n{self.output()}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "the gateway is not running"
        return self.process

    def _readiness(self) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_SECONDS)
        try:
            connection.request("GET", f"{self.mount}/readyz")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _text(self, name: str) -> str:
        return (self.directory / name).read_text("utf-8", errors="replace")


class StartGateway(Protocol):
    """What the fixture gives: ``gateway_process(settings_toml, env)`` starts one more gateway."""

    def __call__(
        self,
        settings_toml: str = "",
        env: Mapping[str, str] | None = None,
        *,
        way: str = "direct",
        host: str = "127.0.0.1",
    ) -> RunningGateway: ...


@contextmanager
def _gateways(directories: pytest.TempPathFactory) -> Iterator[StartGateway]:
    started: list[RunningGateway] = []
    # The developer's own GATEWAY_ variables must not leak into what is tested.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}

    def start(
        settings_toml: str = "",
        env: Mapping[str, str] | None = None,
        *,
        way: str = "direct",
        host: str = "127.0.0.1",
    ) -> RunningGateway:
        directory = directories.mktemp("gateway")
        settings = directory / "gateway.toml"
        settings.write_text(settings_toml, "utf-8")
        own = {"PYTHONUNBUFFERED": "1", "GATEWAY_CONFIG": str(settings)}
        patience = {} if "redis" in settings_toml else PATIENT_STORE
        environment = inherited | own | patience | dict(env or {})
        gateway = RunningGateway(free_port(), directory, environment, way, host)
        started.append(gateway)
        gateway.start()
        return gateway

    try:
        yield start
    finally:
        try:
            for gateway in started:
                gateway.check()
        finally:
            for gateway in started:
                if gateway.process is not None:
                    gateway.kill()


@pytest.fixture
def gateway_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways that end with the test."""
    with _gateways(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def module_gateway_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways that end with the module: for tests that don't disturb one another."""
    with _gateways(tmp_path_factory) as start:
        yield start


@pytest.fixture
def prefix() -> str:
    """What the keys of one test's store begin with."""
    return secrets.token_hex(4)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Nothing of the gateway still runs in this process when the test is over."""
    yield
    code = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
    assert [each for each in code if each is not None and "/gateway/" in each.co_filename] == []
