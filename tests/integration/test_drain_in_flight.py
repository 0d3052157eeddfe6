"""SIGTERM with publishes and requests under way: what was stored was answered, what is new is refused.

Spec: docs/operations.md, "Stopping".
"""

from __future__ import annotations

import asyncio
import http.client
import json
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import httpx2
from anyio import to_thread

from tests.patience import HANG_SECONDS

from .outage import PATIENT_REDIS
from .raw_client import CLOSE, RawClient, command, frame, raw_client
from .slow_link import slow_link

if TYPE_CHECKING:
    from .conftest import RunningGateway

COUNT = 40
MAYBE = "may have been kept all the same"
STREAM = 'limits.commands_per_second = 1000000\n[[streams]]\nname = "orders"\nfilter = "orders/#"\n'


def publish(number: int) -> bytes:
    return command(op="publish", topic="orders/x", data=number, id=f"m{number}", ref=number)


async def events_to_the_end(client: RawClient) -> tuple[list[dict[str, Any]], int]:
    """All that is still said, and the close frame's code."""
    events = []
    while True:
        opcode, payload = await client.frame()
        if opcode == CLOSE:
            await client.send(frame(payload, CLOSE))
            client.socket.close()
            return events, int.from_bytes(payload[:2], "big")
        events.append(json.loads(payload))


def stored(gateway: RunningGateway) -> list[str]:
    kept: list[str] = []
    after = 1
    while True:
        page = httpx2.get(f"{gateway.url}/v1/streams/orders/messages?limit=1000&from={after}").json()
        if not page["messages"]:
            return kept
        kept += [message["id"] for message in page["messages"]]
        after = page["next"]


async def test_a_drain_answers_what_waits_for_a_slow_store(gateway_process, redis_server) -> None:
    """The store is far away when the signal comes, and answers while the node drains."""
    with slow_link(redis_server.port) as link, ExitStack() as stack:
        # It waits for the store for as long as this takes.
        gateway = gateway_process(f'{STREAM}[redis]\nurl = "{link.url}"\n{PATIENT_REDIS}')
        posting = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
        stack.callback(posting.close)
        posting.request("GET", "/livez")
        posting.getresponse().read()
        async with raw_client(gateway) as client:
            await client.send(publish(-1))
            assert (await client.event())["op"] == "published"
            link.stall()
            await client.send(b"".join(publish(number) for number in range(COUNT)))
            # Read behind the others: they are on their way to the store by then.
            await client.send(command(op="ping"))
            assert (await client.event())["op"] == "pong"
            posting.request("POST", "/v1/topics/orders/y", b'"over HTTP"')
            await client.send(command(op="ping"))
            assert (await client.event())["op"] == "pong"
            gateway.terminate()
            assert (await client.event())["op"] == "goaway"
            await client.send(publish(1000))
            refused = await client.event()
            assert (refused["op"], refused["code"], refused["ref"]) == ("error", "unavailable", 1000)
            link.heal()
            events, code = await events_to_the_end(client)
        assert [(each["op"], each["ref"]) for each in events] == [
            ("published", number) for number in range(COUNT)
        ]
        assert code == 1001
        response = await to_thread.run_sync(posting.getresponse)
        assert (response.status, response.getheader("connection")) == (201, "close")
        assert await to_thread.run_sync(gateway.wait) == 0
        gateway.start()
        assert len(await to_thread.run_sync(stored, gateway)) == 1 + COUNT + 1


async def test_whatever_was_stored_was_answered(gateway_process) -> None:
    """With a disk that takes its time, and a client that goes on publishing until it hears of the end."""
    gateway = gateway_process(f'store.url = "sqlite:streams.db"\n{STREAM}')
    async with raw_client(gateway) as client:
        await client.send(b"".join(publish(number) for number in range(COUNT)))
        gateway.terminate()
        reading = asyncio.create_task(events_to_the_end(client))
        for number in range(COUNT, 20 * COUNT):
            if reading.done():
                break
            with suppress(OSError, ValueError):
                await client.send(publish(number))
        events, code = await reading
    assert code == 1001
    # A disk that is too slow is told as such, and then nobody knows.
    answered = {
        event["ref"] for event in events if event["op"] == "published" or MAYBE in event.get("reason", "")
    }
    assert await to_thread.run_sync(gateway.wait) == 0
    gateway.start()
    kept = await to_thread.run_sync(stored, gateway)
    assert len(kept) >= COUNT
    assert {int(each.removeprefix("m")) for each in kept} <= answered
