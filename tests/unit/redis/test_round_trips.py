"""Commands go as soon as there are any, heartbeats when they are due, and no reply is waited for for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import RedisUnavailable
from gateway.redis.round_trips import AnswerTimeout, serve_round_trips
from tests.unit.engine.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Line:
    """A connection that is lost when the test says so."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.told: Callable[[], None] = self.check

    def when_lost(self, told: Callable[[], None]) -> None:
        self.told = told

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def lose(self) -> None:
        self.error = RedisUnavailable("cut")
        self.told()


class Server:
    """Takes all that waits in one round trip, of one second each."""

    def __init__(self, *, shown_by_work: bool) -> None:
        self.line = Line()
        self.work = asyncio.Event()
        self.waiting: list[str] = []
        self.trips: list[tuple[float, list[str], bool]] = []
        self._shown_by_work = shown_by_work

    def add(self, what: str) -> None:
        self.waiting.append(what)
        self.work.set()

    async def round_trip(self, beat: bool) -> bool:
        taken, self.waiting = self.waiting, []
        if taken or beat:
            self.trips.append((asyncio.get_running_loop().time(), taken, beat))
            await asyncio.sleep(1)
        return beat or (self._shown_by_work and bool(taken))

    async def serve(self) -> None:
        await serve_round_trips(
            self.line,  # type: ignore[arg-type]
            self.work,
            waiting=lambda: self.waiting,
            beat_seconds=10,
            round_trip=self.round_trip,
        )


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario)


def test_what_comes_during_a_round_trip_goes_together_in_the_next_one() -> None:
    async def scenario() -> None:
        server = Server(shown_by_work=True)
        begun = asyncio.get_running_loop().time()
        task = asyncio.create_task(server.serve())
        server.add("a")
        await asyncio.sleep(0.2)
        for what in "bc":
            server.add(what)
        await asyncio.sleep(5)
        assert [taken for _, taken, _ in server.trips] == [["a"], ["b", "c"]]
        assert [round(at - begun) for at, _, _ in server.trips] == [0, 1]
        task.cancel()

    run(scenario())


@pytest.mark.parametrize(("shown_by_work", "beats"), [(True, [15]), (False, [10])])
def test_a_heartbeat_is_due_a_while_after_the_server_has_shown_itself(
    shown_by_work: bool, beats: list[int]
) -> None:
    async def scenario() -> None:
        server = Server(shown_by_work=shown_by_work)
        begun = asyncio.get_running_loop().time()
        task = asyncio.create_task(server.serve())
        await asyncio.sleep(4)
        server.add("a")
        await asyncio.sleep(14)
        assert [round(at - begun) for at, _, beat in server.trips if beat] == beats
        task.cancel()

    run(scenario())


def test_a_loss_is_noticed_while_nothing_is_sent_and_takes_nothing_along() -> None:
    async def scenario() -> None:
        server = Server(shown_by_work=True)
        task = asyncio.create_task(server.serve())
        await asyncio.sleep(1)
        server.waiting.append("a")
        server.line.lose()
        with pytest.raises(RedisUnavailable, match="cut"):
            await task
        assert server.waiting == ["a"]
        assert server.trips == []

    run(scenario())


def test_no_reply_in_time() -> None:
    async def scenario() -> None:
        with pytest.raises(RedisUnavailable, match="does not answer"):
            async with AnswerTimeout(2):
                await asyncio.sleep(3)
        async with AnswerTimeout(2):
            await asyncio.sleep(1)

    run(scenario())
