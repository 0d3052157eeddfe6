"""The Python client against a peer that refuses, breaks off, drains and falls silent on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import (
    Backoff,
    Client,
    ConnectFailed,
    ConnectionLost,
    Gap,
    Message,
    Subscription,
)
from gateway.errors import NotPermitted, Unauthenticated
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
    return Client(peer.url, **{"backoff": QUICK, "timeout": HANG_SECONDS} | options)


async def first(subscription: Subscription[Message]) -> Message:
    """The first message of a loop that then ends."""
    with anyio.fail_after(HANG_SECONDS):
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
    with pytest.raises(ConnectFailed, match="not a gateway"):
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


async def test_a_drained_node_is_left_and_not_asked_too_soon(peer: Peer) -> None:
    async with client_of(peer) as client:
        await client.ping()
        began = anyio.current_time()
        await peer.send(op="goaway", reason="draining", retry_after=300)
        await peer.until(lambda: len(peer.sockets) == 2)
        assert anyio.current_time() - began >= 0.3
        await client.ping()


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


async def test_a_peer_that_is_silent_is_given_up(peer: Peer) -> None:
    async with client_of(peer, ping_interval=0.1, ping_timeout=0.5) as client:
        before = len(peer.sockets)
        peer.socket.transport.pause_reading()
        await peer.until(lambda: len(peer.sockets) > before)
        # Where the machine is as silent, another connection is given up too.
        await client.publish("a", 1, idempotency_key="k")
        assert client.statistics().connects >= 2
