"""What a server is told and takes; at another one a node says first how far its numbers have come."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.bus.redis.interruptible_sleep import InterruptibleSleep
from gateway.bus.redis.partition_queue import PublishBudget
from gateway.bus.redis.payload import MARK, Mark, decode_head, decode_mark
from gateway.bus.redis.publishing import PublishLink
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from gateway.core.timing.backoff import Backoff
from gateway.errors import BusUnavailable, RedisUnavailable
from gateway.redis.servers import Address
from gateway.redis.wire import Moved
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

CODEC = GatewayV1()


class Server:
    """A server, and the connection to it; takes what is published, unless it has moved or hangs."""

    sharded = True

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, Mark | tuple[int, int]]] = []
        self.refuses = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.breaks = False
        self._replies: deque[bool] = deque()

    async def connect(self, address: Address) -> Any:
        return self

    def when_lost(self, told: Callable[[], None]) -> None:
        pass

    def check(self) -> None:
        pass

    async def send(self, commands: Iterable[tuple[Any, ...]]) -> None:
        for command in commands:
            self._replies.append(self.refuses and len(command) > 1)
            if len(command) > 1 and not self.refuses:
                _, channel, payload = command
                head = None if payload[:1] == MARK else decode_head(payload)
                said = decode_mark(payload) if head is None else (head.first, head.count)
                self.taken.append((channel, said))

    async def receive(self) -> int:
        await self.answers.wait()
        if self.breaks:
            raise RedisUnavailable("Redis: away")
        if self._replies.popleft():
            raise Moved("1 there", "MOVED")
        return 1

    async def close(self) -> None:
        self._replies.clear()


@asynccontextmanager
async def links(*servers: Server) -> AsyncIterator[tuple[PublishBudget, list[PublishLink]]]:
    budget = PublishBudget("n", [b"c0", b"c1"], CODEC, limit_bytes=100_000, timeout=30)
    made = [
        PublishLink(
            server,  # type: ignore[arg-type]
            Address("h", number),
            budget,
            beat_channel=b"beat",
            beat_seconds=1e6,
            backoff=Backoff(first_seconds=0.001, limit_seconds=0.001),
            sleep=InterruptibleSleep(),
            neighbour=InterruptibleSleep(),
            relocate=lambda: None,
        )
        for number, server in enumerate(servers)
    ]
    running = [asyncio.create_task(each.run()) for each in made]
    try:
        async with asyncio.timeout(HANG_SECONDS):
            yield budget, made
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        for each in made:
            each.stop()


def publish(budget: PublishBudget, partition: int = 0) -> asyncio.Future[None]:
    return budget.publish(Publication("a", "1", 1, b"1"), partition)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - turns of the loop are what is waited for
        await asyncio.sleep(0)


async def test_a_queue_that_moves_is_marked_before_what_it_publishes_there() -> None:
    old, new = Server(), Server()
    async with links(old, new) as (budget, (first, second)):
        for queue in budget.queues:
            first.adopt(queue)
        await publish(budget)
        await publish(budget)
        await until(lambda: second.up)
        second.adopt(budget.queues[0])
        await publish(budget)
        assert old.taken == [(b"c0", (0, 1)), (b"c0", (1, 1))]
        assert new.taken == [(b"c0", Mark("n", 2, 2, 0, moved=True)), (b"c0", (2, 1))]
        # Nothing was ever published in the other one, so nobody misses anything of it.
        second.adopt(budget.queues[1])
        await publish(budget, 1)
        assert new.taken[2:] == [(b"c1", (0, 1))]


async def test_a_queue_that_moves_is_marked_though_it_publishes_nothing() -> None:
    old, new = Server(), Server()
    async with links(old, new) as (budget, (first, second)):
        first.adopt(budget.queues[0])
        await publish(budget)
        second.adopt(budget.queues[0])
        await until(lambda: new.taken)
        assert new.taken == [(b"c0", Mark("n", 2, 1, 0, moved=True))]


async def test_what_the_old_server_sent_away_counts_as_yet_to_come() -> None:
    old, new = Server(), Server()
    async with links(old, new) as (budget, (first, second)):
        first.adopt(budget.queues[0])
        await publish(budget)
        old.refuses = True
        old.answers.clear()
        done = publish(budget)
        await until(lambda: budget.queues[0].in_flight)
        second.adopt(budget.queues[0])
        await until(lambda: second.up)
        old.answers.set()
        await done
        assert new.taken == [(b"c0", Mark("n", 2, 1, 0, moved=True)), (b"c0", (1, 1))]


async def test_what_was_not_confirmed_is_told_apart() -> None:
    server = Server()
    async with links(server) as (budget, (link,)):
        link.adopt(budget.queues[0])
        await publish(budget)
        assert server.taken == [(b"c0", (0, 1))]
        server.breaks = True
        with pytest.raises(BusUnavailable):
            await publish(budget)
        server.breaks = False
        await until(lambda: len(server.taken) > 2)
        assert server.taken[1:] == [(b"c0", (1, 1)), (b"c0", Mark("n", 2, 2, 1, moved=False))]


async def test_what_waits_fails_when_the_node_ends() -> None:
    server = Server()
    async with links(server) as (budget, (link,)):
        link.adopt(budget.queues[0])
        await publish(budget)
        server.answers.clear()
        done = publish(budget)
        link.stop()
        with pytest.raises(BusUnavailable, match="the node ends"):
            await done
        assert not link.accepting


async def test_a_batch_that_no_server_has_is_failed_in_time() -> None:
    server = Server()
    async with links(server) as (budget, (link,)):
        link.adopt(budget.queues[0])
        await publish(budget)
        server.refuses = True
        budget.timeout = 0.05
        with pytest.raises(BusUnavailable, match="no server of the cluster has it"):
            await publish(budget)
        assert budget.queues[0].returned is None
        assert budget.bytes == 0
