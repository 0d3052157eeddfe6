"""The Python client as a member of a group of a real gateway, killed and restarted under it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import (
    AlreadyAnswered,
    Backoff,
    Client,
    Consumer,
    Delivery,
    DeliveryOutcome,
    GiveUp,
    LeaseLost,
    Retry,
    lease,
)
from gateway.errors import Conflict, NotFound
from tests.patience import HANG_SECONDS

from .group_client import call, figures, publish, put
from .raw_client import until
from .slow_link import slow_link

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunningGateway, StartGateway

QUICK = Backoff(first_seconds=0.01, limit_seconds=0.05)
STREAM = """
[[streams]]
name = "s"
filter = "s/#"
"""
MEMORY = f"""
[store]
url = "memory:"
{STREAM}"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(MEMORY)


@pytest.fixture
def group(gateway: RunningGateway, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("[", ".").replace("]", "")[-60:]
    put(gateway, name)
    return name


def client_of(gateway: RunningGateway, url: str = "", **options: Any) -> Client:
    return Client(url or gateway.url, **{"backoff": QUICK, "timeout": HANG_SECONDS} | options)


async def take(consumer: Consumer) -> Delivery:
    with anyio.fail_after(HANG_SECONDS):
        return await anext(consumer)


async def test_a_block_that_ends_acknowledges(gateway: RunningGateway, group: str) -> None:
    offsets = [publish(gateway, body={"n": number}) for number in range(3)]
    seen = []
    async with client_of(gateway) as client:
        with anyio.fail_after(HANG_SECONDS):
            async for delivery in client.consume("s", group=group):
                async with delivery:
                    seen.append((delivery.offset, delivery.data, delivery.attempt))
                assert delivery.outcome is DeliveryOutcome.ACKED
                if len(seen) == 3:
                    break
    assert seen == [(offset, {"n": number}, 1) for number, offset in enumerate(offsets)]
    assert figures(gateway, group)["depth"] == 0


async def test_a_block_that_raises_rejects_and_lets_the_error_out(
    gateway: RunningGateway, group: str
) -> None:
    publish(gateway)
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        with pytest.raises(ZeroDivisionError):
            async with await take(consumer):
                raise ZeroDivisionError
        again = await take(consumer)
        assert again.attempt == 2
        # What a block asks for by raising is no error.
        async with again:
            raise Retry(after=0.01)
        third = await take(consumer)
        assert third.attempt == 3
        async with third:
            raise GiveUp("no use")
        assert third.outcome is DeliveryOutcome.NACKED
    assert figures(gateway, group)["dead"] == 1


async def test_a_block_that_is_cancelled_gives_back_and_counts_nothing(
    gateway: RunningGateway, group: str
) -> None:
    publish(gateway)
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        with anyio.CancelScope() as scope:
            async with await take(consumer):
                scope.cancel()
                await anyio.sleep_forever()
        assert (await take(consumer)).attempt == 1


async def test_leaving_gives_back_what_is_unanswered(gateway: RunningGateway, group: str) -> None:
    for _ in range(3):
        publish(gateway)
    async with client_of(gateway) as one, client_of(gateway) as two:
        async with one.consume("s", group=group) as consumer:
            held = await take(consumer)
        async with two.consume("s", group=group) as other:
            assert [(await take(other)).attempt for _ in range(3)] == [1, 1, 1]
            with pytest.raises(LeaseLost):
                await held.ack()
            assert held.outcome is DeliveryOutcome.LOST
            assert held.lost
        # The same consumer can be used again.
        async with consumer:
            assert (await take(consumer)).attempt == 1


async def test_a_delivery_is_answered_once(gateway: RunningGateway, group: str) -> None:
    publish(gateway)
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        delivery = await take(consumer)
        await delivery.ack()
        for answer in (delivery.ack, delivery.nack, delivery.release, delivery.extend):
            with pytest.raises(AlreadyAnswered):
                await answer()


async def test_many_acknowledgements_at_once(gateway: RunningGateway, group: str) -> None:
    count = 3_000
    body = "\n".join(json.dumps({"topic": "s/a", "data": number}) for number in range(count)).encode()
    assert call(gateway, "POST", "publish", body, **{"content-type": "application/x-ndjson"})[0] == 200
    async with (
        client_of(gateway) as client,
        client.consume("s", group=group, credit=1_000) as consumer,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(count):
            delivery = await take(consumer)
            tasks.start_soon(delivery.ack)
    assert figures(gateway, group)["depth"] == 0


async def test_no_more_comes_than_there_is_credit_for(gateway: RunningGateway, group: str) -> None:
    for _ in range(4):
        publish(gateway)
    async with client_of(gateway) as client, client.consume("s", group=group, credit=2) as consumer:
        first = await take(consumer)
        await client.ping()
        assert (len(consumer), figures(gateway, group)["in_flight"]) == (1, 2)
        await consumer.set_credit(0)
        await first.ack()
        await client.ping()
        assert (len(consumer), figures(gateway, group)["in_flight"]) == (1, 1)
        await consumer.set_credit(3)
        for _ in range(3):
            await take(consumer)


async def test_a_group_is_consumed_from_once_by_a_client(gateway: RunningGateway, group: str) -> None:
    async with client_of(gateway) as client:
        async with client.consume("s", group=group):
            with pytest.raises(Conflict, match="already"):
                async with client.consume("s", group=group):
                    pytest.fail("twice")
        async with client.consume("s", group=group, topic_filter="#"):
            pass
        with pytest.raises(Conflict, match="filter"):
            async with client.consume("s", group=group, topic_filter="s/other"):
                pytest.fail("another filter")
        with pytest.raises(NotFound):
            await anext(aiter(client.consume("s", group="nobody")))
        with pytest.raises(ValueError, match="credit"):
            client.consume("s", group=group, credit=10_001)


async def test_the_end_of_the_group_ends_the_loop(gateway: RunningGateway, group: str) -> None:
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        assert call(gateway, "DELETE", f"streams/s/groups/{group}")[0] in {200, 204}
        with pytest.raises(NotFound, match="removed"):
            await take(consumer)


def lease_end(gateway: RunningGateway, group: str, delivery: Delivery) -> int:
    """When its lease ends, as the gateway has it."""
    status, told = call(gateway, "GET", f"streams/s/groups/{group}/messages/{delivery.offset}")
    assert (status, told["state"]) == (200, "leased"), told
    return int(told["due"])


async def test_a_lease_is_kept_alive_inside_a_block(
    gateway: RunningGateway, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It lasts for a minute, and is extended three times a second.
    monkeypatch.setattr(lease, "_EXTENDED", 180)
    publish(gateway)
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        async with await take(consumer) as delivery:
            for _ in range(2):
                ends = lease_end(gateway, group, delivery)
                await until(lambda ends=ends: lease_end(gateway, group, delivery) > ends)
            assert len(consumer) == 0
        assert (delivery.outcome, delivery.attempt) == (DeliveryOutcome.ACKED, 1)


async def test_a_lease_is_kept_alive_where_leases_have_become_shorter(
    gateway: RunningGateway, group: str
) -> None:
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        put(gateway, group, ack_wait=2)
        publish(gateway)
        async with await take(consumer) as delivery:
            ends = lease_end(gateway, group, delivery)
            await until(lambda: lease_end(gateway, group, delivery) > ends)
        assert (delivery.outcome, delivery.attempt) == (DeliveryOutcome.ACKED, 1)


async def test_a_lease_is_not_kept_alive_outside_of_a_block(gateway: RunningGateway, group: str) -> None:
    put(gateway, group, ack_wait=1.2)
    publish(gateway)
    async with client_of(gateway) as client, client.consume("s", group=group) as consumer:
        late = await take(consumer)
        assert (await take(consumer)).attempt > late.attempt
        with pytest.raises(LeaseLost):
            await late.ack()


async def test_what_waits_for_too_long_goes_to_others_without_an_attempt(
    gateway: RunningGateway, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After 0.3 s of a minute: none of the leases ends by itself.
    monkeypatch.setattr(lease, "_AGING", 0.005)
    for _ in range(2):
        publish(gateway)
    async with (
        client_of(gateway) as busy,
        busy.consume("s", group=group, credit=2) as consumer,
        await take(consumer),
        client_of(gateway) as idle,
        idle.consume("s", group=group, credit=2) as other,
        await take(other) as given,
    ):
        assert given.attempt == 1


async def test_after_a_cut_it_consumes_again_and_tells_which_leases_are_lost(
    gateway: RunningGateway, group: str
) -> None:
    for _ in range(2):
        publish(gateway)
    with slow_link(gateway.port) as link:
        url = f"http://127.0.0.1:{link.port}"
        async with client_of(gateway, url) as client, client.consume("s", group=group) as consumer:
            held = await take(consumer)
            link.reset()
            # The second waits here twice now, and may be given only where it is still this client's.
            await until(lambda: len(consumer) == 3)
            attempts = {(each := await take(consumer)).offset: each.attempt for _ in range(2)}
            assert attempts == {held.offset: 2, held.offset + 1: 2}
            with pytest.raises(LeaseLost):
                await held.ack()
            assert client.statistics().connects == 2


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_node_that_is_killed_and_comes_back(
    gateway_process: StartGateway, tmp_path: Path, kind: str
) -> None:
    url = "memory:" if kind == "memory" else f"sqlite:{tmp_path / 'streams.db'}"
    settings = f'[store]\nurl = "{url}"\n{STREAM}\n[[streams.groups]]\nname = "g"\nack_wait = "60s"\n'
    gateway = gateway_process(settings)
    async with client_of(gateway) as client, client.consume("s", group="g") as consumer:
        publish(gateway)
        held = await take(consumer)
        gateway.kill()
        gateway.start()
        await until(lambda: client.statistics().connects == 2)
        if kind == "sqlite":
            # The lease was kept with the message: it is good on the new connection.
            await held.ack()
        else:
            with pytest.raises(LeaseLost):
                await held.ack()
        offset = publish(gateway, body="later")
        async with await take(consumer) as later:
            assert (later.offset, later.data, later.attempt) == (offset, "later", 1)
        assert figures(gateway, "g")["depth"] == 0
