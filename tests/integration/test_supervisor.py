"""What keeps workers running, with small programs in their place.

Spec: docs/operations.md, "Workers".
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_SECONDS

from .process_tree import children, wait_for, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import logging, os, signal, sys, time
from gateway.core.timing.backoff import Backoff
from gateway.workers.restart import RestartPolicy
from gateway.workers.supervisor import Job, Supervisor

logging.basicConfig(level="INFO", format="%(message)s")

def say(text):
    os.write(1, f"{text}\\n".encode())

def drains(life):
    def leave(*_):
        say("drained")
        os._exit(0)
    signal.signal(signal.SIGTERM, leave)
    say("up")
    while True:
        signal.pause()

def hangs(life):
    signal.signal(signal.SIGTERM, lambda *_: say("told"))
    say("up")
    while True:
        signal.pause()

def rests(life):
    say(f"below {os.getpid()}")
    while True:
        signal.pause()

def dies(life):
    say(f"died {life.restarts}")
    return 7

def beats(life):
    say(f"life {life.restarts} after {life.hangs} hangs")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        life.beat()
        time.sleep(0.1)

def freezes(life):
    if life.restarts:
        beats(life)
    life.beat()
    say("frozen")
    while True:
        pass

def fails(life):
    raise RuntimeError("out of luck")

jobs = [Job(name, globals()[name]) for name in sys.argv[2:]]
below = Job("rests", rests) if sys.argv[1] == "below" else None
quick = Backoff(first_seconds=0.01, limit_seconds=0.01, stable_seconds=60)
policy = RestartPolicy(ends=3, backoff=quick)
watched = 5.0 if "beats" in sys.argv or "freezes" in sys.argv else 0.0
stop = 1.0 if "hangs" in sys.argv else 20.0
sys.exit(Supervisor(jobs, foundation=below, stop_seconds=stop, hang_seconds=watched, policy=policy).run())
"""


class Running:
    """The program, and what it says."""

    def __init__(self, directory: Path, *jobs: str) -> None:
        self.output = directory / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *jobs], stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def said(self) -> str:
        return self.output.read_text("utf-8")

    def ends_with(self, code: int) -> None:
        assert self.process.wait(HANG_SECONDS) == code, self.said()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    running: list[Running] = []

    def begin(*jobs: str) -> Running:
        running.append(Running(tmp_path, *jobs))
        return running[-1]

    yield begin
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_told_to_stop_and_what_they_stand_on_goes_last(start, number: signal.Signals) -> None:
    program = start("below", "drains", "drains")
    wait_for(lambda: program.said().count("up") == 2 and "below" in program.said())
    family = children(program.process.pid)
    assert len(family) == 3
    program.process.send_signal(number)
    # SIGINT is passed on as it is, and these programs know SIGTERM only: it ends them, which is no failure.
    program.ends_with(0)
    assert program.said().count("drained") == (2 if number == signal.SIGTERM else 0)
    wait_until_gone(family)


def test_a_worker_that_hangs_is_killed_and_that_is_a_failure(start) -> None:
    program = start("-", "hangs", "drains")
    wait_for(lambda: program.said().count("up") == 2)
    family = children(program.process.pid)
    program.process.terminate()
    program.ends_with(1)
    assert "did not end in time" in program.said()
    assert "drained" in program.said()
    wait_until_gone(family)


def test_what_dies_again_and_again_is_given_up_and_the_others_drain(start) -> None:
    program = start("below", "drains", "dies")
    program.ends_with(1)
    said = program.said()
    assert [f"died {number}" in said for number in range(4)] == [True, True, True, False]
    assert "dies (process" in said
    assert "ended with 7, again soon after a start: giving up" in said


def test_what_raises_is_told_with_its_traceback(start) -> None:
    program = start("-", "fails")
    program.ends_with(1)
    assert program.said().count("RuntimeError: out of luck") == 3


def test_what_a_worker_stands_on_is_started_again_and_given_up_too(start) -> None:
    program = start("below", "drains")
    for count in range(1, 4):
        wait_for(lambda count=count: program.said().count("below") == count and "up" in program.said())
        below = int(re.findall(r"below (\d+)", program.said())[-1])
        assert below in children(program.process.pid)
        os.kill(below, signal.SIGKILL)
    program.ends_with(1)
    assert "rests (process" in program.said()
    assert "drained" in program.said()


def test_what_gives_no_sign_of_life_is_killed_and_begun_again(start) -> None:
    """Neither the one that beats nor what they stand on, which never does, is touched."""
    program = start("below", "freezes", "beats")
    wait_for(lambda: "life 1 after 1 hangs" in program.said())
    assert len(children(program.process.pid)) == 3
    program.process.terminate()
    program.ends_with(0)
    said = program.said()
    assert "freezes (process" in said
    assert "gave no sign of life for 5 s and is killed" in said
    assert said.count("life 0 after 0 hangs") == 1
    assert said.count("is started again") == 1


def test_a_frozen_supervisor_takes_nobody_for_hung(start) -> None:
    program = start("-", "beats", "beats")
    wait_for(lambda: program.said().count("life 0") == 2)
    family = [program.process.pid, *children(program.process.pid)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5.5)  # longer than a worker may be silent
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    program.process.terminate()
    program.ends_with(0)
    assert "no sign of life" not in program.said()


def test_nothing_outlives_the_supervisor(start) -> None:
    program = start("below", "drains", "hangs")
    wait_for(lambda: program.said().count("up") == 2 and "below" in program.said())
    family = children(program.process.pid)
    program.process.kill()
    wait_until_gone(family)
    assert "drained" in program.said()
    assert "told" in program.said()
