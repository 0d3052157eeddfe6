"""The plugin as others have it: in a pytest of their own, with anyio or pytest-asyncio, and in parallel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import pytest
from gateway.embed import Stream

pytestmark = [{marks}]


@pytest.mark.gateway(streams=[Stream("orders", filter="orders/#")])
@pytest.mark.parametrize("number", range(4))
async def test_in_memory(gateway, number):
    assert gateway.published() == []
    async with gateway.client() as client, client.subscribe("orders/#") as messages:
        await gateway.publish("orders/1", number)
        assert (await anext(messages)).data == number
        await gateway.settled()
        assert len(gateway.delivered(client)) == 1


async def test_without_streams(gateway):
    assert (await gateway.http.get("/readyz")).status_code == 200
"""

ASYNCIO = "asyncio_default_fixture_loop_scope = function\n"
RUNS = {
    "anyio": ("pytest.mark.anyio", "", "no:asyncio"),
    "pytest-asyncio by marks": ("pytest.mark.asyncio", ASYNCIO, "asyncio"),
    "pytest-asyncio by mode, in one event loop": (
        "",
        f"{ASYNCIO}asyncio_mode = auto\nasyncio_default_test_loop_scope = module\n",
        "asyncio",
    ),
}
BACKEND = "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"


def run_pytest(directory: Path, ini: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "pytest.ini").write_text(
        f"[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n{ini}"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=6 * HANG_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("run", RUNS)
def test_it_works_with(tmp_path: Path, run: str) -> None:
    marks, ini, plugin = RUNS[run]
    (tmp_path / "test_shop.py").write_text(TESTS.format(marks=marks))
    (tmp_path / "conftest.py").write_text(BACKEND)
    done = run_pytest(tmp_path, ini, "-p", plugin)
    assert (done.returncode, "5 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_it_works_in_parallel_with_processes_too(tmp_path: Path) -> None:
    (tmp_path / "test_memory.py").write_text(TESTS.format(marks="pytest.mark.anyio"))
    (tmp_path / "test_server.py").write_text("""
import urllib.request

import pytest

from gateway.settings import Limits


@pytest.mark.gateway(streams=[{"name": "orders", "filter": "orders/#"}], limits=Limits(topic_levels=3))
@pytest.mark.parametrize("number", range(2))
def test_a_process(gateway_server, number):
    url = gateway_server.url + "/v1/topics/orders/1"
    request = urllib.request.Request(url, b"1", {"content-type": "application/json"})
    assert b'"offset":1' in urllib.request.urlopen(request).read()
    pid = gateway_server.pid
    print("gateway", pid)
    if number:
        gateway_server.kill()
        gateway_server.start()
        assert gateway_server.url in url
        assert gateway_server.pid != pid
        assert gateway_server.stop() == 0
""")
    (tmp_path / "conftest.py").write_text(BACKEND)
    done = run_pytest(tmp_path, "", "-p", "no:asyncio", "-n", "2", "-rP")
    assert (done.returncode, "7 passed" in done.stdout) == (0, True), done.stdout + done.stderr
    pids = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("gateway ")]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_who_cannot_use_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text("""
from datetime import timedelta

import pytest

def test_not_async(gateway):
    pass

@pytest.mark.gateway(streams=[{"name": "orders", "filter": "#/orders"}])
def test_settings(gateway_server):
    pass

@pytest.mark.gateway(streams=[{"name": "orders", "filter": "orders/#", "max_age": timedelta(days=1)}])
def test_types(gateway_server):
    pass
""")
    done = run_pytest(tmp_path, "", "-p", "no:asyncio")
    assert done.returncode == 1
    assert "the fixture 'gateway' is for async tests" in done.stdout
    assert "streams[0].filter" in done.stdout
    assert "streams[0].max_age: a time is a number of seconds" in done.stdout


def test_it_costs_nothing_where_it_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("""
import json, sys

def test_other():
    print("loaded", json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "gateway")))
""")
    done = run_pytest(tmp_path, "", "-p", "no:asyncio", "-rP")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("loaded ")]
    assert json.loads(line.removeprefix("loaded ")) == [
        "gateway",
        "gateway.testing",
        "gateway.testing.plugin",
    ]
