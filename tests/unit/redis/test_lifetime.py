"""Beginnings and ends are waited for, but not for long; a failure is told, an end that was meant is not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.redis.lifetime import log_failure, wait_until
from tests.unit.engine.virtual_time import VirtualTimeLoop

LOG = logging.getLogger("gateway.test")


async def waited(condition_after: float, seconds: float) -> float:
    """How long ``wait_until`` took for a condition that comes true in time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await wait_until(lambda: loop.time() >= began + condition_after, seconds)
    return loop.time() - began


@pytest.mark.parametrize(
    ("condition_after", "seconds", "expected"),
    [(0.0, 1.5, 0.0), (0.5, 1.5, 0.5), (1000.0, 1.5, 1.5), (0.0, 0.0, 0.0)],
    ids=["at once", "later", "never", "without any time"],
)
def test_a_wait_ends_with_its_condition_or_its_time(
    condition_after: float, seconds: float, expected: float
) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(waited(condition_after, seconds)) == pytest.approx(expected, abs=0.011)


async def test_what_the_condition_raises_is_not_kept_back() -> None:
    def condition() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await wait_until(condition, 1.0)


async def test_a_failure_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    running = asyncio.create_task(fail())
    await asyncio.wait([running])
    log_failure(LOG, "the choir", running)
    assert caplog.record_tuples == [(LOG.name, logging.ERROR, "the choir has failed")]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


async def test_an_end_that_was_meant_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    cancelled, done = asyncio.create_task(asyncio.Event().wait()), asyncio.create_task(asyncio.sleep(0))
    cancelled.cancel()
    await asyncio.wait([cancelled, done])
    log_failure(LOG, "the choir", cancelled)  # type: ignore[arg-type]
    log_failure(LOG, "the choir", done)
    assert caplog.record_tuples == []
