"""Links to Redis that are reset, ended, held up and swallowed, in an order drawn from a seed.

Real gateways, which run on uvloop as in production: asyncio's own loop hides what a reset does. Whatever
came, in the end everything works again by itself, nothing that was promised is missing, and no task failed.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.integration.history import history
from tests.integration.outage import settings_for, until_status
from tests.integration.slow_link import SlowLink, slow_link
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.integration.conftest import RunningGateway, StartGateway
    from tests.redis_process import RunningRedis

STREAMS = '[[streams]]\nname = "kept"\nfilter = "kept/#"\n'
FAULTS = 12


@pytest.fixture(scope="module")
def links(module_redis_server: RunningRedis) -> Iterator[list[SlowLink]]:
    with ExitStack() as stack:
        yield [stack.enter_context(slow_link(module_redis_server.port)) for _ in range(2)]


@pytest.fixture(scope="module")
def nodes(module_gateway_process: StartGateway, links: list[SlowLink]) -> list[RunningGateway]:
    return [module_gateway_process(settings_for(link.url) + STREAMS) for link in links]


async def reset(link: SlowLink, _random: random.Random) -> None:
    await asyncio.to_thread(link.reset)


async def end(link: SlowLink, _random: random.Random) -> None:
    await asyncio.to_thread(link.end)


async def reset_again_and_again(link: SlowLink, chance: random.Random) -> None:
    for _ in range(chance.randint(2, 6)):
        await reset(link, chance)
        await asyncio.sleep(chance.uniform(0, 0.1))


async def hold_up(link: SlowLink, chance: random.Random) -> None:
    link.stall()
    await asyncio.sleep(chance.uniform(0.05, 0.5))
    link.heal()


async def swallow(link: SlowLink, chance: random.Random) -> None:
    """Longer than a publisher waits; then what was held up is gone for good."""
    link.stall()
    await asyncio.sleep(chance.uniform(1.6, 2.0))
    await reset(link, chance)
    link.heal()


async def swallow_answers(link: SlowLink, chance: random.Random) -> None:
    link.back.bytes_per_second = 0
    await asyncio.sleep(chance.uniform(0.1, 0.5))
    await reset(link, chance)
    link.heal()


KINDS: list[Callable[[SlowLink, random.Random], Awaitable[None]]] = [
    reset, reset_again_and_again, end, hold_up, swallow, swallow_answers,
]  # fmt: skip


class Kept:
    """Publishes to a captured topic by one node, and follows it on another."""

    def __init__(self) -> None:
        self.stored: dict[int, int] = {}
        self.followed: dict[int, int] = {}

    async def publish(self, node: RunningGateway) -> None:
        number = 0
        async with httpx2.AsyncClient() as http:
            while True:
                number += 1
                url = f"{node.url}/v1/topics/kept/a"
                answer = await http.post(url, json=number, timeout=HANG_SECONDS)
                if answer.status_code == 201:
                    self.stored[answer.json()["offset"]] = number
                else:
                    assert answer.status_code == 503
                await asyncio.sleep(0.01)

    async def follow(self, node: RunningGateway, subscribed: asyncio.Event) -> None:
        async with connect(node.ws_url, ping_interval=None) as websocket:
            await websocket.recv()
            await websocket.send(json.dumps({"op": "subscribe", "filter": "kept/#"}))
            assert json.loads(await websocket.recv())["op"] == "subscribed"
            subscribed.set()
            async for text in websocket:
                frame = json.loads(text)
                assert frame["op"] == "message", frame
                self.followed[frame["offset"]] = frame["data"]

    async def settled(self, more: int = 5) -> None:
        """Wait until new ones are stored, and everything that was stored by then has come."""
        until = len(self.stored) + more
        async with asyncio.timeout(HANG_SECONDS):
            while len(self.stored) < until:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            stored = self.stored.copy()
            while not stored.items() <= self.followed.items():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def ready(nodes: list[RunningGateway]) -> None:
    for node in nodes:
        await until_status(node, "ready")


def failures(node: RunningGateway) -> list[str]:
    page = httpx2.get(f"{node.url}/metrics", timeout=HANG_SECONDS).text
    return [line for line in page.splitlines() if line.startswith("gateway_task_failures_total")]


async def test_one_reset_and_streams_go_on(nodes: list[RunningGateway], links: list[SlowLink]) -> None:
    """While nothing is asked, and with the next publish right behind it."""
    kept, subscribed = Kept(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(kept.follow(nodes[1], subscribed))
        await subscribed.wait()
        for link in links:
            link.reset()
        publishing = tasks.create_task(kept.publish(nodes[0]))
        await kept.settled()
        await ready(nodes)
        following.cancel()
        publishing.cancel()
    assert [failures(node) for node in nodes] == [[], []]


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_everything_works_again(
    nodes: list[RunningGateway], links: list[SlowLink], seed: int
) -> None:
    chance = random.Random(seed)
    kept, subscribed = Kept(), asyncio.Event()
    async with history(nodes) as record, asyncio.TaskGroup() as tasks:
        await record.steady()
        following = tasks.create_task(kept.follow(nodes[1], subscribed))
        await subscribed.wait()
        publishing = tasks.create_task(kept.publish(nodes[0]))
        for _ in range(FAULTS):
            await chance.choice(KINDS)(chance.choice(links), chance)
            await asyncio.sleep(chance.uniform(0, 0.3))
        await ready(nodes)
        await record.steady()
        await kept.settled()
        following.cancel()
        publishing.cancel()
    record.check()
    assert [failures(node) for node in nodes] == [[], []]
