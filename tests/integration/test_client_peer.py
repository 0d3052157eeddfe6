"""The Python client against a peer that floods it, forgets to answer and says what it should not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import (
    Backoff,
    Client,
    ClientClosed,
    CommandTimeout,
    Gap,
    Message,
    Subscription,
)
from gateway.errors import BadFilter, BadTopic, TooLarge, Unavailable
from tests.patience import HANG_SECONDS

from .scripted_peer import Peer, scripted_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with scripted_peer() as peer:
        yield peer


def client_of(peer: Peer, **options: Any) -> Client:
    return Client(peer.url, **{"backoff": QUICK, "timeout": 5.0} | options)


async def first(subscription: Subscription[Message]) -> Message:
    """The first message of a loop that then ends."""
    with anyio.fail_after(HANG_SECONDS):
        async for message in subscription:
            return message
    pytest.fail("the subscription ended")


async def test_gaps_are_told_to_a_callback_or_logged(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Gap] = []
    async with (
        client_of(peer) as client,
        client.subscribe("a", on_gap=told.append) as one,
        client.subscribe("a") as two,
    ):
        await peer.send(op="gap", reason="overflow", filter="a", dropped=7)
        await peer.publish("a", "after")
        assert (await anext(one)).data == "after"
        assert (await anext(two)).data == "after"
    assert told == [Gap("overflow", filter="a", dropped=7)]
    assert "subscription to 'a' missed 7 messages (overflow)" in caplog.text


async def test_a_command_without_an_answer_times_out(peer: Peer) -> None:
    peer.answer = lambda command: command["op"] != "ping"
    async with client_of(peer, timeout=1.0) as client:
        with pytest.raises(CommandTimeout, match=r"publish to 'a': no reply within 1 s"):
            await client.publish("a", 1)
        with pytest.raises(CommandTimeout, match="subscribe to 'b'"):
            await first(client.subscribe("b"))
        assert await client.ping() >= 0
        assert client.statistics().filters == 0


async def test_the_first_time_a_passing_refusal_is_the_callers_to_see(peer: Peer) -> None:
    async def refuse(command: dict[str, Any]) -> bool:
        await peer.send(op="error", ref=command["ref"], code="unavailable", reason="bus", fatal=False)
        return True

    peer.answer = refuse
    async with client_of(peer) as client:
        with pytest.raises(Unavailable, match="bus"):
            await first(client.subscribe("a"))


async def test_a_frame_larger_than_the_gateway_takes_is_not_sent(peer: Peer) -> None:
    peer.welcome = {"limits": {"frame_bytes": 200}}
    async with client_of(peer) as client:
        with pytest.raises(TooLarge, match="more than 200 bytes"):
            await client.publish("a", "ü" * 100)
        with pytest.raises(TooLarge):
            await first(client.subscribe("a" * 300))
        await client.publish("a", "x" * 100)
    assert peer.ops() == [(1, "publish")]


async def test_bad_names_are_refused_before_anything_is_sent(peer: Peer) -> None:
    async with client_of(peer) as client:
        with pytest.raises(BadFilter):
            client.subscribe("a/#/b")
        with pytest.raises(BadTopic):
            await client.publish("a/+", 1)
    assert peer.commands == []


async def test_frames_this_version_does_not_know_are_passed_over(peer: Peer) -> None:
    async with client_of(peer) as client, client.subscribe("a") as subscription:
        for frame in ('{"op": "from_the_future"}', "[]", "nonsense", '{"op": "message", "topic": 7}', "{}"):
            await peer.socket.send(frame)
        await peer.publish("a", "still here")
        assert (await anext(subscription)).data == "still here"


async def test_a_loop_that_is_left_or_cancelled_unsubscribes(peer: Peer) -> None:
    async with client_of(peer) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first, client.subscribe("broken/off"))
            await peer.until(lambda: peer.ops() == [(1, "subscribe")])
            await peer.publish("broken/off")
        await peer.until(lambda: peer.ops()[-1] == (1, "unsubscribe"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first, client.subscribe("cancelled"))
            await peer.until(lambda: len(peer.commands) == 3)
            tasks.cancel_scope.cancel()
        await peer.until(lambda: len(peer.commands) == 4)
    assert [c["filter"] for c in peer.commands if c["op"] == "unsubscribe"] == ["broken/off", "cancelled"]


async def test_the_end_of_the_client_ends_its_loops(peer: Peer) -> None:
    ended: list[str] = []

    async def listen(client: Client) -> None:
        async for _ in client.subscribe("a"):
            pass
        ended.append("a")

    async with anyio.create_task_group() as tasks, client_of(peer) as client:
        tasks.start_soon(listen, client)
        await peer.until(lambda: peer.commands)
    assert ended == ["a"]
    with pytest.raises(ClientClosed):
        await client.publish("a", 1)
    with pytest.raises(ClientClosed):
        async with client:
            pytest.fail("open twice")


async def test_what_the_block_raises_comes_out_as_it_is(peer: Peer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client_of(peer):
            _ = 1 / 0
    with anyio.move_on_after(0.2) as scope:
        async with client_of(peer):
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def flood(peer: Peer, count: int) -> None:
    """Many messages in one go, about 2 KiB each."""
    padding = "x" * 2000
    for number in range(count):
        await peer.publish("a", [number, padding])


async def test_a_slow_loop_leaves_the_messages_at_the_gateway(peer: Peer) -> None:
    count, sent = 10_000, []
    async with client_of(peer) as client, client.subscribe("a", buffer=10, gaps=True) as subscription:
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                await flood(peer, count)
                sent.append(True)

            tasks.start_soon(send)
            with anyio.fail_after(HANG_SECONDS):
                while client.statistics().buffered < 10:  # noqa: ASYNC110 - a count, not an event
                    await anyio.sleep(0.001)
            await anyio.wait_all_tasks_blocked()
            assert not sent
            assert client.statistics().buffered == 10
            items = [await anext(subscription) for _ in range(count)]
        assert [item.data[0] for item in items if isinstance(item, Message)] == list(range(count))


async def test_a_client_that_does_not_read_says_that_it_lives(peer: Peer) -> None:
    async with (
        client_of(peer, ping_interval=0.05, ping_timeout=1.0) as client,
        client.subscribe("a", buffer=10) as subscription,
    ):
        await flood(peer, 100)
        await peer.until(lambda: peer.pongs >= 24)  # for longer than it waits for an answer
        assert [(await anext(subscription)).data[0] for _ in range(100)] == list(range(100))
        assert client.statistics().connects == 1


async def test_a_reply_gets_through_although_a_loop_is_slow(peer: Peer) -> None:
    async def reply_behind_messages(command: dict[str, Any]) -> None:
        if command["op"] == "ping":
            await flood(peer, 500)

    peer.answer = reply_behind_messages
    async with (
        client_of(peer) as client,
        client.subscribe("a", buffer=10, reserve=90, gaps=True) as subscription,
    ):
        await client.ping()
        assert client.statistics().dropped == 400
        assert await anext(subscription) == Gap("client", filter="a", dropped=400)
        numbers = [getattr(await anext(subscription), "data", [None])[0] for _ in range(100)]
        assert numbers == list(range(400, 500))


async def test_an_unacknowledged_publish_has_no_ref(peer: Peer) -> None:
    async with client_of(peer) as client:
        await client.publish("a", b"\x00", acknowledge=False, headers={"x": "y"}, key="k")
    command = peer.commands[0]
    assert json.dumps(command, sort_keys=True) == json.dumps(
        {
            "connection": 1,
            "data_base64": "AA==",
            "headers": {"x": "y"},
            "key": "k",
            "op": "publish",
            "topic": "a",
        }
    )
