"""Clients that send what they must not: each gets what the protocol promises, its neighbours notice nothing.

Malformed commands are shown one by one in tests/conformance/transcripts; here is what comes in masses, in
pieces, or below the protocol.
"""

from __future__ import annotations

import json
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import pytest

from .raw_client import CLOSE, PING, PONG, RawClient, bystander, command, frame, raw_client, subscribe, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import RunningGateway, StartGateway

MIB = 1024 * 1024
RATE = 100
SETTINGS = f"""
limits.commands_per_second = {RATE}
"""
DIRECT_SETTINGS = """
limits.commands_per_second = 1000000
limits.message_timeout = "4s"
"""


@pytest.fixture(scope="module", params=["direct", "asgi"])
def gateway(request: pytest.FixtureRequest, module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS, way=request.param)


@pytest.fixture(scope="module")
def direct_gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(DIRECT_SETTINGS)


@pytest.fixture
async def neighbours(gateway: RunningGateway) -> AsyncIterator[None]:
    async with bystander(gateway):
        yield


@pytest.fixture
async def direct_neighbours(direct_gateway: RunningGateway) -> AsyncIterator[None]:
    async with bystander(direct_gateway):
        yield


async def is_alive(client: RawClient) -> None:
    await client.send(command(op="ping", ref="alive"))
    assert await client.event() == {"op": "pong", "ref": "alive"}


async def test_a_frame_of_10_megabytes_closes_with_1009(gateway, neighbours) -> None:
    before = gateway.rss()
    async with raw_client(gateway) as client:
        body = b'{"op":"publish","topic":"t","data":"' + b"x" * 10_000_000 + b'"}'
        # The gateway reads no further than it must, so perhaps not all of it is taken.
        await client.send_what_is_taken(frame(body), 2)
        assert await client.close_code() in {1009, None}
    # A foreign ASGI server collects the frame before the gateway sees it.
    assert gateway.rss() - before < (4 if gateway.way == "direct" else 64) * MIB


async def test_a_client_that_declares_too_much_is_told_1009(direct_gateway, direct_neighbours) -> None:
    async with raw_client(direct_gateway) as client:
        await client.send(frame(b"x" * 10_000_000)[:1000])
        assert await client.close_code() == 1009


async def test_10000_levels_of_json_are_too_deep(gateway, neighbours) -> None:
    async with raw_client(gateway) as client:
        deep = b"[" * 10_000 + b"]" * 10_000
        await client.send(frame(deep))
        assert (await client.event())["code"] == "bad_frame"
        await client.send(frame(b'{"op":"publish","topic":"t","data":%b}' % deep))
        assert (await client.event())["code"] == "bad_frame"
        await client.send(frame(b'{"op":"publish","topic":"t","data":%b}' % (b'{"a":' * 10_000)))
        assert (await client.event())["code"] == "bad_frame"
        await is_alive(client)


async def test_commands_beyond_the_rate_are_refused_one_by_one(gateway, neighbours) -> None:
    async with raw_client(gateway) as client:
        await client.send(b"".join(command(op="ping", ref=number) for number in range(20 * RATE)))
        answers = [await client.event() for _ in range(20 * RATE)]
    assert [answer["ref"] for answer in answers] == list(range(20 * RATE))
    assert {answer["op"] for answer in answers[: 5 * RATE]} == {"pong"}
    refused = [answer for answer in answers if answer["op"] == "error"]
    assert len(refused) >= 5 * RATE
    assert {answer["code"] for answer in refused} == {"rate_limited"}


async def test_100000_filters_on_one_connection_are_too_many(direct_gateway, direct_neighbours) -> None:
    """Each refusal is answered, and nothing is kept of it."""
    before = direct_gateway.rss()
    asked, batch = 100_000, 1000
    subscribed = refused = 0
    async with raw_client(direct_gateway) as client:
        for start in range(0, asked, batch):
            filters = (f"mass/{number}/+/#" for number in range(start, start + batch))
            await client.send(b"".join(command(op="subscribe", filter=each) for each in filters))
            for _ in range(batch):
                event = await client.event()
                subscribed += event["op"] == "subscribed"
                refused += event.get("code") == "too_many"
        assert (subscribed, refused) == (1000, asked - 1000)
        assert direct_gateway.rss() - before < 16 * MIB
        await is_alive(client)


async def test_text_that_is_not_utf8(gateway, neighbours) -> None:
    async with raw_client(gateway) as client:
        await client.send(frame(b'{"op":"ping","ref":"\xff"}'))
        if gateway.way == "direct":
            assert (await client.event())["code"] == "bad_frame"
            await is_alive(client)
        else:
            gateway.may_log_tracebacks = True  # uvicorn's own class writes one for each such text
            assert await client.close_code() == 1007


async def test_a_message_in_fragments_is_one_command(gateway, neighbours) -> None:
    async with raw_client(gateway) as client:
        await client.send(frame(b'{"op":"pi', final=False))
        await client.send(frame(b'ng","ref":"\xc3', 0, final=False))
        await client.send(frame(b"between", PING))
        assert await client.frame() == (PONG, b"between")
        await client.send(frame(b"", 0, final=False))
        await client.send(frame(b'\xa9"}', 0))
        assert await client.event() == {"op": "pong", "ref": "é"}


async def test_a_message_a_byte_at_a_time_is_one_command(direct_gateway, direct_neighbours) -> None:
    async with raw_client(direct_gateway) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in command(op="ping", ref="slow"):
            await client.send(bytes([byte]))
        assert await client.event() == {"op": "pong", "ref": "slow"}


async def test_fragments_without_end_close_the_connection(direct_gateway, direct_neighbours) -> None:
    before = direct_gateway.rss()
    async with raw_client(direct_gateway) as client:
        await client.send(frame(b"", final=False))
        await client.send_what_is_taken(frame(b"", 0, final=False) * 500_000, 2)
        assert await client.close_code() in {1008, None}
    assert direct_gateway.rss() - before < 4 * MIB


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(frame(b'{"op":"ping"}', masked=False), id="unmasked"),
        pytest.param(b"\xc1" + frame(b"x")[1:], id="reserved bit"),
        pytest.param(frame(b"", 3), id="unknown opcode"),
        pytest.param(frame(b"", 0), id="continuation of nothing"),
        pytest.param(frame(b"x" * 126, PING), id="long ping"),
        pytest.param(frame(b"", PING, final=False), id="ping in fragments"),
        pytest.param(frame(b"x", final=False) + frame(b"x"), id="message in a message"),
        pytest.param(frame(b"\x03", CLOSE), id="half a close code"),
        pytest.param(frame((1006).to_bytes(2, "big"), CLOSE), id="forbidden close code"),
    ],
)
async def test_a_broken_frame_closes_with_1002(gateway, neighbours, broken: bytes) -> None:
    async with raw_client(gateway) as client:
        await client.send(broken)
        assert await client.close_code() == 1002


async def test_a_ping_flood_from_a_client_that_reads_nothing(direct_gateway, direct_neighbours) -> None:
    before = direct_gateway.rss()
    async with raw_client(direct_gateway, receive_buffer=4096) as client:
        await client.send_what_is_taken(frame(b"x" * 125, PING) * 300_000, 2)
        assert direct_gateway.rss() - before < 4 * MIB
        assert await client.close_code() in {1008, None}


async def test_a_client_that_sends_and_never_reads_is_no_longer_read(
    direct_gateway, direct_neighbours
) -> None:
    """Its answers fill their lane; then the gateway takes nothing more from it, and holds nothing more."""
    before = direct_gateway.rss()
    async with raw_client(direct_gateway, receive_buffer=4096) as client:
        ping = command(op="ping", ref="x" * 120)
        pings = ping * 100_000
        taken = await client.send_what_is_taken(pings, 1)
        assert taken < len(pings)
        assert direct_gateway.rss() - before < 8 * MIB
        # It reads after all: everything that was taken is answered, and it is read again.
        for _ in range(taken // len(ping)):
            assert (await client.event())["op"] == "pong"
        await client.send(ping[taken % len(ping) :])
        assert (await client.event())["op"] == "pong"
        await is_alive(client)


@pytest.mark.parametrize("way", ["direct", "asgi"])
async def test_of_silent_connections_those_live_on_that_answer_pings(gateway_process, way: str) -> None:
    """The kernel of the other one's peer lives, the peer doesn't: its pong is missing."""
    gateway = gateway_process(
        'limits.ping_interval = "0.1s"\nlimits.pong_timeout = "3s"\n',
        # Uvicorn's own WebSocket class does it itself on the portable way.
        {"UVICORN_WS_PING_INTERVAL": "0.1", "UVICORN_WS_PING_TIMEOUT": "3"},
        way=way,
    )
    answered = 0
    async with (
        raw_client(gateway) as silent,
        raw_client(gateway) as client,
        anyio.create_task_group() as tasks,
    ):

        async def answer() -> None:
            nonlocal answered
            opcode, payload = await client.frame()
            while opcode == PING:
                await client.send(frame(payload, PONG))
                answered += 1
                opcode, payload = await client.frame()
            assert json.loads(payload) == {"op": "pong", "ref": "alive"}

        tasks.start_soon(answer)
        assert (await silent.frame())[0] == PING
        await silent.ended()
        await until(lambda: answered >= 2)
        await client.send(command(op="ping", ref="alive"))


async def test_a_message_that_is_never_finished_ends_the_connection(
    direct_gateway, direct_neighbours
) -> None:
    async with raw_client(direct_gateway) as client:
        await client.send(frame(b'{"op":', final=False))
        assert await client.close_code() == 1008


@pytest.mark.parametrize("abruptly", [False, True])
async def test_disconnects_in_the_middle_of_a_frame(gateway, neighbours, *, abruptly: bool) -> None:
    """Nothing of the half command happens, and nothing is left of its client."""
    async with raw_client(gateway) as listener, AsyncExitStack() as stack:
        await subscribe(listener, "half/#")
        half = command(op="publish", topic="half/way", data="x" * 1000)[:-1]
        for _ in range(50):
            client = await stack.enter_async_context(raw_client(gateway))
            await subscribe(client, "half/#")
            await client.send(half)
            if abruptly:  # a reset instead of a proper end
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.socket.close()
        await listener.send(command(op="publish", topic="half/done", data="whole"))
        assert (await listener.event())["topic"] == "half/done"
        # The listener's and the bystander's.
        await until(lambda: gateway.metric("gateway_subscriptions") == 2)


async def test_garbage_instead_of_frames_harms_nobody(gateway, neighbours) -> None:
    async with AsyncExitStack() as stack:
        for seed in range(20):
            client = await stack.enter_async_context(raw_client(gateway))
            await client.send(bytes((seed * 31 + step * step * 7) % 256 for step in range(2000)))
            client.socket.shutdown(socket.SHUT_WR)
            await client.ended()


def test_nothing_of_all_this_was_logged_as_a_defect(gateway, direct_gateway) -> None:
    for each in (gateway, direct_gateway):
        for line in each.output().splitlines():
            if line.startswith("{"):
                assert json.loads(line)["level"] != "error", line
