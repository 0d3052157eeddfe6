"""What is meant for ever goes on: told, counted, begun again; and given up where it only fails."""

from __future__ import annotations

import ast
import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.core.timing.backoff import Backoff
from gateway.supervision import BROKEN_AFTER, GIVEN_UP_AFTER, Background, Supervision
from tests.unit.engine.following_world import until
from tests.unit.engine.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


PACKAGE = Path(__file__).parents[2] / "gateway"
BACKOFF = Backoff(first_seconds=1.0, limit_seconds=1.0, stable_seconds=5.0, random=lambda: 1.0)


def virtually(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


class Work:
    """A task that fails as often as its test says, each time after a while; then it runs for ever."""

    def __init__(self, *lives: tuple[float, BaseException | None]) -> None:
        self.lives = list(lives)
        self.begun = 0

    async def run(self) -> None:
        self.begun += 1
        seconds, error = self.lives.pop(0) if self.lives else (1e9, None)
        await asyncio.sleep(seconds)
        if error is not None:
            raise error


def test_an_unexpected_error_is_told_with_its_trace_counted_and_the_task_begins_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervision, work = Supervision(backoff=BACKOFF), Work((0.0, ZeroDivisionError("bug")))

    async def scenario() -> None:
        keeping = asyncio.create_task(supervision.keep("work", work.run))
        await asyncio.sleep(3)
        assert work.begun == 2
        keeping.cancel()
        await asyncio.wait([keeping])
        assert keeping.cancelled()

    virtually(scenario)
    assert supervision.statistics() == {"work": 1}
    assert caplog.record_tuples == [("gateway.supervision", logging.ERROR, "work has failed")]
    assert caplog.records[0].exc_info is not None


def test_an_end_without_an_error_is_a_failure_unless_it_may_end() -> None:
    supervision = Supervision(backoff=BACKOFF)

    async def scenario() -> None:
        keeping = asyncio.create_task(supervision.keep("for ever", Work((0.0, None)).run))
        await supervision.until_done("once", Work((0.0, ZeroDivisionError()), (0.0, None)).run)
        keeping.cancel()

    virtually(scenario)
    assert supervision.statistics() == {"for ever": 1, "once": 1}


@pytest.mark.parametrize("parent", ["asyncio", "anyio"])
def test_a_future_that_somebody_cancels_does_not_end_the_task_that_waits_for_it(parent: str) -> None:
    supervision = Supervision(backoff=BACKOFF)
    futures: list[asyncio.Future[None]] = []

    async def run() -> None:
        futures.append(asyncio.get_running_loop().create_future())
        await futures[-1]

    async def cancel_one() -> None:
        await asyncio.sleep(1)
        futures[0].cancel()
        await asyncio.sleep(3)
        assert len(futures) == 2
        assert not futures[1].done()

    async def scenario() -> None:
        if parent == "asyncio":
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(supervision.keep("work", run))
                await cancel_one()
                keeping.cancel()
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(supervision.keep, "work", run)
                await cancel_one()
                group.cancel_scope.cancel()

    virtually(scenario)
    assert supervision.statistics() == {"work": 1}
    assert futures[1].cancelled()


def test_what_only_fails_is_broken_then_given_up_and_neither_once_it_lives_on() -> None:
    supervision = Supervision(backoff=BACKOFF)
    failures = [(0.0, ZeroDivisionError())] * GIVEN_UP_AFTER
    given_up: list[str] = []
    supervision.give_up = given_up.append
    seen: list[tuple[bool, bool]] = []

    async def scenario() -> None:
        keeping = asyncio.create_task(supervision.keep("work", Work(*failures).run))
        for _ in range(GIVEN_UP_AFTER):
            await asyncio.sleep(0.5)
            seen.append((bool(supervision.broken()), bool(supervision.given_up())))
            await asyncio.sleep(0.5)
        assert given_up == ["work"]
        await asyncio.sleep(BACKOFF.stable_seconds + 1)
        assert supervision.broken() == supervision.given_up() == ()
        keeping.cancel()

    virtually(scenario)
    assert seen == [
        (number >= BROKEN_AFTER, number >= GIVEN_UP_AFTER) for number in range(1, GIVEN_UP_AFTER + 1)
    ]


def test_what_fails_now_and_then_is_never_broken() -> None:
    supervision = Supervision(backoff=BACKOFF)

    async def scenario() -> None:
        keeping = asyncio.create_task(supervision.keep("work", Work(*[(6.0, ZeroDivisionError())] * 20).run))
        for _ in range(150):
            await asyncio.sleep(1)
            assert supervision.broken() == ()
        keeping.cancel()

    virtually(scenario)
    assert supervision.statistics() == {"work": 20}


def test_after_a_fatal_error_nobody_takes_the_node_for_one_that_works() -> None:
    supervision = Supervision()
    given_up: list[str] = []
    supervision.give_up = given_up.append
    supervision.fatal("store", ZeroDivisionError())
    assert given_up == ["store"]
    assert supervision.broken() == supervision.given_up() == ("store",)


FOR_EVER = {
    "app.node": {"self._supervision.keep", "self._supervision.until_done"},
    # Its tasks run within a life of one that is supervised, which fails with them.
    "bus.redis.bus": {"self._run()", "running"},
    # One connection's: its session awaits the reply, and cancels the task when it ends; or what it has
    # said of deliveries, which counts all the same.
    "engine.commands": {"self._authentication.renew(command, client)", "events"},
    # One wait for a signal, within the life of an embedded gateway.
    "embed.gateway": {"running.drain_when_told"},
    # The application's own function, in a thread, for as long as that runs: nothing waits for it at the end.
    "embed.identity": {"called"},
    # A client of the application's own: it ends with the gateway, which waits for it.
    "embed.in_process": {"self._link.run"},
    "embed.running": {"work"},
    # A question to the application, which takes a second at most, and its end ends it.
    "embed.permissions": {"self._ask(principal, question)"},
    # What an administrator, or an application, has asked for: a look at one connection's subscriptions.
    "engine.subjects": {"work"},
    "supervision": {"self._run(function, *arguments)"},
    "engine.cluster.node": {"self._repair.run", "self._answer_questions", "self._live.run"},
    # A bounded question: who reads the others' lists waits for all.
    "engine.cluster.block_repair": {"self._fetch_from"},
    "engine.statistics": {"self._keep_looking"},
    # Pages of one question: whoever reads them waits for all.
    "engine.cluster.statistics": {"ask"},
    "redis.channels": {"self._read()", "self._write()"},
    "redis.keeping": {"supervision.keep(name, each)"},
    "redis.locating": {"supervision.until_done('sentinels', watch)"},
    "redis.servers": {"self._listen(sentinel, changed)"},
    "streams.memory": {"self._supervision.keep('store_upkeep', self._sweep)"},
    "streams.redis.store": {
        "self._run()",
        "self._routes.run()",
        "self._supervision.keep('store_upkeep', self._keep_tidy)",
        "self._supervision.keep('store_looking', self._keep_looking)",
        "self._supervision.keep('store_tending', self._keep_tending)",
        "self._supervision.keep('store_groups', self._groups.keep_looking)",
        "self._supervision.keep('store_groups_upkeep', self._groups.keep_tidy)",
        "self._look_at(name)",
        "IndexTending(index, self._publish, self._limits).run()",
    },
    "streams.redis.routes": {"running"},
    "streams.sqlite.store": {"self._supervision.keep('store_upkeep', self._keep_up)"},
}
"""Where tasks begin that belong to the node and not to one connection or request."""

OF_ONE_PEER = ("transports", "http_api", "client", "cli", "testing")


def begun_in(path: Path) -> set[str]:
    """The first arguments of all calls in a file that begin a task."""
    return {
        ast.unparse(node.args[0])
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"create_task", "start_soon", "ensure_future"}
    }


def test_every_task_of_a_node_is_supervised() -> None:
    """A new task is begun by a ``Supervision``, or within the life of one that is; then it goes here."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name.partition(".")[0] not in OF_ONE_PEER and (begun := begun_in(path)):
            found[name] = begun
    assert found == FOR_EVER


async def test_tasks_run_until_their_parent_ends() -> None:
    background, events = Background(), []

    async def work(name: str) -> None:
        try:
            events.append(f"{name} begins")
            await asyncio.sleep(60)
        finally:
            events.append(f"{name} ends")

    with pytest.raises(RuntimeError, match="before the node runs"):
        background.start(work, "early")
    running = asyncio.create_task(background.run())
    await asyncio.sleep(0)
    background.start(work, "one")
    await until(lambda: events)
    running.cancel()
    await asyncio.wait([running])
    background.start(work, "late")
    await asyncio.sleep(0)
    assert events == ["one begins", "one ends"]


async def test_a_task_that_fails_or_waits_for_what_is_cancelled_leaves_the_others_alone() -> None:
    background = Background()
    ended: list[str] = []

    async def fail() -> None:
        raise ZeroDivisionError

    async def wait_for(future: asyncio.Future[None]) -> None:
        await future

    async def live() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("live")

    running = asyncio.create_task(background.run())
    await asyncio.sleep(0)
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    background.start(live)
    background.start(fail)
    background.start(wait_for, future)
    await asyncio.sleep(0)
    future.cancel()
    await until(lambda: background.supervision.statistics() == {"background": 2})
    assert not running.done()
    assert ended == []
    running.cancel()
    await asyncio.wait([running])
    assert ended == ["live"]
