"""The README's tour, run as it is pasted, and its Python program; only the port is the test's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
DOCUMENTED = "http://127.0.0.1:8080"
SECONDS = 3 * HANG_SECONDS  # for a command that has to start first
POLL_SECONDS = 0.02


def blocks(language: str, heading: str) -> list[str]:
    """The code blocks of one language under a heading of the README."""
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.split(f"\n## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def at(url: str, command: str) -> str:
    """A documented command, against another gateway and with this interpreter's own ``gateway``."""
    script = Path(sys.executable).with_name("gateway")
    command = re.sub(r"\.venv/bin/gateway (\w+)", rf"{script} \1 --url {url}", command)
    return command.replace(DOCUMENTED, url)


@pytest.fixture
def subscriber(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Starts the tour's second terminal; the answer is the file its lines arrive in."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> Path:
        lines = tmp_path / "second-terminal"
        with lines.open("wb") as out:
            processes.append(subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=ROOT, stdout=out))
        return lines

    yield start
    for process in processes:
        process.terminate()
        process.wait(SECONDS)


def run(command: str) -> str:
    shell = ["bash", "-c", command]
    done = subprocess.run(shell, check=False, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def publish_until(shown: Callable[[], bool], url: str, topic: str) -> None:
    """Publish a marker again and again until a condition holds."""
    deadline = time.monotonic() + SECONDS
    while not shown():
        assert time.monotonic() < deadline, f"{topic} did not arrive"
        run(f"curl -sS --fail -d marker -H 'content-type: text/plain' {url}/v1/topics/{topic}")
        time.sleep(POLL_SECONDS)


def test_the_tour_works_as_pasted(gateway_process, subscriber) -> None:
    assert shutil.which("curl"), "the tour needs curl: apt-get install -y curl"
    url = gateway_process().url
    subscribe, *publishing = [at(url, block) for block in blocks("sh", "A two-minute tour")]
    lines = subscriber(subscribe)
    # The tour's reader sees the subscriber start; the test has to ask.
    publish_until(lambda: bool(lines.read_text("utf-8")), url, "orders/begin")
    for command in publishing:
        run(command)
    publish_until(lambda: "orders/end" in lines.read_text("utf-8"), url, "orders/end")
    shown = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    arrived = [(each["topic"], each["data"]) for each in shown if each["data"] != "marker"]
    assert arrived == [
        ("orders/eu/created", {"total": 42}),
        ("orders/us/created", {"total": 7}),
        ("orders/eu/paid", 1),
        ("orders/eu/paid", 2),
    ]


def test_the_python_program_works_as_pasted(gateway_process, tmp_path: Path) -> None:
    (program,) = blocks("python", "From a program")
    (tmp_path / "program.py").write_text(program.replace(DOCUMENTED, gateway_process().url), "utf-8")
    output = run(f"{sys.executable} {tmp_path / 'program.py'}")
    assert output == "orders/eu/created {'total': 42}\n"


def test_every_linked_document_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []
