"""SIGTERM with clients that don't make it easy; polite ones are in test_lifecycle.py.

Spec: docs/operations.md, "Stopping".
"""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import time
from contextlib import AsyncExitStack

import pytest
from anyio import to_thread

from tests.patience import HANG_SECONDS, PATIENCE

from .raw_client import CLOSE, RawClient, bystander, frame, raw_client, subscribe, until
from .test_backpressure import publish

DRAIN_SECONDS = 2
IMPATIENT = f"""
server.drain_seconds = {DRAIN_SECONDS}
limits.commands_per_second = 1000000
"""
# Nothing of a drain but its end is hurried: clients that take their leave need time for it.
SETTINGS = IMPATIENT.replace(f"{DRAIN_SECONDS}", "22", 1)


async def ends_in_time(gateway, began: float) -> None:
    assert await to_thread.run_sync(gateway.wait) == 0
    assert time.monotonic() - began < PATIENCE * (DRAIN_SECONDS + 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stuck_clients_do_not_hold_the_node(gateway_process, number: signal.Signals) -> None:
    """Some never read what waits for them, some never answer the close, one is within its handshake."""
    gateway = gateway_process(IMPATIENT)
    async with AsyncExitStack() as stack:
        for _ in range(5):
            full = await stack.enter_async_context(raw_client(gateway, receive_buffer=4096))
            await subscribe(full, "drain/#")
            await stack.enter_async_context(raw_client(gateway))
        half = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
        half.sendall(b"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        await publish(gateway, 10_000, "drain/x")
        began = time.monotonic()
        gateway.process.send_signal(number)
        await ends_in_time(gateway, began)


async def test_a_client_behind_still_hears_goaway(gateway_process) -> None:
    """Replies pass what waits, so it comes before the close although data could not be written."""
    gateway = gateway_process(SETTINGS)
    async with raw_client(gateway, receive_buffer=4096) as client:
        await subscribe(client, "drain/#")
        await publish(gateway, 10_000, "drain/x")
        began = time.monotonic()
        gateway.terminate()
        await until(lambda: "draining" in gateway.output())
        events = []
        while not events or events[-1]["op"] != "goaway":
            events.append(await client.event())
        assert events[-1]["reason"] == "draining"
        assert events[-1]["retry_after"] >= 0
        await says_goodbye(client)
        await ends_in_time(gateway, began)


async def says_goodbye(client: RawClient) -> None:
    opcode, payload = await client.frame()
    assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1001)
    await client.send(frame(payload, CLOSE))
    await client.ended()
    client.socket.close()  # the gateway waits for that, as long as it drains


async def test_a_draining_node_is_not_ready_and_takes_nobody(gateway_process) -> None:
    gateway = gateway_process(SETTINGS)
    async with raw_client(gateway) as client:
        # A prober with a kept connection, for the listening socket goes first.
        prober = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
        assert await asked(prober) == 200
        began = time.monotonic()
        gateway.terminate()
        assert (await client.event())["op"] == "goaway"
        assert await asked(prober) == 503
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.port)
        prober.close()
        await says_goodbye(client)
        await ends_in_time(gateway, began)


async def test_an_event_source_that_meets_a_draining_node_comes_back(gateway_process) -> None:
    """Anything but 200 would make it give up for good; a stream that ends makes it come back, in its time."""
    gateway = gateway_process(SETTINGS)
    async with raw_client(gateway) as client:
        source = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
        source.request("GET", "/livez")
        source.getresponse().read()
        gateway.terminate()
        assert (await client.event())["op"] == "goaway"
        source.request("GET", "/v1/events?filter=a")
        answer = await to_thread.run_sync(source.getresponse)
        assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream")
        # Or it would come back by the same connection again and again.
        assert answer.getheader("connection") == "close"
        text = answer.read().decode()
        assert text.endswith("\n\n")
        assert int(text.removeprefix("retry: ")) >= 1000
        source.close()
        await says_goodbye(client)
        assert await to_thread.run_sync(gateway.wait) == 0


async def asked(prober: http.client.HTTPConnection) -> int:
    def ask() -> int:
        prober.request("GET", "/readyz")
        answer = prober.getresponse()
        answer.read()
        return answer.status

    return await to_thread.run_sync(ask)


async def test_a_killed_node_leaves_its_port_free(gateway_process) -> None:
    """Although connections were open: the next one listens, and serves, at once."""
    gateway = gateway_process(SETTINGS)
    async with raw_client(gateway) as client, raw_client(gateway, receive_buffer=4096) as stuck:
        await subscribe(stuck, "kill/#")
        await publish(gateway, 1000, "kill/x")
        gateway.kill()
        await client.ended()
        gateway.start()
        async with bystander(gateway):
            pass


async def test_a_foreign_server_closes_its_clients_too(gateway_process) -> None:
    """Its shutdown comes before the application's: no ``goaway``, but 1012 and a proper end."""
    gateway = gateway_process(SETTINGS, way="asgi")
    async with raw_client(gateway) as client:
        gateway.terminate()
        assert await client.close_code() == 1012
        await client.send(frame((1012).to_bytes(2, "big"), CLOSE))
        # Uvicorn raises the signal again once it has shut down.
        assert await to_thread.run_sync(gateway.wait) in {0, -signal.SIGTERM}
