"""Workers on a real gateway: handlers, concurrency, leases kept and lost, and a stop in good order."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import (
    Backoff,
    Client,
    ConnectFailed,
    Delivery,
    GiveUp,
    LeaseLost,
    Retry,
    Worker,
)
from gateway.errors import BadFilter, NotFound
from tests.patience import HANG_SECONDS

from .group_client import call, figures, publish
from .group_client import put as put_group
from .raw_client import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)
STREAM = """
[[streams]]
name = "s"
filter = "s/#"
"""
MEMORY = f"""
[store]
url = "memory:"
{STREAM}"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(MEMORY)


@pytest.fixture
def group(gateway: RunningGateway, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("[", ".").replace("]", "")[-60:]
    put(gateway, name)
    return name


def put(gateway: RunningGateway, name: str, **settings: Any) -> None:
    put_group(gateway, name, **{"backoff": [0.02], "max_deliver": 3} | settings)


@asynccontextmanager
async def working(gateway: RunningGateway, worker: Worker) -> AsyncIterator[Client]:
    """Run a worker beside the block, and stop it in good order at the end."""
    async with Client(gateway.url, backoff=QUICK) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run, client)
        yield client
        worker.stop()


async def until_idle(gateway: RunningGateway, group: str) -> None:
    await until(lambda: figures(gateway, group)["depth"] == 0)


async def test_handlers_are_found_by_topic_in_the_order_in_which_they_were_given(
    gateway: RunningGateway, group: str
) -> None:
    seen: list[tuple[str, str]] = []
    worker = Worker("s", group=group, url=gateway.url)

    @worker.handle("s/+/created")
    async def created(delivery: Delivery) -> None:
        seen.append(("created", delivery.topic))

    @worker.handle("s/#")
    def anything(delivery: Delivery) -> None:
        seen.append(("anything", delivery.topic))

    for topic in ("s/1/created", "s/1/paid"):
        publish(gateway, topic)
    async with worker:
        await until_idle(gateway, group)
    assert sorted(seen) == [("anything", "s/1/paid"), ("created", "s/1/created")]
    assert worker.statistics().done == 2


@pytest.mark.parametrize("unmatched", ["nack", "dead", "ack"])
async def test_a_topic_that_no_handler_is_for(gateway: RunningGateway, group: str, unmatched: Any) -> None:
    worker = Worker("s", group=group, unmatched=unmatched)
    worker.handle("s/known")(print)
    publish(gateway, "s/unknown")
    async with working(gateway, worker):
        await until_idle(gateway, group)
    passed_over = {"nack": 3, "dead": 1, "ack": 1}[unmatched]
    assert worker.statistics().unmatched == passed_over
    assert figures(gateway, group)["dead"] == (unmatched != "ack")


async def test_failures_are_told_and_come_again(
    gateway: RunningGateway, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[int, str]] = []
    worker = Worker("s", group=group)

    @worker.handle()
    async def fails(delivery: Delivery) -> None:
        match delivery.attempt:
            case 1:
                raise ZeroDivisionError("first")
            case 2:
                raise Retry(after=0.01, reason="second")
            case _:
                raise GiveUp("third")

    @worker.on_error
    def hook(delivery: Delivery, error: Exception) -> None:
        told.append((delivery.attempt, str(error)))
        raise RuntimeError("the hook fails too")

    @worker.on_error
    async def another(delivery: Delivery, error: Exception) -> None:
        told.append((delivery.attempt, type(error).__name__))

    publish(gateway)
    async with working(gateway, worker):
        await until(lambda: worker.statistics().given_up)
    assert told == [(1, "first"), (1, "ZeroDivisionError"), (3, "third"), (3, "GiveUp")]
    assert (worker.statistics().failed, figures(gateway, group)["dead"]) == (2, 1)
    assert "the handler failed" in caplog.text
    assert "an error hook failed" in caplog.text


@pytest.mark.parametrize("ends", ["exit", "exit_in_a_thread", "cancelled_task"])
async def test_a_handler_that_would_end_the_worker_has_failed(
    gateway: RunningGateway, group: str, ends: str
) -> None:
    """Neither does the worker end with it, nor does the message come again uncounted."""
    attempts: list[int] = []
    told: list[str] = []
    worker = Worker("s", group=group)

    async def fails(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if ends == "exit":
            sys.exit(3)
        waited = asyncio.ensure_future(anyio.sleep_forever())
        waited.cancel()
        await waited

    def fails_in_a_thread(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        sys.exit(3)

    worker.handle()(fails_in_a_thread if "thread" in ends else fails)
    worker.on_error(lambda _, error: told.append(str(error)))
    publish(gateway)
    async with working(gateway, worker):
        await until(lambda: figures(gateway, group)["dead"])
        assert worker.running
    assert attempts == [1, 2, 3]
    raised = "CancelledError" if "task" in ends else "SystemExit"
    assert told == [f"the handler raised {raised}"] * 3


async def test_no_more_handlers_run_than_is_said_and_nothing_waits_behind_them(
    gateway: RunningGateway, group: str
) -> None:
    running, most = 0, 0
    go_on = anyio.Event()
    worker = Worker("s", group=group, concurrency=3)

    @worker.handle()
    async def slow(_: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1

    for _ in range(8):
        publish(gateway)
    async with working(gateway, worker) as client:
        await until(lambda: running == 3)
        await client.ping()
        assert figures(gateway, group)["in_flight"] == 3
        go_on.set()
        await until_idle(gateway, group)
    assert (most, worker.statistics().done) == (3, 8)


async def test_synchronous_handlers_run_in_threads_beside_each_other(
    gateway: RunningGateway, group: str
) -> None:
    together = threading.Barrier(3, timeout=HANG_SECONDS)
    threads: set[int] = set()
    worker = Worker("s", group=group, concurrency=3)

    def blocking(number: int, delivery: Delivery) -> None:
        threads.add(threading.get_ident())
        together.wait()
        assert number == 7
        assert not delivery.lost

    worker.handle()(functools.partial(blocking, 7))
    for _ in range(3):
        publish(gateway)
    async with working(gateway, worker):
        await until_idle(gateway, group)
    assert threading.get_ident() not in threads
    assert worker.statistics().done == 3


async def test_a_lease_is_kept_alive_while_a_handler_runs(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, ack_wait=3.0)
    attempts: list[int] = []
    go_on = anyio.Event()
    worker = Worker("s", group=group)

    @worker.handle()
    async def long(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await go_on.wait()

    def due() -> float:
        where = call(gateway, "GET", f"streams/s/groups/{group}/messages/{offset}")[1]
        assert where["waits_for"] == "acknowledgement"
        return float(where["due"])

    offset = publish(gateway)
    async with working(gateway, worker):
        await until(lambda: attempts)
        for _ in range(2):
            before = due()
            await until(lambda before=before: due() > before)
        go_on.set()
        await until_idle(gateway, group)
    assert attempts == [1]


async def test_a_handler_whose_lease_is_lost_is_cancelled(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, ack_wait=1.5, backoff=[0.01])
    tokens: list[str] = []
    ends: list[str] = []
    told: list[Exception] = []
    worker = Worker("s", group=group)

    @worker.handle("s/async")
    async def stuck(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            tokens.append(delivery.lease.token)
            try:
                await anyio.sleep_forever()
            finally:
                ends.append(f"cancelled, lost: {delivery.lost}")

    @worker.handle("s/sync")
    def thread(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            tokens.append(delivery.lease.token)
            noticed = threading.Event()
            delivery.on_lost(noticed.set)
            assert noticed.wait(HANG_SECONDS)
            ends.append(f"looked, lost: {delivery.lost}")

    worker.on_error(lambda _, error: told.append(error))
    publish(gateway, "s/async")
    publish(gateway, "s/sync")
    async with working(gateway, worker):
        await until(lambda: len(tokens) == 2)
        # Somebody says that they have failed: nothing tells the worker but its own next extension.
        assert call(gateway, "POST", f"streams/s/groups/{group}/nack", {"deliveries": tokens})[0] == 200
        await until_idle(gateway, group)
        await until(lambda: len(told) == 2)
    assert sorted(ends) == ["cancelled, lost: True", "looked, lost: True"]
    assert [type(error) for error in told] == [LeaseLost, LeaseLost]
    statistics = worker.statistics()
    assert (statistics.lost, statistics.done) == (2, 2)


async def test_a_stop_gives_back_what_waits_and_lets_what_was_begun_end(
    gateway: RunningGateway, group: str
) -> None:
    begun: list[int] = []
    go_on = anyio.Event()
    worker = Worker("s", group=group, concurrency=2, credit=4)

    @worker.handle()
    async def slow(delivery: Delivery) -> None:
        begun.append(delivery.offset)
        await go_on.wait()

    offsets = [publish(gateway) for _ in range(6)]
    async with working(gateway, worker) as client:
        await until(lambda: len(begun) == 2)
        await client.ping()
        assert figures(gateway, group)["in_flight"] == 4
        worker.stop()
        # Two wait no longer here, and somebody else gets them as if nobody had had them.
        await until(lambda: figures(gateway, group)["in_flight"] == 2)
        async with Client(gateway.url) as other, other.consume("s", group=group) as consumer:
            for offset in offsets[2:]:
                with anyio.fail_after(HANG_SECONDS):
                    async with await anext(consumer) as delivery:
                        assert (delivery.offset, delivery.attempt) == (offset, 1)
        go_on.set()
    assert begun == offsets[:2]
    assert (worker.statistics().done, worker.statistics().cut_off) == (2, 0)
    assert figures(gateway, group)["depth"] == 0


async def test_a_stop_takes_no_longer_than_its_grace(
    gateway: RunningGateway, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []
    never = threading.Event()
    worker = Worker("s", group=group, grace=0.1)

    @worker.handle("s/async")
    async def stuck(delivery: Delivery) -> None:
        begun.append(delivery.topic)
        await anyio.sleep_forever()

    @worker.handle("s/sync")
    def thread(delivery: Delivery) -> None:
        begun.append(delivery.topic)
        never.wait(HANG_SECONDS)

    publish(gateway, "s/async")
    publish(gateway, "s/sync")
    try:
        with anyio.fail_after(HANG_SECONDS / 2):
            async with working(gateway, worker):
                await until(lambda: len(begun) == 2)
    finally:
        never.set()
    assert worker.statistics().cut_off == 2
    assert "did not end within" in caplog.text
    # What was cut off is another one's, and has not failed.
    async with Client(gateway.url) as other, other.consume("s", group=group) as consumer:
        with anyio.fail_after(HANG_SECONDS):
            assert {(await anext(consumer)).attempt for _ in range(2)} == {1}


async def test_beside_a_block_it_begins_before_and_stops_behind_it(
    gateway: RunningGateway, group: str
) -> None:
    worker = Worker("s", group=group, url=gateway.url)
    worker.handle()(print)
    for done in (1, 2):
        async with worker:
            with pytest.raises(RuntimeError, match="already"):
                await worker.run()
            publish(gateway)
            await until(lambda done=done: worker.statistics().done == done)
        assert not worker.running


async def test_what_ends_it_is_raised(gateway: RunningGateway, group: str) -> None:
    nobody = Worker("s", group="nobody", url=gateway.url)
    nobody.handle()(print)
    with pytest.raises(NotFound):
        await nobody.run()
    with pytest.raises(NotFound):
        async with nobody:
            pytest.fail("there is no such group")
    nowhere = Worker("s", group="g", url="http://127.0.0.1:1")
    nowhere.handle()(print)
    with pytest.raises(ConnectFailed):
        async with nowhere:
            pytest.fail("there is no gateway")
    worker = Worker("s", group=group, url=gateway.url)
    worker.handle()(print)

    async def outlive_the_group() -> None:
        async with worker:
            assert call(gateway, "DELETE", f"streams/s/groups/{group}")[0] in {200, 204}
            await until(lambda: not worker.running)

    with pytest.raises(NotFound, match="removed"):
        await outlive_the_group()


async def test_what_is_wrong_with_a_worker_is_said() -> None:
    with pytest.raises(RuntimeError, match="no handler"):
        await Worker("s", group="g").run()
    with pytest.raises(ValueError, match="concurrency 0"):
        Worker("s", group="g", concurrency=0)
    with pytest.raises(ValueError, match="credit 2"):
        Worker("s", group="g", concurrency=3, credit=2)
    with pytest.raises(ValueError, match="'drop' must be one of nack, dead, ack"):
        Worker("s", group="g", unmatched="drop")  # type: ignore[arg-type]  # what is tested
    worker = Worker("s", group="g")
    worker.handle("a/#")(print)
    with pytest.raises(ValueError, match="already"):
        worker.handle("a/#")(print)
    with pytest.raises(BadFilter):
        worker.handle("a/#/b")(print)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_everything_is_done_although_the_node_is_killed_again_and_again(
    gateway_process: StartGateway, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    url = "memory:" if kind == "memory" else f"sqlite:{tmp_path / 'streams.db'}"
    group = '[[streams.groups]]\nname = "g"\nack_wait = "2s"\nbackoff = [0.01]\n'
    gateway = gateway_process(f'[store]\nurl = "{url}"\n{STREAM}\n{group}')
    seen: dict[str, list[int]] = {}
    worker = Worker("s", group="g", concurrency=5, credit=10)

    @worker.handle()
    async def work(delivery: Delivery) -> None:
        seen.setdefault(delivery.data, []).append(delivery.attempt)
        await anyio.sleep(0.01)

    async with working(gateway, worker) as client:
        for run in range(2):
            for number in range(30):
                publish(gateway, body=f"{run}/{number}")
            await until(lambda run=run: sum(each.startswith(f"{run}/") for each in seen) >= 10)
            if kind == "memory":
                # What memory holds ends with the process.
                await until_idle(gateway, "g")
            gateway.kill()
            gateway.start()
            await until(lambda run=run: client.statistics().connects == run + 2)
        await until_idle(gateway, "g")
    assert len(seen) == 60
    assert worker.statistics().done >= 50
    assert figures(gateway, "g")["dead"] == 0
