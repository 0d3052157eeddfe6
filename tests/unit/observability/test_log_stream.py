"""A log whose reader stops: nobody waits, what is left out is counted, what is written is whole."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal

import pytest
import structlog

from gateway.observability.log_stream import FLUSH_SECONDS, LogStream, dropped_records
from gateway.observability.logs import configure_logs
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = "x" * 99 + "\n"


class Pipe:
    """Two ends; the reading one reads when it is told to."""

    def __init__(self, stack: ExitStack) -> None:
        reading, writing = os.pipe()
        self.reading = reading
        stack.callback(os.close, reading)
        self.writing = stack.enter_context(open(writing, "w", encoding="utf-8"))  # noqa: SIM115

    def read_lines(self, count: int) -> list[str]:
        """The next ``count`` lines, once they are there."""
        read = b""
        while read.count(b"\n") < count:
            read += os.read(self.reading, 1 << 16)
        lines = read.decode().splitlines(keepends=True)
        assert len(lines) == count
        return lines


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with ExitStack() as stack:
        yield Pipe(stack)


def test_what_there_is_no_room_for_is_counted_and_told(pipe: Pipe) -> None:
    log = LogStream(pipe.writing, most_bytes=200_000)
    told: list[int] = []
    done = threading.Event()

    def tell(count: int) -> None:
        told.append(count)
        if sum(told) == log.dropped:
            done.set()

    log.on_dropped = tell
    for _ in range(10_000):
        assert log.write(LINE) == len(LINE)
    assert 0 < log.dropped < 10_000 - 200_000 // len(LINE) + 1
    lines = pipe.read_lines(10_000 - log.dropped)
    assert set(lines) == {LINE}
    assert done.wait(HANG_SECONDS)
    assert sum(told) == log.dropped
    log.write("again\n")
    assert pipe.read_lines(1) == ["again\n"]


def test_a_flush_waits_for_the_reader_but_not_for_ever(pipe: Pipe) -> None:
    log = LogStream(pipe.writing)
    log.write("one\n")
    log.flush()
    assert pipe.read_lines(1) == ["one\n"]
    for _ in range(2_000):
        log.write(LINE)
    began = time.monotonic()
    log.flush()
    assert time.monotonic() - began >= FLUSH_SECONDS / 2  # and it has come back

    async def on_a_loop() -> None:
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            log.flush()
        assert asyncio.get_running_loop().time() - began < 100 * FLUSH_SECONDS / 2

    asyncio.run(on_a_loop())
    assert len(pipe.read_lines(2_000)) == 2_000


def test_a_process_without_threads_leaves_out_what_is_not_taken_at_once(pipe: Pipe) -> None:
    before = threading.active_count()
    log = LogStream(pipe.writing, thread=False)
    for _ in range(3_000):
        log.write(LINE)
    assert log.dropped > 0
    assert threading.active_count() == before
    assert set(pipe.read_lines(3_000 - log.dropped)) == {LINE}
    log.write("again\n")
    assert pipe.read_lines(1) == ["again\n"]


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream:
        for thread in (True, False):
            log = LogStream(stream, thread=thread)
            assert log.write("x\n") == 2
            log.flush()


def test_processes_that_share_a_pipe_do_not_cut_each_others_lines(pipe: Pipe) -> None:
    lengths = (1, 50, 99, 700, 2_000)
    logs = [LogStream(pipe.writing) for _ in range(3)]

    def write(log: LogStream, letter: str) -> None:
        for number in range(600):
            log.write(letter * lengths[number % len(lengths)] + "\n")

    threads = [
        threading.Thread(target=write, args=(log, letter)) for log, letter in zip(logs, "abc", strict=True)
    ]
    for each in threads:
        each.start()
    lines = pipe.read_lines(3 * 600)
    for each in threads:
        each.join()
    assert all(len(set(line.strip())) == 1 for line in lines)


@contextmanager
def stderr(pipe: Pipe) -> Iterator[None]:
    """Like a process whose stderr is ``pipe``; no fixture, since pytest's own stderr comes after those."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, sys.stderr
    sys.stderr = pipe.writing
    try:
        yield
    finally:
        sys.stderr = before
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_that_a_process_says_waits(pipe: Pipe, form: Literal["json", "console"]) -> None:
    """Records of both kinds, and what is printed: the pipe is full long before the end."""
    with stderr(pipe):
        log = configure_logs(form=form)
        for number in range(8_000):
            structlog.get_logger("a").warning("own", filling="x" * 200)
            logging.getLogger("b").warning("a library's %s", "x" * 200)
            print(LINE, end="", file=sys.stderr)
            if number % 100 == 0:
                logging.getLogger("b").warning("%d", "no number")  # told on stderr, as a traceback
        assert dropped_records() == log.dropped > 0
        read = b""
        while b"log records dropped" not in read:
            read += os.read(pipe.reading, 1 << 16)


def test_it_is_configured_anew_over_the_same_stream(pipe: Pipe) -> None:
    with stderr(pipe):
        first = configure_logs(form="json", thread=False)
        second = configure_logs(form="json", fields={"worker": 1})
        assert sys.stderr is second
        assert second.inner is first.inner is pipe.writing
        structlog.get_logger("a").warning("x")
        assert json.loads(pipe.read_lines(1)[0])["worker"] == 1


def test_any_other_stream_is_written_to_at_once() -> None:
    inner = io.StringIO()
    log = LogStream(inner)
    log.write("x\n")
    assert inner.getvalue() == "x\n"
