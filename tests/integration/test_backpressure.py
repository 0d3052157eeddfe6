"""Clients that read slowly or not at all: bounded memory, exact accounts, and neighbours that get everything.

Spec: docs/protocol.md, "Overflow".
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest

from tests.patience import HANG_SECONDS

from .raw_client import CLOSE, RawClient, bystander, command, frame, raw_client, subscribe, until

if TYPE_CHECKING:
    from .conftest import RunningGateway, StartGateway

MIB = 1024 * 1024
SETTINGS = """
limits.commands_per_second = 1000000
limits.outbox_messages = 500
limits.outbox_bytes = "512KiB"
"""
LASTING = """
limits.ping_interval = "10m"
limits.write_timeout = "10m"
"""
"""Raw clients answer no ping, and a busy machine may need longer than a minute for one test."""
BATCH = 1000
STEP = 400
FILLER = "x" * 120


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS + LASTING, way=request.param)


async def publish(gateway: RunningGateway, count: int, *topics: str, first: int = 0) -> None:
    """Publish the numbers from ``first`` on, to ``topics`` in turn."""
    # Without TLS, whose context takes longer to make than a batch to send.
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=HANG_SECONDS, verify=False) as http:
        for start in range(first, first + count, BATCH):
            numbers = range(start, min(start + BATCH, first + count))
            items = [
                {"topic": topics[number % len(topics)], "data": {"n": number, "filler": FILLER}}
                for number in numbers
            ]
            answer = await http.post("/v1/publish", json=items)
            assert all("id" in result for result in answer.json()["results"])


async def received(client: RawClient, *, until_number: int) -> list[dict[str, Any]]:
    """Events up to the message ``until_number``."""
    events = [await client.event()]
    while events[-1].get("data", {}).get("n") != until_number:
        events.append(await client.event())
    return events


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["n"] for event in events if event["op"] == "message"]


def dropped(events: list[dict[str, Any]]) -> int:
    gaps = [event for event in events if event["op"] == "gap"]
    assert all(gap["reason"] == "overflow" for gap in gaps)
    return sum(gap["dropped"] for gap in gaps)


@pytest.mark.parametrize("policy", ["spill", "drop_oldest", "drop_newest", "latest"])
async def test_every_publication_is_received_or_counted(gateway, policy: str) -> None:
    """In order, and what was lost is told by gaps that name the filter."""
    count, topic = 20_000, f"account/{policy}"
    async with bystander(gateway), raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "account/+", overflow=policy)
        await publish(gateway, count, topic)
        await publish(gateway, 1, "account/last", first=count)
        if policy == "drop_newest":
            # What comes last is lost, unless there is room again.
            events = await read_until_accounted(client, count + 1)
        else:
            events = await received(client, until_number=count)
        got, gaps = numbers(events), [event for event in events if event["op"] == "gap"]
        assert got == sorted(set(got))
        assert {gap["filter"] for gap in gaps} == {"account/+"}
        assert len(got) + dropped(events) == count + 1
        assert dropped(events) > 0
        if policy in {"spill", "drop_oldest"}:
            assert got[-500:] == list(range(count - 499, count + 1))
        if policy == "latest":
            # Of the one topic only the newest waited, behind what the kernel and the transport had taken.
            assert got[-2:] == [count - 1, count]
            if gateway.way == "direct":  # else each send under way already lets the next supersede
                assert got[:-2] == list(range(len(got) - 2))
        # From here on it is direct again.
        await publish(gateway, 3, topic, first=count + 1)
        assert numbers(await received(client, until_number=count + 3))[-3:] == [
            count + 1,
            count + 2,
            count + 3,
        ]


async def read_until_accounted(client: RawClient, count: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while count > 0:
        events.append(await client.event())
        count -= events[-1].get("dropped", 1)
    return events


async def test_a_gap_lies_where_the_loss_is(gateway) -> None:
    """``drop_oldest`` loses before what waits, ``drop_newest`` behind it."""
    async with raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "where/old", overflow="drop_oldest")
        await publish(gateway, 20_000, "where/old")
        events = await received(client, until_number=19_999)
        position = next(index for index, event in enumerate(events) if event["op"] == "gap")
        (before, after) = numbers(events[:position]), numbers(events[position:])
        assert before == list(range(len(before)))
        assert events[position]["dropped"] == after[0] - before[-1] - 1


async def test_latest_keeps_the_newest_of_each_topic(gateway) -> None:
    count, topics = 20_000, [f"newest/{name}" for name in "abcde"]
    async with raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "newest/#", overflow="latest")
        await publish(gateway, count, *topics)
        events = await received(client, until_number=count - 1)
        assert numbers(events)[-5:] == list(range(count - 5, count))
        assert len(numbers(events)) + dropped(events) == count


async def test_disconnect_closes_with_4408(gateway) -> None:
    async with bystander(gateway), raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "strict", overflow="disconnect")
        await publish(gateway, 20_000, "strict")
        got = []
        opcode, payload = await client.frame()
        while opcode != CLOSE:
            got.append(json.loads(payload)["data"]["n"])
            opcode, payload = await client.frame()
        assert int.from_bytes(payload[:2], "big") == 4408
        # Nothing was lost in between: what it got is a beginning of what was published.
        assert got == list(range(len(got)))
        await client.send(frame(payload, CLOSE))
        await client.ended()


async def test_a_subscriber_that_never_reads_costs_its_bound(gateway) -> None:
    """Another subscriber of the same topic gets every one of 100,000 messages, in order."""
    count = 100_000 if gateway.way == "direct" else 20_000
    async with AsyncExitStack() as stack:
        stuck = await stack.enter_async_context(raw_client(gateway, receive_buffer=4096))
        await subscribe(stuck, "mass/#")
        reader = await stack.enter_async_context(raw_client(gateway))
        await subscribe(reader, "mass/#", overflow="disconnect")
        await publish(gateway, STEP, "mass/warm")
        await received(reader, until_number=STEP - 1)
        before = gateway.rss()
        events: list[dict[str, Any]] = []

        # In step with the reader, and no more at once than may wait: however late it reads, it isn't slow.
        for start in range(0, count, STEP):
            await publish(gateway, STEP, "mass/data", first=start)
            events.extend(await received(reader, until_number=start + STEP - 1))
        assert numbers(events) == list(range(count))
        # Its outbox (0.5 MiB), and what the allocator keeps of the traffic.
        assert gateway.rss() - before < 8 * MIB
        if gateway.way == "direct":
            assert gateway.metric("gateway_slow_consumers") == 1


async def test_many_slow_clients_at_once(gateway) -> None:
    """Each bounded by itself, each with an exact account of its own."""
    clients, count = 40, 5_000
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bystander(gateway))
        slow = [
            await stack.enter_async_context(raw_client(gateway, receive_buffer=4096)) for _ in range(clients)
        ]
        for number, client in enumerate(slow):
            await subscribe(client, "crowd/#" if number % 2 else "crowd/+")
        before = gateway.rss()
        await publish(gateway, count, "crowd/x")
        # Publications are shared; each holds its list, the transport's buffer and one send's bytes.
        assert gateway.rss() - before < clients * MIB // 2 + 8 * MIB
        for client in slow[::4]:
            events = await received(client, until_number=count - 1)
            assert len(numbers(events)) + dropped(events) == count


async def test_replies_pass_what_waits(gateway) -> None:
    async with raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "passed/#")
        await publish(gateway, 20_000, "passed/by")
        await client.send(command(op="ping", ref="urgent"))
        # Whoever comes later is answered: so the ping has come, before any room for what waits.
        gateway.metric("gateway_connections")
        events = []
        while not events or events[-1]["op"] != "pong":
            events.append(await client.event())
        behind = await received(client, until_number=19_999)
        # The outbox held 500; the pong was sent before them.
        assert len(numbers(behind)) >= 400


async def test_a_client_that_takes_nothing_is_closed(gateway_process) -> None:
    """After ``write_timeout``, and then the time that a close handshake may take."""

    async def takes_nothing(gateway: RunningGateway) -> None:
        async with bystander(gateway), raw_client(gateway, receive_buffer=4096) as client:
            await subscribe(client, "stuck/#")
            await publish(gateway, 20_000, "stuck/x")
            await until(lambda: gateway.metric("gateway_connections") == 1)
            await until(lambda: "4408" in gateway.output())
            await client.ended()

    async with anyio.create_task_group() as tasks:
        for way in ("direct", "asgi"):
            gateway = gateway_process(SETTINGS + 'limits.write_timeout = "1s"\n', way=way)
            tasks.start_soon(takes_nothing, gateway)


async def test_a_client_that_reads_in_time_is_not_closed(gateway_process) -> None:
    gateway = gateway_process(SETTINGS + f'limits.write_timeout = "{HANG_SECONDS}s"\n')
    async with raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "slow/#")
        await publish(gateway, 20_000, "slow/x")
        events = await received(client, until_number=19_999)
        assert len(numbers(events)) + dropped(events) == 20_000
        await client.send(command(op="ping"))
        assert (await client.event())["op"] == "pong"
