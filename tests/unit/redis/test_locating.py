"""Which server has what: asked again in time, at once for a reason, and never in a hurry."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import RedisUnavailable
from gateway.redis.locating import keep_located
from gateway.redis.servers import Address
from gateway.supervision import Supervision
from tests.unit.engine.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

LOG = logging.getLogger("gateway.test")
KEYS = [b"a", b"b"]


class Servers:
    """Says when it was asked; answers after a while, the last answer again and again."""

    sharded = False

    def __init__(self, *answers: Mapping[Address, list[int]] | Exception, takes: float = 0.0) -> None:
        self.answers = list(answers) or [{}]
        self.takes = takes
        self.told_after: list[float] = []
        self.asked: list[float] = []

    async def locate(self, channels: Sequence[bytes]) -> Mapping[Address, list[int]]:
        assert channels is KEYS
        self.asked.append(round(asyncio.get_running_loop().time() - BEGINNING, 3))
        await asyncio.sleep(self.takes)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch(self, changed: Callable[[], None]) -> None:
        for seconds in self.told_after:
            await asyncio.sleep(seconds)
            changed()

    async def connect(self, address: Address) -> Any:
        raise AssertionError("nothing is connected here")


BEGINNING = 1000.0
"""The virtual loop's first moment."""


class Kept:
    """A keeping under way, and the answers that it has brought."""

    def __init__(self, servers: Servers) -> None:
        self.answers: list[Mapping[Address, list[int]]] = []
        self.relocating = asyncio.Event()
        self.supervision = Supervision()
        self.tasks: asyncio.TaskGroup | None = None
        self.task = asyncio.create_task(
            keep_located(
                servers,
                KEYS,
                self.arrange,
                relocating=self.relocating,
                log=LOG,
                supervision=self.supervision,
                name="test",
            )
        )

    def arrange(self, located: Mapping[Address, list[int]], tasks: asyncio.TaskGroup) -> None:
        self.answers.append(located)
        self.tasks = tasks

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def virtually(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


def test_servers_are_asked_now_and_then_without_a_reason() -> None:
    one, two = {Address("h", 1): [0, 1]}, {Address("h", 1): [0], Address("h", 2): [1]}
    servers = Servers(one, two)

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(11)
        assert servers.asked == [0.0, 5.1, 10.2]
        assert kept.answers == [one, two, two]
        await kept.end()

    virtually(scenario)


def test_a_reason_makes_servers_be_asked_at_once() -> None:
    servers = Servers()

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(2)
        kept.relocating.set()
        await asyncio.sleep(1)
        assert servers.asked == [0.0, 2.0]
        await kept.end()

    virtually(scenario)


def test_news_make_servers_be_asked_at_once() -> None:
    servers = Servers()
    servers.told_after = [1.0, 1.5]

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(4)
        assert servers.asked == [0.0, 1.0, 2.5]
        await kept.end()

    virtually(scenario)


def test_servers_are_asked_ten_times_a_second_at_most() -> None:
    servers = Servers()

    async def scenario() -> None:
        kept = Kept(servers)
        for _ in range(950):
            kept.relocating.set()
            await asyncio.sleep(0.001)
        assert servers.asked == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        await kept.end()

    virtually(scenario)


def test_a_reason_that_comes_up_while_servers_are_asked_is_not_lost() -> None:
    servers = Servers(takes=1.0)

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(0.5)
        kept.relocating.set()
        await asyncio.sleep(2)
        assert servers.asked == [0.0, 1.1]
        await kept.end()

    virtually(scenario)


def test_without_an_answer_all_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    located = {Address("h", 1): [0, 1]}
    servers = Servers(located, RedisUnavailable("Redis: nobody answers"), located)

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(11)
        assert len(servers.asked) == 3
        assert kept.answers == [located, located]
        await kept.end()

    with caplog.at_level(logging.DEBUG, LOG.name):
        virtually(scenario)
    assert told(caplog) == [
        (logging.WARNING, "Redis can't be found: Redis: nobody answers"),
        (logging.INFO, "Redis is found again"),
    ]


def test_an_outage_is_told_once_however_long_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    located = {Address("h", 1): [0, 1]}
    away = RedisUnavailable("Redis: nobody answers")
    servers = Servers(away, away, away, located, away)

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(60)
        await kept.end()

    with caplog.at_level(logging.DEBUG, LOG.name):
        virtually(scenario)
    assert [level for level, _ in told(caplog)] == [logging.WARNING, logging.INFO, logging.WARNING]


def test_what_no_server_has_is_told(caplog: pytest.LogCaptureFixture) -> None:
    servers = Servers({Address("h", 1): [1]}, {Address("h", 1): [1]}, {Address("h", 1): [0, 1]})

    async def scenario() -> None:
        kept = Kept(servers)
        await asyncio.sleep(30)
        assert len(kept.answers) == len(servers.asked)
        await kept.end()

    with caplog.at_level(logging.DEBUG, LOG.name):
        virtually(scenario)
    assert told(caplog) == [
        (logging.WARNING, "no Redis server has 1 of 2 keys or channels"),
        (logging.INFO, "Redis is found again"),
    ]


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(level, text) for name, level, text in caplog.record_tuples if name == LOG.name]


def test_after_what_is_no_unavailability_it_goes_on_with_the_tasks_that_there_are() -> None:
    located = {Address("h", 1): [0, 1]}

    async def scenario() -> None:
        kept = Kept(Servers(located, ZeroDivisionError(), located))
        await asyncio.sleep(0.01)
        assert kept.tasks is not None
        running = kept.tasks.create_task(asyncio.Event().wait())
        await asyncio.sleep(8)
        assert kept.answers == [located, located]
        assert kept.supervision.statistics() == {"test": 1}
        assert not running.done()
        await kept.end()

    virtually(scenario)
