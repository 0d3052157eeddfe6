"""A thread's jobs: in order, with their results, and bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.errors import StreamUnavailable
from gateway.streams.sqlite.worker import Worker


async def test_jobs_are_done_in_order_in_one_other_thread() -> None:
    worker = Worker("test")
    done: list[tuple[int, str]] = []
    jobs = [
        worker.run(lambda number=number: done.append((number, threading.current_thread().name)))
        for number in range(50)
    ]
    await asyncio.gather(*jobs)
    worker.stop()
    assert done == [(number, "test") for number in range(50)]


async def test_an_error_is_its_jobs_and_the_thread_goes_on() -> None:
    worker = Worker("test")

    def fail() -> None:
        raise SystemExit(3)

    failed, fine = worker.run(fail), worker.run(lambda: 5)
    with pytest.raises(SystemExit):
        await failed
    assert await fine == 5
    worker.stop()


async def test_a_job_that_nobody_waits_for_any_more_does_no_harm() -> None:
    worker = Worker("test")
    gate = threading.Event()
    job = worker.run(gate.wait)
    job.cancel()
    gate.set()
    assert await worker.run(lambda: "next") == "next"
    worker.stop()


async def test_a_thread_that_hangs_takes_no_more_than_a_thousand_jobs() -> None:
    worker = Worker("test")
    begun, gate = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        gate.wait()

    worker.run(hang)
    await asyncio.to_thread(begun.wait)
    jobs = [worker.run(lambda: None) for _ in range(1000)]
    with pytest.raises(StreamUnavailable):
        worker.run(lambda: None)
    gate.set()
    await asyncio.gather(*jobs)
    worker.stop()
