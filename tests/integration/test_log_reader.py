"""A log whose reader hangs is no reason to serve nobody.

Spec: docs/operations.md, "Log".
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.patience import HANG_SECONDS
from tests.ports import free_port

from .conftest import READY_SECONDS, STOP_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

LONG_LINES = 400
"""Access records of 4 KiB: more than a pipe and the queue behind it hold."""


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=1).status_code == 200
    except httpx2.HTTPError:
        return False


def ask_at_length(port: int) -> None:
    """Have a long line logged, by a connection of its own: any worker may get it."""
    head = f"GET /livez?{'x' * 4000} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 200"


def dropped(url: str) -> float:
    """How many records the worker that answers has dropped."""
    lines = httpx2.get(f"{url}/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("gateway_log_records_dropped")))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_nobody_reads_holds_nothing(tmp_path: Path, workers: int) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--workers", str(workers)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment["GATEWAY_SERVER__ACCESS_LOG"] = "true"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not answers(url):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            for _ in range(workers * LONG_LINES):
                ask_at_length(port)
            # Whichever worker answers: one may have got few of the connections.
            deadline = time.monotonic() + HANG_SECONDS
            while not dropped(url):
                assert time.monotonic() < deadline
                ask_at_length(port)
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0
        finally:
            process.kill()
