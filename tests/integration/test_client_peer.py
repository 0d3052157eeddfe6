"""The Python client against a peer that breaks, refuses, forgets and drains on demand."""

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
    ConnectFailed,
    ConnectionLost,
    Gap,
    Message,
    Subscription,
)
from gateway.errors import BadFilter, BadTopic, NotPermitted, TooLarge, Unauthenticated, Unavailable

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
    with anyio.fail_after(5):
        async for message in subscription:
            return message
    pytest.fail("the subscription ended")


async def test_nothing_listens() -> None:
    with pytest.raises(ConnectFailed, match="no connection to the gateway"):
        async with Client("http://127.0.0.1:1"):
            pytest.fail("not connected")


async def test_retry_first_keeps_trying_what_may_pass(peer: Peer) -> None:
    peer.refuse = (503, {"Retry-After": "0"})
    async with client_of(peer, retry_first=True) as client:
        await peer.until(lambda: len(peer.tokens) >= 3)
        peer.refuse = None
        await client.ping()
    assert client.statistics().connects == 1


async def test_retry_first_raises_what_will_not_pass(peer: Peer) -> None:
    peer.refuse = (403, {})
    with pytest.raises(NotPermitted, match="HTTP 403"):
        async with client_of(peer, retry_first=True):
            pytest.fail("not connected")


async def test_what_is_no_gateway_is_said_so(peer: Peer) -> None:
    peer.welcome = {"op": "hello"}
    with pytest.raises(ConnectFailed, match="no gateway"):
        async with client_of(peer):
            pytest.fail("not connected")


async def test_the_token_is_sent_as_a_bearer_header(peer: Peer) -> None:
    async with client_of(peer, token="abc"):
        pass
    assert peer.tokens == ["Bearer abc"]


async def test_a_token_that_no_header_can_carry_is_refused(peer: Peer) -> None:
    with pytest.raises(Unauthenticated, match="no header can carry"):
        async with client_of(peer, token="abc\r\nX-Admin: 1"):
            pytest.fail("not connected")
    assert peer.tokens == []


async def test_a_rejected_token_is_renewed_once(peer: Peer) -> None:
    made = iter(range(100))

    async def token() -> str:
        return f"t{next(made)}"

    async with client_of(peer, token=token) as client:
        await client.ping()
        await peer.socket.close(4401, "expired")
        await peer.until(lambda: len(peer.sockets) == 2)
        await client.ping()
        await peer.socket.close(4401, "expired")
        with pytest.raises(Unauthenticated, match="4401"):
            await first(client.subscribe("a"))
    assert peer.tokens == ["Bearer t0", "Bearer t1"]


async def test_an_expired_token_is_renewed_on_the_connection(peer: Peer) -> None:
    async def token() -> str:
        return "fresh"

    async with client_of(peer, token=token) as client:
        await client.ping()
        await peer.send(op="error", ref=None, code="token_expired", reason="over", fatal=False)
        await peer.until(lambda: (1, "auth") in peer.ops())
    assert peer.commands[-1]["token"] == "fresh"


async def test_a_close_for_good_ends_everything_with_its_error(peer: Peer) -> None:
    async with client_of(peer) as client:
        subscription = client.subscribe("a")
        async with subscription:
            await peer.socket.close(4403, "blocked")
            with pytest.raises(NotPermitted, match=r"4403 \(blocked\)"):
                await anext(subscription)
        for attempt in (client.publish("a", 1), client.ping(), first(client.subscribe("b"))):
            with pytest.raises(NotPermitted, match="4403"):
                await attempt
    assert len(peer.sockets) == 1


async def test_after_a_break_it_subscribes_again_and_says_so(peer: Peer) -> None:
    async with client_of(peer) as client, client.subscribe("a/#", gaps=True) as subscription:
        await peer.publish("a/1", 1)
        assert getattr(await anext(subscription), "data", None) == 1
        peer.socket.transport.abort()
        assert await anext(subscription) == Gap("reconnect", filter="a/#")
        await peer.publish("a/2", 2)
        assert getattr(await anext(subscription), "data", None) == 2
    assert peer.ops() == [(1, "subscribe"), (2, "subscribe"), (2, "unsubscribe")]


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


async def test_a_drained_node_is_left_and_not_asked_too_soon(peer: Peer) -> None:
    async with client_of(peer) as client:
        await client.ping()
        began = anyio.current_time()
        await peer.send(op="goaway", reason="draining", retry_after=300)
        await peer.until(lambda: len(peer.sockets) == 2)
        assert anyio.current_time() - began >= 0.3
        await client.ping()


async def test_a_command_without_an_answer_times_out(peer: Peer) -> None:
    peer.answer = lambda command: command["op"] != "ping"
    async with client_of(peer, timeout=0.2) as client:
        with pytest.raises(CommandTimeout, match=r"publish to 'a': no reply within 0\.2 s"):
            await client.publish("a", 1)
        with pytest.raises(CommandTimeout, match="subscribe to 'b'"):
            await first(client.subscribe("b"))
        assert await client.ping() >= 0
        assert client.statistics().filters == 0


async def test_a_publish_cut_off_is_repeated_only_with_an_idempotency_key(peer: Peer) -> None:
    def cut(command: dict[str, Any]) -> bool:
        if command["connection"] <= 2:
            peer.socket.transport.abort()
        return command["connection"] <= 2

    peer.answer = cut
    async with client_of(peer) as client:
        with pytest.raises(ConnectionLost):
            await client.publish("a", 1)
        published = await client.publish("a", 2, id="x", idempotency_key="k")
    assert published.id == "x"
    assert [(c["connection"], c["data"]) for c in peer.commands] == [(1, 1), (2, 2), (3, 2)]


async def test_a_publish_made_without_a_connection_follows_the_subscriptions(peer: Peer) -> None:
    async with client_of(peer) as client, client.subscribe("a"):
        peer.refuse = (503, {})
        handshakes = len(peer.tokens)
        peer.socket.transport.abort()
        await peer.until(lambda: len(peer.tokens) > handshakes)
        assert client.welcome is None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.publish, "a", 1)
            await anyio.wait_all_tasks_blocked()
            peer.refuse = None
    assert [op for number, op in peer.ops() if number == 2] == ["subscribe", "publish", "unsubscribe"]


async def test_a_subscription_refused_after_a_reconnect_ends_with_the_error(peer: Peer) -> None:
    async def forbid(command: dict[str, Any]) -> bool:
        if command["connection"] == 1 or command["op"] != "subscribe":
            return False
        await peer.send(op="error", ref=command["ref"], code="forbidden", reason="no more", fatal=False)
        return True

    peer.answer = forbid
    async with client_of(peer) as client, client.subscribe("a") as subscription:
        peer.socket.transport.abort()
        with pytest.raises(NotPermitted, match="no more"):
            await anext(subscription)
        await client.ping()


async def test_a_subscription_not_to_be_had_for_now_is_asked_for_again(peer: Peer) -> None:
    async def refuse_once(command: dict[str, Any]) -> bool:
        if peer.ops() != [(1, "subscribe"), (2, "subscribe")]:
            return False
        await peer.send(op="error", ref=command["ref"], code="unavailable", reason="bus", fatal=False)
        return True

    peer.answer = refuse_once
    async with client_of(peer) as client, client.subscribe("a", gaps=True) as subscription:
        peer.socket.transport.abort()
        assert await anext(subscription) == Gap("reconnect", filter="a")
    assert peer.ops()[:3] == [(1, "subscribe"), (2, "subscribe"), (2, "subscribe")]


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


async def test_a_peer_that_is_silent_is_given_up(peer: Peer) -> None:
    async with client_of(peer, ping_interval=0.1, ping_timeout=0.1) as client:
        await client.ping()
        peer.socket.transport.pause_reading()
        await peer.until(lambda: len(peer.sockets) == 2)
        await client.ping()


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
            with anyio.fail_after(5):
                while client.statistics().buffered < 10:  # noqa: ASYNC110 - a count, not an event
                    await anyio.sleep(0.001)
            await anyio.wait_all_tasks_blocked()
            assert not sent
            assert client.statistics().buffered == 10
            items = [await anext(subscription) for _ in range(count)]
        assert [item.data[0] for item in items if isinstance(item, Message)] == list(range(count))


async def test_a_client_that_does_not_read_says_that_it_lives(peer: Peer) -> None:
    async with (
        client_of(peer, ping_interval=0.05, ping_timeout=0.05) as client,
        client.subscribe("a", buffer=10) as subscription,
    ):
        await flood(peer, 100)
        await peer.until(lambda: peer.pongs >= 5)
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
