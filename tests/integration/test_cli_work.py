"""``gateway work``: a worker in a module, signals, exit codes, and what is said of a wrong module path."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_SECONDS

from .group_client import call, figures, publish
from .raw_client import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import RunningGateway, StartGateway

SETTINGS = """
[store]
url = "memory:"

[[streams]]
name = "s"
filter = "s/#"
"""

MODULE = """
import pathlib, sys, threading, time
import anyio
from gateway.client import Worker

worker = Worker("s", group={group!r}, grace=20.0)
nothing = Worker("s", group="g")
number = 42

def note(line):
    with pathlib.Path(__file__).with_name("notes").open("a") as notes:
        notes.write(line + "\\n")

def wait_for_the_go():
    while not pathlib.Path(__file__).with_name("go").exists():
        time.sleep(0.01)

@worker.handle("s/async")
async def quick(delivery):
    note(f"quick {{delivery.data}}")

@worker.handle("s/sync")
def slow(delivery):
    note("begun")
    wait_for_the_go()
    note("ended")

@worker.handle("s/stuck")
def stuck(delivery):
    note("begun")
    threading.Event().wait()
"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS)


@pytest.fixture
def group(gateway: RunningGateway, tmp_path: Path) -> str:
    name = tmp_path.name
    assert call(gateway, "PUT", f"streams/s/groups/{name}", {"ack_wait": 60})[0] == 201
    (tmp_path / "tasks.py").write_text(MODULE.format(group=name), "utf-8")
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n", "utf-8")
    (tmp_path / "failing.py").write_text("1 / 0\n", "utf-8")
    return name


@contextmanager
def working(gateway: RunningGateway, directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gateway", "work", "tasks:worker", "--url", gateway.url, *options]
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def notes(directory: Path) -> list[str]:
    path = directory / "notes"
    return path.read_text("utf-8").splitlines() if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_it_end_what_it_has_begun(
    gateway: RunningGateway, group: str, tmp_path: Path, number: signal.Signals
) -> None:
    with working(gateway, tmp_path) as process:
        publish(gateway, "s/async", "hello")
        publish(gateway, "s/sync")
        await until(lambda: set(notes(tmp_path)) == {"quick hello", "begun"})
        process.send_signal(number)
        # It takes nothing new, and is there until it is done.
        await until(lambda: _says(process, "stops; 1 handlers still run"))
        publish(gateway, "s/async", "too late")
        (tmp_path / "go").touch()
        assert process.wait(HANG_SECONDS) == 0
    assert sorted(notes(tmp_path)) == ["begun", "ended", "quick hello"]
    assert figures(gateway, group)["depth"] == 1


def _says(process: subprocess.Popen[str], text: str) -> bool:
    assert process.stderr is not None
    return any(text in line for line in iter(process.stderr.readline, ""))


async def test_what_does_not_end_in_time_is_cut_off(
    gateway: RunningGateway, group: str, tmp_path: Path
) -> None:
    with working(gateway, tmp_path, "--grace", "0.1", "--concurrency", "2") as process:
        publish(gateway, "s/stuck")
        await until(lambda: notes(tmp_path) == ["begun"])
        process.terminate()
        _, said = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 1
    assert "1 handlers did not end within 0.1 s" in said
    await until(lambda: figures(gateway, group)["in_flight"] == 0)


async def test_a_second_signal_cuts_off_at_once(gateway: RunningGateway, group: str, tmp_path: Path) -> None:
    with working(gateway, tmp_path) as process:
        publish(gateway, "s/stuck")
        await until(lambda: notes(tmp_path) == ["begun"])
        process.terminate()
        await until(lambda: _says(process, "stops; 1 handlers"))
        process.terminate()
        _, said = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 1
    assert "a second signal" in said


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("tasks", "say where the worker is as MODULE:WORKER"),
        ("elsewhere:worker", "there is no module 'elsewhere'"),
        ("tasks.deeper:worker", "there is no module 'tasks.deeper'"),
        ("tasks:boss", "'tasks' has no 'boss'"),
        ("tasks:number", "it is a int, not a gateway.client.Worker"),
        ("tasks:nothing", "it has no handler"),
        ("broken:worker", "No module named 'nowhere_to_be_found'"),
        ("failing:worker", "ZeroDivisionError"),
    ],
)
def test_a_wrong_place_is_told(group: str, tmp_path: Path, place: str, said: str) -> None:
    done = _run(tmp_path, place)
    assert done.returncode == 2
    assert said in done.stderr
    assert ("Traceback" in done.stderr) == place.startswith(("broken", "failing"))


def test_what_the_gateway_says_is_told(gateway: RunningGateway, group: str, tmp_path: Path) -> None:
    assert call(gateway, "DELETE", f"streams/s/groups/{group}")[0] in {200, 204}
    refused = _run(tmp_path, "tasks:worker", "--url", gateway.url)
    assert (refused.returncode, "not_found" in refused.stderr) == (1, True)
    absent = _run(tmp_path, "tasks:worker", "--url", "http://127.0.0.1:1")
    assert (absent.returncode, "no connection" in absent.stderr) == (3, True)
    assert _run(tmp_path, "tasks:worker", "--url", "ftp://127.0.0.1").returncode == 2


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "work", *arguments],
        check=False,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=3 * HANG_SECONDS,
    )
