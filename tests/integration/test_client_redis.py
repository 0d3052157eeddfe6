"""The Python client as a member of a group whose state is in Redis, at either of two gateways."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import Backoff, Client
from tests.patience import HANG_SECONDS

from .group_client import figures, publish
from .outage import until_status
from .raw_client import until

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from tests.redis_process import RunningRedis

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)
SETTINGS = """
[redis]
url = "{url}"
[[streams]]
name = "s"
filter = "s/#"
last_values = true
[[streams.groups]]
name = "g"
ack_wait = "{ack_wait}"
backoff = []
"""


def client_of(gateway: RunningGateway, **options: Any) -> Client:
    return Client(gateway.url, **{"backoff": QUICK, "timeout": 3 * HANG_SECONDS} | options)


def two_nodes(
    start: StartGateway, redis: RunningRedis, ack_wait: str = "60s"
) -> tuple[RunningGateway, RunningGateway]:
    settings = SETTINGS.format(url=redis.url, ack_wait=ack_wait)
    return start(settings), start(settings)


async def test_members_at_two_nodes_get_each_message_once(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    nodes = two_nodes(gateway_process, redis_server)
    done: Counter[int] = Counter()

    async def work(node: RunningGateway, *, task_status: TaskStatus[None]) -> None:
        async with client_of(node) as client, client.consume("s", group="g", credit=3) as consumer:
            task_status.started()
            async for delivery in consumer:
                async with delivery:
                    done[delivery.offset] += 1

    async with anyio.create_task_group() as members:
        for node in nodes:
            await members.start(work, node)
        offsets = [publish(nodes[each % 2]) for each in range(30)]
        await until(lambda: figures(nodes[1], "g")["depth"] == 0)
        members.cancel_scope.cancel()
    assert done == Counter(offsets)
    assert figures(nodes[0], "g")["redelivered"] == 0


async def test_an_answer_is_said_again_until_redis_is_back(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node, other = two_nodes(gateway_process, redis_server)
    async with client_of(node) as client, client.consume("s", group="g") as consumer:
        first = publish(node)
        with anyio.fail_after(HANG_SECONDS):
            held = await anext(consumer)
        redis_server.freeze()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(held.ack)
                await until_status(node, "degraded")
                redis_server.thaw()
        finally:
            redis_server.thaw()
        assert held.offset == first
        await until(lambda: figures(other, "g")["depth"] == 0)
        second = publish(other)
        with anyio.fail_after(HANG_SECONDS):
            async with await anext(consumer) as delivery:
                assert (delivery.offset, delivery.attempt) == (second, 1)


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_what_a_node_had_goes_to_a_member_at_the_other(
    gateway_process: StartGateway, redis_server: RunningRedis, how: str
) -> None:
    node, other = two_nodes(gateway_process, redis_server, ack_wait="2s")
    async with client_of(node) as client, client.consume("s", group="g") as consumer:
        offset = publish(node)
        with anyio.fail_after(HANG_SECONDS):
            held = await anext(consumer)
        assert held.offset == offset
        if how == "kill":
            node.kill()
        else:
            node.terminate()
        async with client_of(other) as second, second.consume("s", group="g") as successor:
            with anyio.fail_after(HANG_SECONDS):
                async with await anext(successor) as delivery:
                    # A node that drains gives back; one that is gone leaves the lease to run out.
                    assert (delivery.offset, delivery.attempt) == (offset, 2 if how == "kill" else 1)
            assert delivery.fence > held.fence
        await until(lambda: figures(other, "g")["depth"] == 0)


async def test_a_state_at_one_node_follows_what_is_said_at_the_other(
    gateway_process: StartGateway, redis_server: RunningRedis
) -> None:
    node, other = two_nodes(gateway_process, redis_server)
    for each in range(3):
        publish(node, f"s/{each}", each)
    async with client_of(node) as client, client.state("s/+") as state, client_of(other) as speaker:
        assert {topic: message.data for topic, message in state.items()} == {"s/0": 0, "s/1": 1, "s/2": 2}
        await speaker.publish("s/0", "new")
        await speaker.delete("s/1")
        await until(lambda: {topic: each.data for topic, each in state.items()} == {"s/0": "new", "s/2": 2})
