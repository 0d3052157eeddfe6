"""The Python client and the history of streams: against a scripted peer, and a gateway that is killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import Backoff, Client, Gap, Message
from gateway.errors import Conflict
from tests.patience import HANG_SECONDS

from .scripted_peer import Peer, scripted_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.conftest import StartGateway

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with scripted_peer() as peer:
        yield peer


def client_of(peer: Peer) -> Client:
    return Client(peer.url, backoff=QUICK, timeout=HANG_SECONDS)


def begins_at(peer: Peer, offset: int, *, epoch: str = "e1", recovered: bool | None = None) -> None:
    """Let the peer answer every subscribe so, with one stream."""

    async def answer(command: dict[str, Any]) -> bool:
        if command["op"] != "subscribe":
            return False
        positions = {"orders": {"epoch": epoch, "offset": offset}}
        named = {"filter": command["filter"], "ref": command["ref"]}
        await peer.send(op="subscribed", positions=positions, recovered=recovered, **named)
        return True

    peer.answer = answer


async def stored(peer: Peer, offset: int, **fields: Any) -> None:
    """One message of the stream."""
    position = {"stream": "orders", "offset": offset}
    await peer.send(op="message", topic="orders/eu", id="1", time=0, data=offset, **position, **fields)


def orders(offset: int, epoch: str = "e1") -> dict[str, Any]:
    return {"orders": {"epoch": epoch, "offset": offset}}


async def test_history_then_caught_up_then_live(peer: Peer) -> None:
    begins_at(peer, 0)
    told: list[int] = []
    got: list[int] = []
    async with client_of(peer) as client:
        caught_up = {"on_caught_up": lambda: told.append(len(got))}
        async with client.subscribe("orders/#", start="earliest", **caught_up) as subscription:
            assert subscription.positions == orders(0)
            await stored(peer, 3)  # live already, but this subscription is not
            for offset in (1, 2, 3):
                await stored(peer, offset, filter="orders/#")
            await peer.send(op="caught_up", filter="orders/#")
            await stored(peer, 4)
            for offset in (1, 2, 3):
                got.append((await anext(subscription)).data)
                assert subscription.positions == orders(offset)
            assert not subscription.caught_up
            got.append((await anext(subscription)).data)
            assert subscription.caught_up
    assert (got, told) == ([1, 2, 3, 4], [3])
    assert peer.commands[0] == {
        "op": "subscribe",
        "filter": "orders/#",
        "from": "earliest",
        "ref": 1,
        "connection": 1,
    }


async def test_a_reconnect_goes_on_behind_what_was_received(peer: Peer) -> None:
    begins_at(peer, 7)
    async with client_of(peer) as client, client.subscribe("orders/#", gaps=True) as subscription:
        await stored(peer, 8)
        await stored(peer, 9)
        assert getattr(await anext(subscription), "data", None) == 8
        await client.ping()  # both were received
        begins_at(peer, 9, recovered=True)
        await peer.socket.close(1012)
        await peer.until(lambda: (2, "subscribe") in peer.ops())
        assert peer.commands[-1]["resume"] == orders(9)
        await client.ping()
        # What the loop has not taken yet would be asked for again after a crash.
        assert subscription.positions == orders(8)
        await stored(peer, 10, filter="orders/#")
        await peer.send(op="caught_up", filter="orders/#")
        await stored(peer, 11)
        items = [await anext(subscription) for _ in range(3)]
        assert [item.data for item in items if isinstance(item, Message)] == [9, 10, 11]
        assert subscription.positions == orders(11)


async def test_a_new_epoch_is_told_and_resumed_from(peer: Peer) -> None:
    begins_at(peer, 7)
    async with client_of(peer) as client, client.subscribe("orders/#", gaps=True) as subscription:
        await peer.send(
            op="gap", reason="epoch", filter="orders/#", stream="orders", epoch="e2", dropped=None
        )
        await stored(peer, 3)
        gap = Gap("epoch", filter="orders/#", stream="orders", epoch="e2")
        assert await anext(subscription) == gap
        assert getattr(await anext(subscription), "data", None) == 3
        assert subscription.positions == orders(3, "e2")
        await peer.socket.close(1012)
        await peer.until(lambda: (2, "subscribe") in peer.ops())
        assert peer.commands[-1]["resume"] == orders(3, "e2")


async def test_kept_positions_are_resumed_from_and_their_loss_is_told(peer: Peer) -> None:
    begins_at(peer, 4, recovered=False)
    kept = json.loads(json.dumps(orders(1)))
    async with (
        client_of(peer) as client,
        client.subscribe("orders/#", resume=kept, start={"last": 3}, gaps=True) as subscription,
    ):
        trimmed = {"stream": "orders", "from": 2, "to": 4, "dropped": 3}
        await peer.send(op="gap", reason="trimmed", filter="orders/#", **trimmed)
        assert subscription.positions == orders(1)
        assert await anext(subscription) == Gap("trimmed", "orders/#", 3, "orders", 2, 4)
        assert subscription.positions == orders(4)
    assert (peer.commands[0]["resume"], peer.commands[0]["from"]) == (orders(1), {"last": 3})


async def test_history_is_not_shared_and_the_filter_is_free_again_afterwards(peer: Peer) -> None:
    async with client_of(peer) as client:
        async with client.subscribe("a", start={"offset": 5}):
            with pytest.raises(Conflict, match="history can't be shared"):
                await client.subscribe("a").__aenter__()
            async with client.subscribe("a/#"):
                pass
        async with client.subscribe("a"):
            pass


async def test_bad_beginnings_are_refused_before_anything_is_sent(peer: Peer) -> None:
    async with client_of(peer) as client:
        with pytest.raises(ValueError, match="start 'first'"):
            client.subscribe("a", start="first")
        with pytest.raises(ValueError, match="resume: stream 's'"):
            client.subscribe("a", resume={"s": 4})
    assert peer.commands == []


async def test_every_message_comes_once_and_in_order_although_the_gateway_is_killed(
    gateway_process: StartGateway, tmp_path: Path
) -> None:
    gateway = gateway_process(
        f'[store]\nurl = "sqlite:{tmp_path}/streams.db"\n[[streams]]\nname = "orders"\nfilter = "orders/#"\n'
    )
    count, got = 300, []
    publishers = [Client(gateway.url, backoff=QUICK, timeout=30.0) for _ in range(3)]

    async def publish(client: Client, lane: int) -> None:
        async with client:
            for number in range(count):
                await client.publish(f"orders/{lane}", number, idempotency_key=f"{lane}-{number}")

    async with (
        Client(gateway.url, backoff=QUICK) as client,
        anyio.create_task_group() as tasks,
        client.subscribe("orders/#", gaps=True) as subscription,
    ):
        for lane, publisher in enumerate(publishers):
            tasks.start_soon(publish, publisher, lane)
        with anyio.fail_after(3 * HANG_SECONDS):
            while len(got) < len(publishers) * count:
                got.append(await anext(subscription))
                if len(got) == count:
                    gateway.kill()
                    gateway.start()
        position = subscription.positions["orders"]["offset"]
    assert [item for item in got if isinstance(item, Gap)] == []
    assert [item.offset for item in got] == list(range(1, position + 1))
    for lane in range(len(publishers)):
        assert [item.data for item in got if item.topic == f"orders/{lane}"] == list(range(count))
    assert client.statistics().connects == 2
