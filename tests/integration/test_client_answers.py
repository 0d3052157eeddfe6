"""What the Python client says of deliveries, against a peer that loses, refuses and delays its replies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import (
    AnswerLost,
    Backoff,
    Client,
    CommandTimeout,
    Consumer,
    Delivery,
    DeliveryOutcome,
    LeaseLost,
)
from gateway.errors import NotPermitted
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


async def take(consumer: Consumer) -> Delivery:
    with anyio.fail_after(HANG_SECONDS):
        return await anext(consumer)


async def first(peer: Peer, consumer: Consumer) -> Delivery:
    await peer.deliver("t1")
    return await take(consumer)


def losing_acks(peer: Peer, *, stale: bool) -> None:
    """The first ``ack`` is taken and its reply lost with the connection; later ones are answered."""

    async def answer(command: dict[str, Any]) -> bool:
        if command["op"] != "ack":
            return False
        if command["connection"] == 1:
            peer.socket.transport.abort()
            return True
        tokens = command["deliveries"]
        done, over = ([], tokens) if stale else (tokens, [])
        await peer.send(op="acked", deliveries=done, stale=over, ref=command["ref"])
        return True

    peer.answer = answer


async def test_an_answer_whose_reply_is_lost_is_said_again(peer: Peer) -> None:
    losing_acks(peer, stale=False)
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        delivery = await first(peer, consumer)
        await delivery.ack()
        assert delivery.outcome is DeliveryOutcome.ACKED
    assert [op for op in peer.ops() if op[1] == "ack"] == [(1, "ack"), (2, "ack")]


async def test_an_answer_that_may_have_been_taken_is_told_as_lost(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    losing_acks(peer, stale=True)
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        delivery = await first(peer, consumer)
        with pytest.raises(AnswerLost, match="nobody knows"):
            await delivery.ack()
        assert delivery.outcome is DeliveryOutcome.UNKNOWN
        # In a block it is told in the log: the work is over, and the loop goes on.
        await peer.deliver("t2")
        async with await take(consumer) as block:
            pass
    assert block.outcome is DeliveryOutcome.LOST
    assert "lease had ended" in caplog.text


async def test_an_answer_has_a_time(peer: Peer) -> None:
    peer.answer = lambda command: command["op"] in {"ack", "nack"}
    async with client_of(peer, timeout=1.0) as client, client.consume("s", group="g") as consumer:
        delivery = await first(peer, consumer)
        with pytest.raises(CommandTimeout):
            await delivery.nack()
        with pytest.raises(CommandTimeout):
            await delivery.ack()
        assert delivery.outcome is DeliveryOutcome.UNKNOWN


async def test_a_refused_answer_is_raised_and_what_may_pass_is_said_again(peer: Peer) -> None:
    codes = iter(["rate_limited", "unavailable", "forbidden"])

    async def refuse(command: dict[str, Any]) -> bool:
        if command["op"] != "ack":
            return False
        await peer.send(op="error", code=next(codes), reason="so", fatal=False, ref=command["ref"])
        return True

    peer.answer = refuse
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        delivery = await first(peer, consumer)
        with pytest.raises(NotPermitted):
            await delivery.ack()
    assert list(codes) == []


async def test_what_is_cancelled_while_it_is_said_is_said_all_the_same(peer: Peer) -> None:
    waiting = anyio.Event()

    async def slowly(command: dict[str, Any]) -> bool:
        if command["op"] == "ack":
            await waiting.wait()
        return False

    peer.answer = slowly
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        one = await first(peer, consumer)
        await peer.deliver("t2")
        two = await take(consumer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.ack)
            await peer.until(lambda: (1, "ack") in peer.ops())
            tasks.start_soon(two.ack)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        waiting.set()
        await peer.until(lambda: sum(op == "ack" for _, op in peer.ops()) == 2)
    assert peer.commands[-2]["deliveries"] == ["t2"]


async def test_acknowledgements_that_come_together_travel_together(peer: Peer) -> None:
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        deliveries = []
        for number in range(20):
            await peer.deliver(f"t{number}", offset=number + 1)
            deliveries.append(await take(consumer))
        async with anyio.create_task_group() as tasks:
            for delivery in deliveries:
                tasks.start_soon(delivery.ack)
    said = [command["deliveries"] for command in peer.commands if command["op"] == "ack"]
    assert len(said) <= 2
    assert [token for some in said for token in some] == [f"t{number}" for number in range(20)]


async def test_leases_that_are_kept_are_extended_at_once_on_a_new_connection(peer: Peer) -> None:
    async def some_are_stale(command: dict[str, Any]) -> bool:
        if command["op"] != "extend":
            return False
        tokens = set(command["deliveries"])
        await peer.send(
            op="acked", deliveries=list(tokens - {"t2"}), stale=list(tokens & {"t2"}), ref=command["ref"]
        )
        return True

    peer.answer = some_are_stale
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        one = await first(peer, consumer)
        await peer.deliver("t2", offset=2)
        two = await take(consumer)
        lost = anyio.Event()
        two.on_lost(lost.set)

        async def stopped_in_the_middle() -> None:
            async with two:
                peer.socket.transport.abort()
                with anyio.fail_after(HANG_SECONDS):
                    await lost.wait()
                # A block that has heard of it may say so.
                raise LeaseLost("stopped")

        async with one:
            with pytest.raises(LeaseLost, match="stopped"):
                await stopped_in_the_middle()
            assert (one.lost, two.lost) == (False, True)
    assert (one.outcome, two.outcome) == (DeliveryOutcome.ACKED, DeliveryOutcome.LOST)
    assert [c["op"] for c in peer.commands if c["connection"] == 2] == ["consume", "extend", "ack", "release"]


async def test_while_nobody_can_be_asked_a_lease_ends_by_itself(peer: Peer) -> None:
    async def short(command: dict[str, Any]) -> bool:
        if command["op"] != "consume":
            return False
        fields = {"stream": "s", "group": "g", "credit": 32, "ack_wait": 1_000, "ref": command["ref"]}
        await peer.send(op="consuming", **fields)
        return True

    peer.answer = short
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        delivery = await first(peer, consumer)
        lost = anyio.Event()
        async with delivery:
            peer.refuse = (503, {})
            peer.socket.transport.abort()
            delivery.on_lost(lost.set)
            with anyio.fail_after(HANG_SECONDS):
                await lost.wait()
            peer.refuse = None
    # The gateway has the last word on it.
    assert delivery.outcome is DeliveryOutcome.ACKED


async def test_what_cannot_be_read_or_is_nobodys_is_passed_over(peer: Peer) -> None:
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        await peer.socket.send(json.dumps({"op": "delivery", "group": "g"}))
        lease = {"op": "delivery", "delivery": "x", "attempt": 1, "deadline": 0, "fence": 1}
        message = {"topic": "a", "id": "1", "time": 0, "stream": "s", "offset": 1, "data": 1}
        await peer.send(**lease, **message, group="another")
        assert (await first(peer, consumer)).lease.token == "t1"


async def test_a_group_that_cannot_be_had_for_now_is_asked_for_again(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.memberships.ASK_AGAIN_SECONDS", 0.01)
    refusals = iter([True, True, False])

    async def refuse(command: dict[str, Any]) -> bool:
        if command["op"] != "consume" or not next(refusals):
            return False
        await peer.send(op="error", code="unavailable", reason="no", fatal=False, ref=command["ref"])
        return True

    peer.answer = refuse
    async with client_of(peer) as client, client.consume("s", group="g") as consumer:
        await first(peer, consumer)
    assert [op for _, op in peer.ops()] == ["consume", "consume", "consume", "release"]


async def test_a_group_that_can_not_be_left_for_now_is_left_later(peer: Peer) -> None:
    refused: list[int] = []

    async def answer(command: dict[str, Any]) -> bool:
        if command["op"] != "release" or refused:
            return False
        refused.append(command["ref"])
        await peer.send(
            op="error", ref=command["ref"], code="rate_limited", reason="too many commands", fatal=False
        )
        return True

    peer.answer = answer
    async with client_of(peer) as client:
        async with client.consume("s", group="g"):
            pass
        await peer.until(lambda: peer.ops().count((1, "release")) == 2)


async def test_what_comes_for_a_group_that_nobody_consumes_from_is_given_back(peer: Peer) -> None:
    async with client_of(peer) as client:
        async with client.consume("s", group="other"):
            await peer.deliver("t1")
            await peer.deliver("t2")
            await peer.until(lambda: (1, "release") in peer.ops())
        released = [command for command in peer.commands if command["op"] == "release"]
        assert [command["group"] for command in released] == ["g", "other"]
