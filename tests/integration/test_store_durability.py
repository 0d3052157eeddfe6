"""What a SQLite store has answered is there afterwards, whatever is done to its process or its disk."""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.streams.sqlite.store import SqliteStore
from tests.integration.store_process import LIMITS, STREAM, kept
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.core.streams.configuration import Bounds

    from .conftest import StartGateway

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.integration.store_process"]
APPENDS = 10_000
RUNS = 6


class Publishing:
    """A process that appends until it has done all or is stopped, and what it was answered."""

    def __init__(self, database: Path, log: Path, *, run: int, appends: int, stays: bool) -> None:
        self.log = log
        mode = "publish-and-stay" if stays else "publish"
        command = [*PROGRAM, mode, str(database), str(run), str(appends), "100"]
        with log.open("wb") as out, log.with_suffix(".errors").open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=errors)

    def answered(self) -> dict[int, str]:
        """What was answered so far: offset and id. The last line may be cut off by a kill."""
        lines = self.log.read_text("ascii").split("\n")[:-1]
        return {int(offset): name for offset, _, name in (line.partition(" ") for line in lines)}

    def wait_until(self, count: int) -> None:
        deadline = time.monotonic() + 60
        ended = None
        while self.log.read_bytes().count(b"\n") < count:
            assert ended is None, self.log.with_suffix(".errors").read_text()
            assert time.monotonic() < deadline
            ended = self.process.poll()  # what it said last is in the log by now
            time.sleep(0.001)


@contextmanager
def publishing(
    database: Path, log: Path, *, run: int, appends: int = APPENDS, stays: bool = False
) -> Iterator[Publishing]:
    process = Publishing(database, log, run=run, appends=appends, stays=stays)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


def look(database: Path) -> tuple[Bounds, dict[int, str]]:
    """Open a store as the next gateway would, and take everything out of it."""

    async def open_and_read() -> tuple[Bounds, dict[int, str]]:
        store = SqliteStore(database, [STREAM], limits=LIMITS)
        await store.start()
        found = await store.bounds("s"), await kept(store)
        await store.stop()
        return found

    return asyncio.run(open_and_read())


def test_a_process_killed_in_the_middle_of_appends_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    database = tmp_path / "data" / "streams.db"
    epoch = look(database)[0].epoch
    answered: dict[int, str] = {}
    chance = random.Random(1)
    for run in range(RUNS):
        with publishing(database, tmp_path / f"run-{run}", run=run) as process:
            process.wait_until(chance.randrange(1, APPENDS * 3 // 4))
            process.process.kill()
            process.process.wait()
            new = process.answered()
        assert new
        assert not new.keys() & answered.keys(), "an offset was given twice"
        answered |= new
        bounds, found = look(database)
        assert bounds.epoch == epoch
        assert answered.items() <= found.items()
        # What was appended and not answered may be there, whole: ids are those that the process gave.
        assert all(re.fullmatch(r"\d+-\d+", name) for name in found.values())
        assert len(set(found.values())) == len(found)


def test_a_copy_made_at_any_moment_holds_all_that_was_answered_before(tmp_path: Path) -> None:
    database = tmp_path / "data" / "streams.db"
    chance = random.Random(2)
    with publishing(database, tmp_path / "run", run=0, appends=100 * APPENDS) as process:
        copies = []
        count = 0
        for number in range(5):
            count += chance.randrange(1, 1000)
            process.wait_until(count)
            process.process.send_signal(signal.SIGSTOP)
            wait_until_stopped(process.process.pid)
            answered = process.answered()
            count = len(answered)
            copies.append((tmp_path / f"copy-{number}" / "streams.db", answered))
            shutil.copytree(database.parent, tmp_path / f"copy-{number}")
            process.process.send_signal(signal.SIGCONT)
    for copy, answered in copies:
        for suffix in ("-shm", "-lock"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        bounds, found = look(copy)
        assert answered.items() <= found.items()
        assert bounds.last == len(found)
        # A copy in another place may go on where the original does too: it is another life of the log.
        assert bounds.epoch != look(database)[0].epoch


def test_an_older_copy_put_in_place_after_a_crash_is_used_as_it_is(tmp_path: Path) -> None:
    database = tmp_path / "data" / "streams.db"
    with publishing(database, tmp_path / "first", run=0) as process:
        process.wait_until(APPENDS)
        process.process.wait()
    before, kept_before = look(database)
    shutil.copy(database, tmp_path / "backup")
    with publishing(database, tmp_path / "second", run=1, appends=3000, stays=True) as process:
        process.wait_until(3000)
    assert database.with_name("streams.db-wal").stat().st_size > 0
    (tmp_path / "backup").replace(database)
    bounds, found = look(database)
    assert found == kept_before
    assert bounds.epoch != before.epoch


def crash(database: Path, log: Path) -> dict[int, str]:
    """Kill a process while all that it appended lies in the write-ahead log; what it had answered."""
    with publishing(database, log, run=0, appends=600, stays=True) as process:
        process.wait_until(600)
        process.process.kill()
        process.process.wait()
        answered = process.answered()
    assert database.with_name("streams.db-wal").stat().st_size > 100_000
    return answered


def test_the_end_of_the_log_lost_after_a_crash_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "data" / "streams.db"
    before, _ = look(database)
    answered = crash(database, tmp_path / "run")
    log = database.with_name("streams.db-wal")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    bounds, found = look(database)
    assert 0 < len(found) < len(answered)
    assert bounds.epoch != before.epoch
    (line,) = [record.message for record in caplog.records if "new epoch" in record.message]
    missing = int(re.search(r"(\d+) publications that were answered are missing", line).group(1))  # type: ignore[union-attr]
    assert missing >= len(answered) - len(found)


def test_a_log_lost_before_it_ever_came_into_the_database_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "data" / "streams.db"
    crash(database, tmp_path / "run")
    database.with_name("streams.db-wal").unlink()
    bounds, found = look(database)
    assert (bounds.last, found) == (0, {})
    (line,) = [record.message for record in caplog.records if "new epoch" in record.message]
    assert "it is empty, although publications were answered" in line
    caplog.clear()
    assert look(database)[0] == bounds
    assert not caplog.records


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_with_full_the_disk_has_an_append_before_it_is_answered(tmp_path: Path) -> None:
    """Seen from outside, where the system lets one process trace another; without that, nothing is said."""
    trace = tmp_path / "trace"
    tracer = ("strace", "-f", "-y", "-e", "trace=pwrite64,fdatasync,fsync,write", "-o", str(trace))
    if not traces(tracer):
        return
    command = [*tracer, *PROGRAM, "publish", str(tmp_path / "streams.db"), "0", "30", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert len(ended.stdout.splitlines()) == 30
    answers, unsynced = 0, False
    for line in trace.read_text().splitlines():
        if "pwrite64" in line and "streams.db-wal>" in line:
            unsynced = True
        elif re.search(r"f(data)?sync\(\d+<[^>]*streams\.db-wal>", line):
            unsynced = False
        elif re.search(r'write\(1<[^>]*>, "\d+ 0-', line):
            answers += 1
            assert not unsynced, "answered before the log was on the disk"
    assert answers == 30


def traces(tracer: tuple[str, ...]) -> bool:
    if shutil.which(tracer[0]) is None:
        return False
    return subprocess.run([*tracer, "true"], capture_output=True, check=False).returncode == 0


def starved(*arguments: str, disk: Path | None = None, size: str = "3m") -> dict[str, object]:
    command = [*PROGRAM, *arguments]
    if disk is not None:
        mounting = f'mount -t tmpfs -o size={size} tmpfs "{disk}" && exec "$@"'
        command = [*NAMESPACE, "sh", "-c", mounting, "sh", *command]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, object] = json.loads(ended.stdout)
    return told


# In a namespace of its own anybody may mount, where the system allows that at all.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def may_mount(directory: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_refuses_and_nothing_else(
    tmp_path: Path, record_property: Callable[[str, str], None]
) -> None:
    """On a disk of 3 MiB where one can be mounted; elsewhere SQLite is told how large it may become."""
    disk = tmp_path / "disk"
    disk.mkdir()
    real = may_mount(disk)
    record_property("disk", "tmpfs" if real else "max_page_count")
    told = starved("room", str(disk), "0" if real else "200", disk=disk if real else None)
    assert told.pop("answered")
    assert told == {
        "errors": ["StoreFull"],
        "connected": False,
        "readable": True,
        "same epoch": True,
        "complete": True,
        "complete afterwards": True,
    }
    if real:
        told = starved("churn", str(disk), disk=disk, size="16m")
        assert told == {"kept": 10_000, "full": 0, "first": 9_951, "last": 10_000}


def test_a_disk_that_fails_is_said_to_and_used_again_when_it_works(tmp_path: Path) -> None:
    told = starved("limit", str(tmp_path))
    assert told.pop("answered")
    assert told == {
        "errors": ["StreamUnavailable"],
        "connected": False,
        "readable": True,
        "same epoch": True,
        "complete": True,
        "complete afterwards": True,
    }


@pytest.mark.parametrize("full", ["disk", "limit"])
def test_a_store_starts_without_room_to_be_read(tmp_path: Path, full: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if full == "disk" and not may_mount(disk):
        return
    told = starved("restart", str(disk), full, disk=disk if full == "disk" else None)
    error = "StoreFull" if full == "disk" else "StreamUnavailable"
    degraded = {"refused": [error], "connected": False, "readable": True, "complete": True}
    assert told == {"after a stop": degraded, "after a crash": degraded, "same epoch": True, "kept": True}


def test_a_gateway_starts_without_room_and_serves_what_is_kept(gateway_process: StartGateway) -> None:
    node = gateway_process('[[streams]]\nname = "s"\nfilter = "s/#"\n')
    body = json.dumps([{"topic": "s/a", "data": number} for number in range(5)]).encode()
    assert ask(node.url + "/v1/publish", body)[0] == 200
    node.stop()
    command = [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", str(node.port)]
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    starting = subprocess.Popen(
        ["sh", "-c", 'ulimit -S -f 0; exec "$@"', "sh", *command],
        cwd=node.directory,
        env=node.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    node.process = starting
    node.wait_until_ready()
    status, page = ask(node.url + "/v1/streams/s/messages")
    assert (status, [each["data"] for each in page["messages"]]) == (200, [0, 1, 2, 3, 4])
    assert ask(node.url + "/v1/topics/s/a", b"1")[0] == 503  # an error of the disk; without room it is 507
    assert ask(node.url + "/v1/topics/live/a", b"1")[0] == 202
    assert ask(node.url + "/readyz") == (200, {"status": "degraded", "away": ["store"]})
    resource.prlimit(starting.pid, resource.RLIMIT_FSIZE, (most, most))
    deadline = time.monotonic() + HANG_SECONDS
    while (answer := ask(node.url + "/v1/topics/s/a", b"1"))[0] != 201:
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    assert answer[1]["offset"] == 6
    assert ask(node.url + "/v1/streams/s/messages")[1]["epoch"] == page["epoch"]
    node.stop()


def test_a_gateway_that_crashed_serves_what_is_kept_on_a_read_only_disk(
    gateway_process: StartGateway, tmp_path: Path
) -> None:
    """What was answered last is in SQLite's log, which nobody could take over any more."""
    if not may_mount(tmp_path):
        return
    node = gateway_process('[[streams]]\nname = "s"\nfilter = "s/#"\n')
    body = json.dumps([{"topic": "s/a", "data": number} for number in range(5)]).encode()
    assert ask(node.url + "/v1/publish", body)[0] == 200
    node.kill()
    mounting = 'mount --bind data data && mount -o remount,bind,ro data && exec "$@"'
    command = [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", str(node.port)]
    node.process = subprocess.Popen(
        [*NAMESPACE, "sh", "-c", mounting, "sh", *command],
        cwd=node.directory,
        env=node.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    node.wait_until_ready()
    status, page = ask(node.url + "/v1/streams/s/messages")
    assert (status, [each["data"] for each in page["messages"]]) == (200, [0, 1, 2, 3, 4])
    assert ask(node.url + "/v1/topics/s/a", b"1")[0] == 503
    assert ask(node.url + "/readyz") == (200, {"status": "degraded", "away": ["store"]})
    node.stop()


JSON = {"Content-Type": "application/json"}


def ask(url: str, body: bytes | None = None) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, JSON), timeout=HANG_SECONDS
        ) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)
