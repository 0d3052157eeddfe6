"""Connections kept for ever: what ends, what is told, how long the next attempt waits."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.core.timing.backoff import Backoff
from gateway.errors import BusUnavailable, RedisUnavailable, StreamUnavailable
from gateway.redis.keeping import keep_all, keep_connected
from gateway.supervision import Supervision
from tests.patience import HANG_SECONDS
from tests.unit.engine.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

LOG = logging.getLogger("gateway.test")
BACKOFF = Backoff(first_seconds=1.0, limit_seconds=4.0, stable_seconds=60.0, random=lambda: 0.5)


class EnoughError(Exception):
    """Ends a scenario, when its test has seen enough: what is kept does not take it for its own trouble."""


def virtually(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


class Connection:
    """Lives as often and as long as its test says, then stops everything."""

    def __init__(self, *lives: tuple[float, BaseException | None]) -> None:
        self.lives = list(lives)
        self.events: list[object] = []

    async def connected(self) -> None:
        if not self.lives:
            raise EnoughError
        self.events.append("connected")
        seconds, error = self.lives.pop(0)
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    def relocate(self) -> None:
        self.events.append("relocate")

    async def wait(self, seconds: float) -> None:
        self.events.append(seconds)

    def keep(self) -> Callable[[], Coroutine[Any, Any, None]]:
        async def keeping() -> None:
            with pytest.raises(EnoughError):
                await keep_connected(
                    self.connected, BACKOFF, relocate=self.relocate, log=LOG, what="singing", wait=self.wait
                )

        return keeping

    @property
    def waits(self) -> list[object]:
        return [each for each in self.events if isinstance(each, float)]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert all(each.name == LOG.name and each.levelno == logging.WARNING for each in caplog.records)
    return caplog.messages


def test_servers_are_looked_for_before_the_wait_for_the_next_attempt() -> None:
    connection = Connection((0.0, RedisUnavailable("away")), (0.0, RedisUnavailable("away")))
    virtually(connection.keep())
    assert connection.events == ["connected", "relocate", 0.5, "connected", "relocate", 1.0]


def test_waits_grow_and_only_the_first_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection(*[(1.0, RedisUnavailable(f"away {number}")) for number in range(5)])
    virtually(connection.keep())
    assert connection.waits == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert told(caplog) == ["singing is interrupted: away 0"]


def test_after_a_stable_connection_the_count_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    errors = [RedisUnavailable("one"), RedisUnavailable("two"), RedisUnavailable("three")]
    connection = Connection((0.0, errors[0]), (59.0, errors[1]), (60.0, errors[2]))
    virtually(connection.keep())
    assert connection.waits == [0.5, 1.0, 0.5]
    assert told(caplog) == ["singing is interrupted: one", "singing is interrupted: three"]


@pytest.mark.parametrize("kind", [RedisUnavailable, BusUnavailable, StreamUnavailable])
def test_a_failure_may_come_alone_or_in_a_group(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    connection = Connection(
        (60.0, kind("alone")), (60.0, ExceptionGroup("of tasks", [kind("first"), kind("second")]))
    )
    virtually(connection.keep())
    assert connection.waits == [0.5, 0.5]
    assert told(caplog) == ["singing is interrupted: alone", "singing is interrupted: first"]


def test_an_end_without_a_failure_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection((0.0, None), (0.0, RedisUnavailable("away")), (0.0, None))
    virtually(connection.keep())
    assert connection.events == [
        "connected", "relocate", 0.5, "connected", "relocate", 0.5, "connected", "relocate", 0.5,
    ]  # fmt: skip
    assert told(caplog) == ["singing is interrupted: away"]


def test_what_is_no_unavailability_ends_the_keeping_even_out_of_a_group() -> None:
    async def fail() -> None:
        raise ExceptionGroup("of tasks", [RedisUnavailable("away"), ZeroDivisionError()])

    async def scenario() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await keep_connected(fail, BACKOFF, relocate=pytest.fail, log=LOG, what="singing")
        assert [type(each) for each in raised.value.exceptions] == [ZeroDivisionError]

    virtually(scenario)


def test_cancelling_ends_the_keeping_while_connected_and_while_waiting() -> None:
    async def scenario() -> None:
        for lives in ([(100.0, None)], [(0.0, RedisUnavailable("away"))]):
            connection = Connection(*lives)
            keeping = asyncio.create_task(
                keep_connected(
                    connection.connected, BACKOFF, relocate=connection.relocate, log=LOG, what="singing"
                )
            )
            await asyncio.sleep(0.25)
            keeping.cancel()
            await asyncio.wait([keeping])
            assert keeping.cancelled()
            assert connection.events[0] == "connected"

    virtually(scenario)


def test_the_wait_is_a_sleep_unless_another_one_is_given() -> None:
    async def scenario() -> None:
        connection = Connection((0.0, RedisUnavailable("away")), (0.0, RedisUnavailable("away")))
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(EnoughError):
            await keep_connected(
                connection.connected, BACKOFF, relocate=connection.relocate, log=LOG, what="singing"
            )
        assert loop.time() - began == pytest.approx(1.5)

    virtually(scenario)


async def for_ever(running: set[str], name: str) -> None:
    running.add(name)
    try:
        await asyncio.Event().wait()
    finally:
        running.discard(name)


async def test_all_are_kept_at_a_time_and_end_together() -> None:
    running: set[str] = set()
    keeping = asyncio.create_task(
        keep_all(Supervision(), a=lambda: for_ever(running, "a"), b=lambda: for_ever(running, "b"))
    )
    async with asyncio.timeout(HANG_SECONDS):
        while running != {"a", "b"}:  # noqa: ASYNC110 - turns of the loop are what is waited for
            await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert keeping.cancelled()
    assert running == set()


def test_one_that_fails_begins_again_and_the_others_go_on() -> None:
    running: set[str] = set()
    lives = 0

    async def fail() -> None:
        nonlocal lives
        lives += 1
        assert running <= {"a"}
        raise ZeroDivisionError

    async def scenario() -> None:
        supervision = Supervision()
        keeping = asyncio.create_task(keep_all(supervision, a=lambda: for_ever(running, "a"), b=fail))
        await asyncio.sleep(20)
        assert running == {"a"}
        assert supervision.statistics() == {"b": lives}
        assert lives > 2
        keeping.cancel()
        await asyncio.wait([keeping])

    virtually(scenario)


async def test_nothing_begins_when_it_is_cancelled_before() -> None:
    running: set[str] = set()
    keeping = asyncio.create_task(keep_all(Supervision(), a=lambda: for_ever(running, "a")))
    keeping.cancel()
    await asyncio.wait([keeping])
    assert keeping.cancelled()
    assert running == set()
